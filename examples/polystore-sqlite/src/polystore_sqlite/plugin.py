"""The manifest. It imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name != "sqlite":
        return None
    return BackendSpec(
        name=name,
        target="polystore_sqlite.backend:SqliteBackend",
        api=1,
        summary="values in one SQLite file",
    )
