"""polystore-memory."""
