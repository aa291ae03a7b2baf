"""The soak: writers, faults by seed, and a history that is held against the database at rest."""
