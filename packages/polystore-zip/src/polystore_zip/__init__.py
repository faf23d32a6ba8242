"""Backend "zip" of polystore: one zip archive, to which values are added."""
