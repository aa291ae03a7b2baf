"""Jobs: tasks, the ledger that holds their runs, leases and the worker."""
