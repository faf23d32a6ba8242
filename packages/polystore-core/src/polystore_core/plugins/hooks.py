"""The hooks of pluggy that a manifest implements. They only resolve names, never move data."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .specs import BackendSpec, FormatSpec, FrameworkSpec

__all__ = ["Hooks", "hookimpl", "manager"]

hookspec = pluggy.HookspecMarker("polystore")
hookimpl = pluggy.HookimplMarker("polystore")


class Hooks:
    """The hooks that a manifest can implement."""

    @hookspec(firstresult=True)
    def polystore_backend(self, name: str) -> BackendSpec | None:
        """Return the spec of the backend ``name``, or ``None`` if the name is not yours."""

    @hookspec(firstresult=True)
    def polystore_format(self, name: str) -> FormatSpec | None:
        """Return the spec of the format with the suffix ``name``, or ``None``."""

    @hookspec(firstresult=True)
    def polystore_framework(self, name: str) -> FrameworkSpec | None:
        """Return the spec of the array framework whose package is ``name``, or ``None``."""


def manager() -> pluggy.PluginManager:
    """Return a new plugin manager. Each manifest gets its own, and is asked for its names only."""
    made = pluggy.PluginManager("polystore")
    made.add_hookspecs(Hooks)
    return made
