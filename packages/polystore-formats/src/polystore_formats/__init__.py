"""polystore-formats."""
