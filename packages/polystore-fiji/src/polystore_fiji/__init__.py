"""Show what a pipeline saves in ImageJ or Fiji, while it runs.

>>> fm.save(stack, "result.tif", backend="fiji_stream")
>>> with polystore_fiji.connect() as fiji:
...     rois = fiji.rois()
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes longer than the rest of this module
if TYPE_CHECKING:
    import os

    from polystore_stream import Endpoint, Layout

    from .remote import RemoteFiji

__all__ = ["Layout", "connect", "launch"]


def launch(
    name: str = "default",
    *,
    fiji: str | os.PathLike[str] | None = None,
    ij: str | os.PathLike[str] | None = None,
    headless: bool = False,
    timeout: float = 60.0,
) -> Endpoint:
    """Start an ImageJ or Fiji called ``name``, or return the one that runs.

    Args:
        name: Name of the viewer, if you use several.
        fiji: Folder of a Fiji or ImageJ. By default it is searched.
        ij: An ``ij.jar`` without a folder.
        headless: Whether ImageJ runs without windows.
        timeout: Seconds to wait until it is ready.

    Raises:
        ReceiverUnavailableError: ImageJ cannot be started. The error has the end of its output.
    """
    from .launching import launch

    return launch(name, fiji=fiji, ij=ij, headless=headless, timeout=timeout)


def connect(name: str = "default") -> RemoteFiji:
    """Return a handle on a running Fiji, for its ROIs, pictures and images.

    Raises ``ReceiverUnavailableError`` if no Fiji with this name runs.
    """
    from polystore_core import Context

    from .backend import FijiBackend
    from .remote import RemoteFiji

    context = Context(name="fiji_stream")
    backend = FijiBackend.with_context(context, viewer=name, launch=False)
    viewer = backend.connect()
    assert isinstance(viewer, RemoteFiji)
    return viewer


def __getattr__(name: str) -> type[Layout]:
    if name != "Layout":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from polystore_stream import Layout

    globals()[name] = Layout  # later uses do not call this function
    return Layout
