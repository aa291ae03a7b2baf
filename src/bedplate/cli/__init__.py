"""The command line: `main` and one file per command, each imported only when it is called."""
