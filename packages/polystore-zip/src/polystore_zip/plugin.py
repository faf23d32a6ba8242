"""Manifest: which class provides the backend. Imports only polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Return the specification of the backend with this name."""
    if name != "zip":
        return None
    return BackendSpec(
        name="zip",
        target="polystore_zip.backend:ZipBackend",
        api=1,
        summary="one zip archive: values are added, and never replaced or deleted",
    )
