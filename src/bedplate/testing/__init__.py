"""A real stack for a test run, and a database of its own for every worker or test."""
