"""Manifest: which class provides the backend. Imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name != "memory":
        return None
    return BackendSpec(
        name="memory",
        target="polystore_memory.backend:MemoryBackend",
        api=1,
        summary="values in this process; gone when it ends",
    )
