"""The pluggy side of plugins: the hooks that a manifest module answers.

Hooks only resolve names. Data never travels through them: that is what methods are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from .specs import BackendSpec, FormatSpec, FrameworkSpec

__all__ = ["Hooks", "hookimpl", "manager"]

hookspec = pluggy.HookspecMarker("polystore")
hookimpl = pluggy.HookimplMarker("polystore")


class Hooks:
    """What a manifest module can answer."""

    @hookspec(firstresult=True)
    def polystore_backend(self, name: str) -> BackendSpec | None:
        """Describe the backend ``name``, or return ``None`` for a name that is not yours."""

    @hookspec(firstresult=True)
    def polystore_format(self, name: str) -> FormatSpec | None:
        """Describe the format of the suffix ``name``, or return ``None``."""

    @hookspec(firstresult=True)
    def polystore_framework(self, name: str) -> FrameworkSpec | None:
        """Describe the array framework whose package is ``name``, or return ``None``."""


def manager() -> pluggy.PluginManager:
    """Return a plugin manager for one manifest: no manifest hears the names of another."""
    made = pluggy.PluginManager("polystore")
    made.add_hookspecs(Hooks)
    return made
