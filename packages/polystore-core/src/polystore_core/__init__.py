"""polystore_core: the base for your own backends, formats and tools.

If you only save and load data, import ``polystore``, which has the same names for users. The page
"Stability" lists the names that keep their meaning. Importing this package loads nothing else:
each public name is imported when you first use it. ``polystore_core.errors`` and
``polystore_core.rois`` are public as well.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself costs more than all the rest of this module
if TYPE_CHECKING:
    from typing import Any

    from . import errors, rois
    from .abc import (
        Backends,
        Collector,
        Context,
        DataSink,
        DataSource,
        Entry,
        Format,
        Formats,
        Framework,
        LazyArray,
        Opener,
        Source,
        StorageBackend,
    )
    from .abc.backend import Path
    from .abc.format import Memory
    from .abc.framework import allocate_aligned
    from .abc.ranges import RangeReader
    from .abc.store import (
        ByteStore,
        Folders,
        Links,
        Locks,
        Renames,
        Scope,
        Sink,
        Stat,
        StoreFeatures,
        Trees,
        Versions,
    )
    from .errors import PolystoreError
    from .file_backend import FileBackend
    from .filemanager import FileManager
    from .files.atomic import (
        atomic_update_json,
        atomic_write,
        atomic_write_json,
        find_leftovers,
    )
    from .files.claims import claim, is_abandoned
    from .files.json import decode_json, encode_json
    from .files.local import LocalStore, Places
    from .files.locking import (
        HeldLock,
        file_lock,
        is_lock,
        lock_name,
        lock_path,
        remove_unused,
        try_lock,
    )
    from .files.metadata import AtomicMetadataWriter
    from .files.pending import PendingFile, Place
    from .files.system import (
        MOST_LINKS,
        exchange,
        flush_to_device,
        follow_links,
        is_missing,
        make_directories,
        not_regular,
        open_regular,
        path_of,
        remove_tree,
        rename_new,
        sync_directory,
        sync_tree,
    )
    from .frameworks.extended import as_dtype, dtype_name, is_extended
    from .image import (
        AXIS_TYPES,
        HEX_COLOR,
        SPACE_UNITS,
        TIME_UNITS,
        Axis,
        Channel,
        Image,
        ImageMetadata,
        Position,
        array_and_words,
        by_axis,
        channel_colors,
        finite,
        image_metadata,
        metadata_document,
        no_words,
        spell_out,
        with_document,
    )
    from .limits import DIMENSIONS_LIMIT, allocating
    from .model.arrays import copy_array, framework_of, is_array, to_framework, to_numpy
    from .model.casting import convert
    from .model.names import NameTemplate, split_well
    from .modules import is_instance
    from .options import (
        Copy,
        IfExists,
        check_copy,
        check_if_exists,
        check_options,
        known_options,
    )
    from .paths import (
        HIDDEN_PREFIX,
        check_new,
        check_text,
        full_path,
        is_litter,
        join,
        require_local,
    )
    from .plugins.checks import Finding, findings
    from .plugins.declared import owner
    from .plugins.discovery import PLUGIN_API, PluginState, survey
    from .plugins.hooks import hookimpl
    from .plugins.registry import BackendRegistry, FormatRegistry, formats
    from .plugins.secrets import Secret, secret
    from .plugins.specs import BackendSpec, FormatSpec, FrameworkSpec, class_fault
    from .region import Selection, select
    from .stacking import block_paths, stack
    from .threads import in_threads
    from .transfer import Transferred
    from .values import (
        Capabilities,
        Document,
        Info,
        Option,
        Pixels,
        Region,
        Value,
        natural_key,
        natural_order,
    )
    from .watching import Arrival, Watch
    from .work import (
        Progress,
        batch_error,
        check_lengths,
        check_paths,
        progress_reporter,
        run_batch,
        threads_for,
    )

    __version__: str

_HOME = {
    "abc": (
        "Backends Collector Context DataSink DataSource Entry Format Formats Framework "
        "LazyArray Opener Source StorageBackend"
    ),
    "abc.backend": "Path",
    "abc.framework": "allocate_aligned",
    "abc.format": "Memory",
    "abc.ranges": "RangeReader",
    "abc.store": (
        "ByteStore Folders Links Locks Renames Scope Sink Stat StoreFeatures Trees Versions"
    ),
    "errors": "PolystoreError",
    "file_backend": "FileBackend",
    "filemanager": "FileManager",
    "files.atomic": "atomic_update_json atomic_write atomic_write_json find_leftovers",
    "files.claims": "claim is_abandoned",
    "files.json": "decode_json encode_json",
    "files.local": "LocalStore Places",
    "files.locking": "HeldLock file_lock is_lock lock_name lock_path remove_unused try_lock",
    "files.metadata": "AtomicMetadataWriter",
    "files.pending": "PendingFile Place",
    "files.system": (
        "MOST_LINKS exchange flush_to_device follow_links is_missing make_directories "
        "not_regular open_regular path_of remove_tree rename_new sync_directory sync_tree"
    ),
    "frameworks.extended": "as_dtype dtype_name is_extended",
    "limits": "DIMENSIONS_LIMIT allocating",
    "model.arrays": "copy_array framework_of is_array to_framework to_numpy",
    "model.casting": "convert",
    "image": (
        "AXIS_TYPES HEX_COLOR SPACE_UNITS TIME_UNITS Axis Channel Image ImageMetadata Position "
        "array_and_words by_axis channel_colors finite image_metadata metadata_document "
        "no_words spell_out with_document"
    ),
    "model.names": "NameTemplate split_well",
    "region": "Selection select",
    "modules": "is_instance",
    "options": "Copy IfExists check_copy check_if_exists check_options known_options",
    "paths": "HIDDEN_PREFIX check_new check_text full_path is_litter join require_local",
    "plugins.checks": "Finding findings",
    "plugins.declared": "owner",
    "plugins.discovery": "PLUGIN_API PluginState survey",
    "plugins.hooks": "hookimpl",
    "plugins.registry": "BackendRegistry FormatRegistry formats",
    "plugins.secrets": "Secret secret",
    "plugins.specs": "BackendSpec FormatSpec FrameworkSpec class_fault",
    "stacking": "block_paths stack",
    "threads": "in_threads",
    "transfer": "Transferred",
    "values": (
        "Capabilities Document Info Option Pixels Region Value natural_key natural_order"
    ),
    "watching": "Arrival Watch",
    "work": (
        "Progress batch_error check_lengths check_paths progress_reporter run_batch "
        "threads_for "
    ),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names.split()}

__all__ = [
    "AXIS_TYPES",
    "DIMENSIONS_LIMIT",
    "HEX_COLOR",
    "HIDDEN_PREFIX",
    "MOST_LINKS",
    "PLUGIN_API",
    "SPACE_UNITS",
    "TIME_UNITS",
    "Arrival",
    "AtomicMetadataWriter",
    "Axis",
    "BackendRegistry",
    "BackendSpec",
    "Backends",
    "ByteStore",
    "Capabilities",
    "Channel",
    "Collector",
    "Context",
    "Copy",
    "DataSink",
    "DataSource",
    "Document",
    "Entry",
    "FileBackend",
    "FileManager",
    "Finding",
    "Folders",
    "Format",
    "FormatRegistry",
    "FormatSpec",
    "Formats",
    "Framework",
    "FrameworkSpec",
    "HeldLock",
    "IfExists",
    "Image",
    "ImageMetadata",
    "Info",
    "LazyArray",
    "Links",
    "LocalStore",
    "Locks",
    "Memory",
    "NameTemplate",
    "Opener",
    "Option",
    "Path",
    "PendingFile",
    "Pixels",
    "Place",
    "Places",
    "PluginState",
    "PolystoreError",
    "Position",
    "Progress",
    "RangeReader",
    "Region",
    "Renames",
    "Scope",
    "Secret",
    "Selection",
    "Sink",
    "Source",
    "Stat",
    "StorageBackend",
    "StoreFeatures",
    "Transferred",
    "Trees",
    "Value",
    "Versions",
    "Watch",
    "allocate_aligned",
    "allocating",
    "array_and_words",
    "as_dtype",
    "atomic_update_json",
    "atomic_write",
    "atomic_write_json",
    "batch_error",
    "block_paths",
    "by_axis",
    "channel_colors",
    "check_copy",
    "check_if_exists",
    "check_lengths",
    "check_new",
    "check_options",
    "check_paths",
    "check_text",
    "claim",
    "class_fault",
    "convert",
    "copy_array",
    "decode_json",
    "dtype_name",
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
    "is_extended",
    "is_instance",
    "is_litter",
    "is_lock",
    "is_missing",
    "join",
    "known_options",
    "lock_name",
    "lock_path",
    "make_directories",
    "metadata_document",
    "natural_key",
    "natural_order",
    "no_words",
    "not_regular",
    "open_regular",
    "owner",
    "path_of",
    "progress_reporter",
    "remove_tree",
    "remove_unused",
    "rename_new",
    "require_local",
    "rois",
    "run_batch",
    "secret",
    "select",
    "spell_out",
    "split_well",
    "stack",
    "survey",
    "sync_directory",
    "sync_tree",
    "threads_for",
    "to_framework",
    "to_numpy",
    "try_lock",
    "with_document",
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
