"""polystore-stream: images and ROIs to live viewers, and to scripts that listen.

>>> for item in receive():
...     print(item.path, item.data.shape)

Importing the package loads nothing else: each public name is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from .discovery import Endpoint
    from .receiving.receiver import Receiver
    from .receiving.subscription import Received, receive
    from .receiving.viewer import Delivery, Viewer
    from .sending.backend import StreamingBackend, ViewerSink
    from .sending.remote import RemoteViewer
    from .sending.sink import StreamSink
    from .wire.layout import Layout

_HOME = {
    "sending.backend": "StreamingBackend ViewerSink",
    "discovery": "Endpoint",
    "wire.layout": "Layout",
    "receiving.receiver": "Receiver",
    "sending.remote": "RemoteViewer",
    "sending.sink": "StreamSink",
    "receiving.subscription": "Received receive",
    "receiving.viewer": "Delivery Viewer",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "Delivery",
    "Endpoint",
    "Layout",
    "Received",
    "Receiver",
    "RemoteViewer",
    "StreamSink",
    "StreamingBackend",
    "Viewer",
    "ViewerSink",
    "receive",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
