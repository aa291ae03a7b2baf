"""Consistency: whether what the layer promises holds on a live system, one checker an invariant."""
