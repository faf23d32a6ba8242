"""Zarr backend of polystore: chunked arrays, OME-Zarr images and plates."""
