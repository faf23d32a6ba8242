"""polystore-napari."""
