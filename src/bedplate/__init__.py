"""bedplate: rows, jobs, cache invalidations and files in one transaction."""

__version__ = "0.1.0"
