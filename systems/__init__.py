"""The backends that stand on bedplate: its proof and its examples."""
