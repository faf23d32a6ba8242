"""polystore: say where data goes with one word.

>>> fm = FileManager(BackendRegistry())
>>> fm.save(image, "result.npy", backend="disk")

Importing the package loads nothing else: each public name is imported when it is first used.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from . import errors, rois
    from .abc import DataSink, DataSource, Entry, Format, LazyArray, Opener, StorageBackend
    from .arrays import framework_of, is_array, to_framework, to_numpy
    from .atomic import atomic_update_json, atomic_write, atomic_write_json
    from .errors import PolystoreError
    from .filemanager import FileManager
    from .hooks import hookimpl
    from .locking import file_lock
    from .metadata import AtomicMetadataWriter
    from .names import NameTemplate
    from .plugins import PLUGIN_API, BackendSpec, FormatSpec
    from .registry import BackendRegistry, FormatRegistry, formats
    from .values import Capabilities, Info, Region

    __version__: str

_HOME = {
    "abc": "DataSink DataSource Entry Format LazyArray Opener StorageBackend",
    "arrays": "framework_of is_array to_framework to_numpy",
    "atomic": "atomic_update_json atomic_write atomic_write_json",
    "errors": "errors PolystoreError",
    "filemanager": "FileManager",
    "locking": "file_lock",
    "metadata": "AtomicMetadataWriter",
    "names": "NameTemplate",
    "hooks": "hookimpl",
    "plugins": "PLUGIN_API BackendSpec FormatSpec",
    "registry": "BackendRegistry FormatRegistry formats",
    "rois": "rois",
    "values": "Capabilities Info Region",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "PLUGIN_API",
    "AtomicMetadataWriter",
    "BackendRegistry",
    "BackendSpec",
    "Capabilities",
    "DataSink",
    "DataSource",
    "Entry",
    "FileManager",
    "Format",
    "FormatRegistry",
    "FormatSpec",
    "Info",
    "LazyArray",
    "NameTemplate",
    "Opener",
    "PolystoreError",
    "Region",
    "StorageBackend",
    "atomic_update_json",
    "atomic_write",
    "atomic_write_json",
    "errors",
    "file_lock",
    "formats",
    "framework_of",
    "hookimpl",
    "is_array",
    "rois",
    "to_framework",
    "to_numpy",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        globals()[name] = _version()
        return globals()[name]
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_MODULE_OF[name]}")
    value = module if name == _MODULE_OF[name] else getattr(module, name)
    globals()[name] = value  # the next use does not come here
    return value


def _version() -> str:
    """Return the version of polystore-core, which this package belongs to."""
    from importlib.metadata import version

    return version("polystore-core")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
