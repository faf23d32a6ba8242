"""What authors of backends and formats implement."""

from .array import LazyArray
from .backend import DataSink, DataSource, Entry, StorageBackend
from .format import Format, Opener

__all__ = ["DataSink", "DataSource", "Entry", "Format", "LazyArray", "Opener", "StorageBackend"]
