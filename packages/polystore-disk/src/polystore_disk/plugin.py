"""The manifest of the backend ``disk``. It imports polystore only."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Describe the backend ``disk``."""
    if name != "disk":
        return None
    return BackendSpec(
        name="disk",
        target="polystore_disk.backend:DiskBackend",
        api=1,
        summary="files of the local file system, replaced atomically",
    )
