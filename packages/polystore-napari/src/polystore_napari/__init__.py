"""Show what a pipeline saves in napari, while it runs.

>>> fm.save(image, "result.npy", backend="napari_stream")
>>> viewer = polystore_napari.connect()
>>> rois = viewer.rois()
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes longer than the rest of this module
if TYPE_CHECKING:
    from polystore_stream import Endpoint, Layout, RemoteViewer

__all__ = ["Layout", "connect", "launch"]


def launch(
    name: str = "default", *, python: str | None = None, timeout: float = 90.0
) -> Endpoint:
    """Start a napari called ``name`` in its own process, or return the one that runs.

    Args:
        name: Name of the viewer, if you use several.
        python: Python interpreter that has napari, if this one does not.
        timeout: Seconds to wait until napari is ready.

    Raises:
        ReceiverUnavailableError: napari cannot be started. The error has the end of its output.
    """
    from .backend import launch

    return launch(name, python=python, timeout=timeout)


def __getattr__(name: str) -> type[Layout]:
    if name != "Layout":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from polystore_stream import Layout

    globals()[name] = Layout  # later uses do not call this function
    return Layout


def connect(name: str = "default") -> RemoteViewer:
    """Return a handle on a running napari, for its ROIs, screenshots and layers.

    Raises ``ReceiverUnavailableError`` if no napari with this name runs.
    """
    from polystore_core import Context

    from .backend import NapariBackend

    context = Context(name="napari_stream")
    backend = NapariBackend.with_context(context, viewer=name, launch=False)
    return backend.connect()
