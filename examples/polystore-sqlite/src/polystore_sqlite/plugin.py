"""Manifest: which class provides the backend. Imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name != "sqlite":
        return None
    return BackendSpec(
        name="sqlite",
        target="polystore_sqlite.backend:SqliteBackend",
        api=1,
        summary="values in one SQLite file",
    )
