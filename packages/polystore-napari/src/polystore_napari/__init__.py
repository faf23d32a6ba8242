"""polystore-napari: what a pipeline saves is on the screen.

>>> fm.save(image, "result.npy", backend="napari_stream")
>>> viewer = polystore_napari.connect()
>>> rois = viewer.rois()
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from polystore_stream import Endpoint, Layout, RemoteViewer

__all__ = ["Layout", "connect", "launch"]


def launch(
    name: str = "default", *, python: str | None = None, timeout: float = 90.0
) -> Endpoint:
    """Start a napari called ``name`` in a process of its own, or return the one that runs.

    ``python`` is the interpreter that has napari, where it is not this one. Raises
    ``ReceiverUnavailableError`` with the end of what it printed, if it does not come up.
    """
    from .backend import launch

    return launch(name, python=python, timeout=timeout)


def __getattr__(name: str) -> type[Layout]:
    if name != "Layout":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from polystore_stream import Layout

    globals()[name] = Layout  # the next use does not come here
    return Layout


def connect(name: str = "default") -> RemoteViewer:
    """Return a handle on a running napari: its ROIs, screenshots and layers.

    Raises ``ReceiverUnavailableError`` where none is called so.
    """
    from polystore_core import Context

    from .backend import NapariBackend

    context = Context(name="napari_stream")
    backend = NapariBackend.with_context(context, viewer=name, launch=False)
    return backend.connect()
