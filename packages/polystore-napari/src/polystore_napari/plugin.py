"""Manifest: which class provides the backend. It imports only polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Return the specification of the backend ``napari_stream``."""
    if name != "napari_stream":
        return None
    return BackendSpec(
        name="napari_stream",
        target="polystore_napari.backend:NapariBackend",
        api=1,
        summary="into a live napari, which is started if none runs",
        check="polystore_napari.checks:findings",
    )
