"""Manifest: which class provides the backend. Imports only polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Return the specification of the backend with this name."""
    if name != "zarr":
        return None
    return BackendSpec(
        name="zarr",
        target="polystore_zarr.backend:ZarrBackend",
        api=1,
        summary="chunked, compressed arrays: Zarr, and OME-Zarr images and plates",
    )
