"""polystore-disk."""
