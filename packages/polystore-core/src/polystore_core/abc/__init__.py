"""The classes that you implement if you write a plugin."""

from .array import LazyArray, Source
from .backend import DataSink, DataSource, Entry, StorageBackend
from .collector import Collector
from .context import Backends, Context, Formats
from .format import Format, Opener
from .framework import Framework

__all__ = [
    "Backends",
    "Collector",
    "Context",
    "DataSink",
    "DataSource",
    "Entry",
    "Format",
    "Formats",
    "Framework",
    "LazyArray",
    "Opener",
    "Source",
    "StorageBackend",
]
