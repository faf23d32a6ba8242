"""Manifest: which class provides the backend. Imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name != "streaming":
        return None
    return BackendSpec(
        name="streaming",
        target="polystore_stream.sending.backend:StreamingBackend",
        api=1,
        summary="to every script that runs polystore_stream.receive()",
    )
