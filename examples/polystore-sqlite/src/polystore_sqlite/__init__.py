"""Values in one SQLite file."""
