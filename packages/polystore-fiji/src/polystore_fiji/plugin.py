"""Manifest: which class provides the backend. Imports nothing but polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    if name != "fiji_stream":
        return None
    return BackendSpec(
        name="fiji_stream",
        target="polystore_fiji.backend:FijiBackend",
        api=1,
        summary="into a live ImageJ or Fiji, which is started if none runs",
        check="polystore_fiji.checks:findings",
    )
