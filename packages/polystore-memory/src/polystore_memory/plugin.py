"""The manifest of the backend ``memory``. It imports polystore only."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Describe the backend ``memory``."""
    if name != "memory":
        return None
    return BackendSpec(
        name="memory",
        target="polystore_memory.backend:MemoryBackend",
        api=1,
        summary="values in this process, until it ends",
    )
