"""What authors of backends and formats implement."""

from .array import LazyArray, Source
from .backend import DataSink, DataSource, Entry, StorageBackend
from .context import Backends, Context, Formats
from .format import Format, Opener

__all__ = [
    "Backends",
    "Context",
    "DataSink",
    "DataSource",
    "Entry",
    "Format",
    "Formats",
    "LazyArray",
    "Opener",
    "Source",
    "StorageBackend",
]
