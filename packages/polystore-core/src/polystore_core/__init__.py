"""polystore_core: what authors of backends, formats and tools build on.

Scientists import ``polystore``, which has the same names for users. The page "Stability" says
what stays as it is. Importing the package loads nothing else: each public name is imported
when it is first used. ``polystore_core.errors`` and ``polystore_core.rois`` are public as well.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from . import errors, rois
    from .abc import DataSink, DataSource, Entry, Format, LazyArray, Opener, StorageBackend
    from .abc.backend import Path, join
    from .arrays import framework_of, is_array, to_framework, to_numpy
    from .atomic import (
        PendingFile,
        Place,
        atomic_update_json,
        atomic_write,
        atomic_write_json,
        decode_json,
        encode_json,
        find_leftovers,
    )
    from .batch import (
        Progress,
        batch_error,
        check_lengths,
        check_paths,
        progress_reporter,
        run_batch,
        threads_for,
    )
    from .casting import convert
    from .checks import Finding, findings
    from .claims import claim, is_abandoned
    from .declared import owner
    from .errors import PolystoreError
    from .filemanager import FileManager
    from .files import (
        MOST_LINKS,
        exchange,
        flush_to_device,
        follow_links,
        make_directories,
        not_regular,
        open_regular,
        path_of,
        remove_tree,
        rename_new,
        sync_directory,
    )
    from .hooks import hookimpl
    from .images import (
        AXIS_TYPES,
        HEX_COLOR,
        SPACE_UNITS,
        Axis,
        Channel,
        ImageMetadata,
        Window,
        finite,
        image_metadata,
    )
    from .locking import HIDDEN_PREFIX, file_lock, is_lock, lock_path, remove_unused
    from .metadata import AtomicMetadataWriter
    from .modules import is_instance
    from .names import NameTemplate, split_well
    from .options import IfExists, check_if_exists, check_options, known_options
    from .paths import check_new, check_text, checked, full_path, is_litter
    from .plugins import PLUGIN_API, PluginState, survey
    from .region import Selection, select
    from .registry import BackendRegistry, FormatRegistry, formats
    from .specs import BackendSpec, FormatSpec, class_fault
    from .threads import in_threads
    from .values import Capabilities, Info, Region, natural_key, natural_order

    __version__: str

_HOME = {
    "abc": "DataSink DataSource Entry Format LazyArray Opener StorageBackend",
    "abc.backend": "Path join",
    "arrays": "framework_of is_array to_framework to_numpy",
    "atomic": (
        "PendingFile Place atomic_update_json atomic_write atomic_write_json "
        "decode_json encode_json find_leftovers "
    ),
    "batch": (
        "Progress batch_error check_lengths check_paths progress_reporter run_batch "
        "threads_for "
    ),
    "casting": "convert",
    "checks": "Finding findings",
    "claims": "claim is_abandoned",
    "declared": "owner",
    "errors": "PolystoreError",
    "filemanager": "FileManager",
    "files": (
        "MOST_LINKS exchange flush_to_device follow_links make_directories not_regular "
        "open_regular path_of remove_tree rename_new sync_directory "
    ),
    "hooks": "hookimpl",
    "images": (
        "AXIS_TYPES HEX_COLOR SPACE_UNITS Axis Channel ImageMetadata Window finite "
        "image_metadata "
    ),
    "locking": "HIDDEN_PREFIX file_lock is_lock lock_path remove_unused",
    "metadata": "AtomicMetadataWriter",
    "modules": "is_instance",
    "names": "NameTemplate split_well",
    "options": "IfExists check_if_exists check_options known_options",
    "paths": "check_new check_text checked full_path is_litter",
    "plugins": "PLUGIN_API PluginState survey",
    "region": "Selection select",
    "registry": "BackendRegistry FormatRegistry formats",
    "specs": "BackendSpec FormatSpec class_fault",
    "threads": "in_threads",
    "values": "Capabilities Info Region natural_key natural_order",
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "AXIS_TYPES",
    "HEX_COLOR",
    "HIDDEN_PREFIX",
    "MOST_LINKS",
    "PLUGIN_API",
    "SPACE_UNITS",
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
    "Finding",
    "Format",
    "FormatRegistry",
    "FormatSpec",
    "IfExists",
    "ImageMetadata",
    "Info",
    "LazyArray",
    "NameTemplate",
    "Opener",
    "Path",
    "PendingFile",
    "Place",
    "PluginState",
    "PolystoreError",
    "Progress",
    "Region",
    "Selection",
    "StorageBackend",
    "Window",
    "atomic_update_json",
    "atomic_write",
    "atomic_write_json",
    "batch_error",
    "check_if_exists",
    "check_lengths",
    "check_new",
    "check_options",
    "check_paths",
    "check_text",
    "checked",
    "claim",
    "class_fault",
    "convert",
    "decode_json",
    "encode_json",
    "errors",
    "exchange",
    "file_lock",
    "find_leftovers",
    "findings",
    "finite",
    "flush_to_device",
    "follow_links",
    "formats",
    "framework_of",
    "full_path",
    "hookimpl",
    "image_metadata",
    "in_threads",
    "is_abandoned",
    "is_array",
    "is_instance",
    "is_litter",
    "is_lock",
    "join",
    "known_options",
    "lock_path",
    "make_directories",
    "natural_key",
    "natural_order",
    "not_regular",
    "open_regular",
    "owner",
    "path_of",
    "progress_reporter",
    "remove_tree",
    "remove_unused",
    "rename_new",
    "rois",
    "run_batch",
    "select",
    "split_well",
    "survey",
    "sync_directory",
    "threads_for",
    "to_framework",
    "to_numpy",
]


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("polystore-core")
    elif name in ("errors", "rois"):
        return import_module(f"{__name__}.{name}")
    elif name in _MODULE_OF:
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # the next use does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "__version__"})
