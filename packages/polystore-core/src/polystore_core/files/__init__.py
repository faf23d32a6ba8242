"""Local files: whole or not at all, locked, and found again after a crash."""
