"""Manifest: which class provides the backend. It imports only polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Return the specification of the backend ``streaming``."""
    if name != "streaming":
        return None
    return BackendSpec(
        name="streaming",
        target="polystore_stream.sending.backend:StreamingBackend",
        api=1,
        summary="to every script that runs polystore_stream.receive()",
    )
