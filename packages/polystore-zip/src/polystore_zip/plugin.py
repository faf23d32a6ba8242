"""Manifest: which class provides the backend. Imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name != "zip":
        return None
    return BackendSpec(
        name="zip",
        target="polystore_zip.backend:ZipBackend",
        api=1,
        summary="one zip archive: values are added, and never replaced or deleted",
    )
