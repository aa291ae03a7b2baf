"""What is stored in PostgreSQL: engine, models, triggers, repository, pages, search, locks."""
