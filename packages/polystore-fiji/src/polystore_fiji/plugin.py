"""Manifest: which class provides the backend. It imports only polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Return the specification of the backend ``fiji_stream``."""
    if name != "fiji_stream":
        return None
    return BackendSpec(
        name="fiji_stream",
        target="polystore_fiji.backend:FijiBackend",
        api=1,
        summary="into a live ImageJ or Fiji, which is started if none runs",
        check="polystore_fiji.checks:findings",
    )
