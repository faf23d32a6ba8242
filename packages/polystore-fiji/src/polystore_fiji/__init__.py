"""polystore-fiji: what a pipeline saves is in ImageJ or Fiji.

>>> fm.save(stack, "result.tif", backend="fiji_stream")
>>> with polystore_fiji.connect() as fiji:
...     rois = fiji.rois()
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
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

    ``fiji`` is its folder, ``ij`` an ``ij.jar`` alone, where it is not found by itself. Raises
    ``ReceiverUnavailableError`` with the end of what it printed, if it does not come up.
    """
    from .launching import launch

    return launch(name, fiji=fiji, ij=ij, headless=headless, timeout=timeout)


def connect(name: str = "default") -> RemoteFiji:
    """Return a handle on a running Fiji: its ROIs, pictures and images.

    Raises ``ReceiverUnavailableError`` where none is called so.
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

    globals()[name] = Layout  # the next use does not come here
    return Layout
