"""Migrations: ours first, then the system's, under one lock, however many replicas start.

`bedplate migrate` and plain `alembic` end up in the same steps (`steps.py`).
"""
