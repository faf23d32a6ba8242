"""polystore: save, load and watch scientific data with one call.

>>> fm = FileManager()
>>> fm.save(image, "result.npy", backend="disk")

Importing the package loads nothing else. Each name is imported from ``polystore_core`` when you
first use it.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from polystore_core import (
        PLUGIN_API,
        Arrival,
        AtomicMetadataWriter,
        Axis,
        BackendRegistry,
        BackendSpec,
        Capabilities,
        Channel,
        DataSink,
        DataSource,
        Entry,
        FileManager,
        Format,
        FormatRegistry,
        FormatSpec,
        Framework,
        FrameworkSpec,
        Image,
        ImageMetadata,
        Info,
        LazyArray,
        NameTemplate,
        Opener,
        PolystoreError,
        Position,
        Region,
        Secret,
        StorageBackend,
        Transferred,
        Watch,
        atomic_update_json,
        atomic_write,
        atomic_write_json,
        file_lock,
        formats,
        framework_of,
        hookimpl,
        is_array,
        secret,
        stack,
        to_framework,
        to_numpy,
    )

    from . import errors, rois

    __version__: str

__all__ = [
    "PLUGIN_API",
    "Arrival",
    "AtomicMetadataWriter",
    "Axis",
    "BackendRegistry",
    "BackendSpec",
    "Capabilities",
    "Channel",
    "DataSink",
    "DataSource",
    "Entry",
    "FileManager",
    "Format",
    "FormatRegistry",
    "FormatSpec",
    "Framework",
    "FrameworkSpec",
    "Image",
    "ImageMetadata",
    "Info",
    "LazyArray",
    "NameTemplate",
    "Opener",
    "PolystoreError",
    "Position",
    "Region",
    "Secret",
    "StorageBackend",
    "Transferred",
    "Watch",
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
    "secret",
    "stack",
    "to_framework",
    "to_numpy",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        # It searches all installed distributions, so it waits until it is needed.
        from importlib.metadata import version

        value: Any = version("polystore")
    elif name in ("errors", "rois"):
        from importlib import import_module

        # The import itself makes the submodule an attribute of this package.
        return import_module(f"{__name__}.{name}")
    elif name in __all__:
        import polystore_core

        value = getattr(polystore_core, name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # from now on Python finds the name without this function
    return value


def __dir__() -> list[str]:
    # Tab completion must show names that were not used yet.
    return sorted({*globals(), *__all__, "__version__"})
