"""sme: a store of evidence that is searched by meaning, and nothing is deleted by accident."""
