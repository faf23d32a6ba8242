"""polystore-zip."""
