"""polystore-workspace: one folder over files that are elsewhere.

>>> workspace = Workspace.build(files, names="{well}_s{site}_w{channel}.tif")
>>> workspace.save("ws.json")

Importing the package loads nothing else: each public name is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from .backend import VirtualWorkspaceBackend
    from .document import Reference, Workspace

_HOME = {
    "Reference": "document",
    "VirtualWorkspaceBackend": "backend",
    "Workspace": "document",
}

__all__ = ["Reference", "VirtualWorkspaceBackend", "Workspace"]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
