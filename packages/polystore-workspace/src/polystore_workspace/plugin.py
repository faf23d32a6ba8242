"""Manifest: which class provides the backend. Imports only polystore."""

from polystore_core import BackendSpec, hookimpl


@hookimpl
def polystore_backend(name: str) -> BackendSpec | None:
    """Return the specification of the backend with this name."""
    if name != "virtual_workspace":
        return None
    return BackendSpec(
        name="virtual_workspace",
        target="polystore_workspace.backend:VirtualWorkspaceBackend",
        api=1,
        summary="one folder over files that are elsewhere, also inside stacks (read-only)",
    )
