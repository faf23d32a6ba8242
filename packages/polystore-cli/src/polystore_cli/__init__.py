"""The `polystore` command."""
