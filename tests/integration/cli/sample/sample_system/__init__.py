"""The smallest system: no table, no task, one seed and one route."""
