"""Local files: atomic replacement, locks, and leftovers of killed processes."""
