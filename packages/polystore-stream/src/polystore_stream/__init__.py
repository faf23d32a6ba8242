"""Send images and ROIs to live viewers, and to scripts that listen.

>>> for item in receive():
...     print(item.path, item.data.shape)

Importing the package loads nothing else. Each public name is imported when it is first used.
Packages of viewers use these names, and the modules ``discovery`` and ``checks``.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing takes longer than the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from .discovery import Endpoint
    from .receiving.opening import Part
    from .receiving.receiver import Receiver
    from .receiving.stack import Block, Stack, StackView, of_each_axis
    from .receiving.subscription import Received, receive
    from .receiving.viewer import Delivery, Viewer, unknown_name
    from .sending.backend import StreamingBackend, ViewerSink
    from .sending.launch import start_viewer
    from .sending.remote import RemoteViewer
    from .sending.sink import StreamSink
    from .viewers.looks import Limits
    from .viewers.queries import Answer, Answers
    from .wire.describe import Encoding
    from .wire.layout import Layout
    from .wire.messages import Image, Policy, Query, RoiEncoding, Rois

_HOME = {
    "discovery": "Endpoint",
    "receiving.opening": "Part",
    "receiving.receiver": "Receiver",
    "receiving.stack": "Block Stack StackView of_each_axis",
    "receiving.subscription": "Received receive",
    "receiving.viewer": "Delivery Viewer unknown_name",
    "sending.backend": "StreamingBackend ViewerSink",
    "sending.launch": "start_viewer",
    "sending.remote": "RemoteViewer",
    "sending.sink": "StreamSink",
    "viewers.looks": "Limits",
    "viewers.queries": "Answer Answers",
    "wire.describe": "Encoding",
    "wire.layout": "Layout",
    "wire.messages": "Image Policy Query RoiEncoding Rois",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "Answer",
    "Answers",
    "Block",
    "Delivery",
    "Encoding",
    "Endpoint",
    "Image",
    "Layout",
    "Limits",
    "Part",
    "Policy",
    "Query",
    "Received",
    "Receiver",
    "RemoteViewer",
    "RoiEncoding",
    "Rois",
    "Stack",
    "StackView",
    "StreamSink",
    "StreamingBackend",
    "Viewer",
    "ViewerSink",
    "of_each_axis",
    "receive",
    "start_viewer",
    "unknown_name",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    globals()[name] = value  # later uses do not call this function
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
