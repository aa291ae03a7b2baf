"""Delivery: what is told to other servers after a commit, at least once."""
