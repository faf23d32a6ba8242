"""The nodes of a store: read from its metadata documents, without importing zarr.

Zarr 3 keeps one ``zarr.json`` per node, Zarr 2 ``.zarray`` or ``.zgroup`` beside ``.zattrs``
(https://zarr-specs.readthedocs.io).
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from polystore_core import HIDDEN_PREFIX, PendingFile, is_litter, sync_directory
from polystore_core.errors import DamagedDataError, DataError, UnsupportedFileError

from .asides import is_aside, settle_visible, workspace
from .documents import decode_document, encode_document
from .files import write_file
from .regular import open_file
from .slots import new_name
from .trees import flush_file

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Document", "Node", "ZarrFormat", "make_group", "read_document", "write_attributes"]

ZarrFormat: TypeAlias = Literal[2, 3]

Result = TypeVar("Result")
Stamp: TypeAlias = tuple[int, ...]

_BYTES_LIMIT = 64 << 20

_MEMORY_FROM, _MEMORY_TO = 1 << 12, 1 << 20
_MOST_REMEMBERED = 16


class _Remembered(NamedTuple):
    """A decoded file of a group. Nobody changes ``fields``: all readers share them."""

    text: bytes
    fields: dict[str, Any]
    derived: dict[Any, Any]


_remembered: dict[str, _Remembered] = {}
"""Large documents by the path of their file, as this process has last read or written them.

A plate with 1,536 wells takes 2 ms to decode and 30 us to read and compare. The bytes are
compared, not times: documents may be replaced within one tick of the clock of a file system.
Needs no lock: threads store whole entries.
"""


@dataclass(frozen=True, slots=True)
class Document:
    """The metadata of one array or group."""

    zarr_format: ZarrFormat
    kind: Literal["array", "group"]
    fields: dict[str, Any]
    """The document as it is written: of ``zarr.json``, ``.zarray`` or ``.zgroup``."""
    attributes: dict[str, Any] = field(default_factory=dict)
    levels_are_groups: bool = False
    """Whether the first of the levels that it lists is a group: then they are no pixels."""
    stamp: Stamp | None = field(default=None, repr=False, compare=False)
    """Number, size and times of the file. ``None`` for Zarr 2, which has two files."""
    derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Results of ``derive``."""

    def derive(self, read: Callable[[dict[str, Any]], Result]) -> Result:
        """Return ``read(attributes)``. It is called once for the same bytes of a large file."""
        if read not in self.derived:
            self.derived[read] = read(self.attributes)
        result: Result = self.derived[read]
        return result

    @property
    def is_image(self) -> bool:
        """Whether it is an OME-Zarr image: a group that lists the levels of a pyramid.

        Other conventions have an attribute "multiscales" too: GeoZarr an object, ndpyramid a
        list of groups.
        """
        ome = self.attributes.get("ome")
        return self.kind == "group" and (
            (isinstance(ome, dict) and "multiscales" in ome)
            or (_first_level(self.attributes) is not None and not self.levels_are_groups)
        )

    @property
    def is_well_formed(self) -> bool:
        """Whether an array's document has all parts of the specification, known here or not."""
        return (_is_well_formed_3 if self.zarr_format == 3 else _is_well_formed_2)(self.fields)


@dataclass(frozen=True, slots=True)
class Node:
    """The node that a path leads to."""

    directory: str
    document: Document | None
    """``None`` for a directory that is not a node of a store."""

    @property
    def holds_pixels(self) -> bool:
        """Whether it can be loaded: an array, or an image whose first level is meant."""
        return self.document is not None and (
            self.document.kind == "array" or self.document.is_image
        )

    @property
    def zarr_format(self) -> ZarrFormat:
        return 3 if self.document is None else self.document.zarr_format


def read_document(directory: str, known: Document | None = None) -> Document | None:
    """Return the document of ``directory``, or ``None`` if that is not a node of a store.

    ``known`` was read a moment ago, and is returned if the file is still the same one. Without
    it the file is read. Raises ``DamagedDataError``, ``UnsupportedFileError`` for the documents
    of a later Zarr, ``OSError``.
    """
    path = os.path.join(directory, "zarr.json")
    if known is not None and known.stamp is not None and known.stamp == _stamp_at(path):
        return known
    found = _read(path)
    if found is not None:
        return _document_3(found, directory)
    for name, kind in ((".zarray", "array"), (".zgroup", "group")):
        found = _read(os.path.join(directory, name))
        if found is not None:
            beside = _read(os.path.join(directory, ".zattrs"), shared=kind == "group")
            attributes, derived = (
                ({}, {}) if beside is None else (beside.fields, beside.derived)
            )
            groups = kind == "group" and _lists_groups(attributes, directory)
            return Document(2, kind, found.fields, attributes, groups, None, derived)  # type: ignore[arg-type]
    return None


def _stamp(status: os.stat_result) -> Stamp:
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _stamp_at(path: str) -> Stamp | None:
    try:
        return _stamp(os.stat(path))
    except OSError:  # the error comes when it is read
        return None


def _first_level(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first image of a list outside "ome", where NGFF 0.4 and older have it."""
    multiscales = attributes.get("multiscales")
    image = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    return image if isinstance(image, dict) and "datasets" in image else None


def _lists_groups(attributes: dict[str, Any], directory: str) -> bool:
    image = _first_level(attributes)
    if image is None or "axes" in image:  # which only images have
        return False
    match image["datasets"]:
        case [{"path": str(path)}, *_] if path and ".." not in path and "\0" not in path:
            below = os.path.join(directory, path.strip("/"))
            return os.path.exists(os.path.join(below, ".zgroup")) or (
                (found := _read(os.path.join(below, "zarr.json"))) is not None
                and found.fields.get("node_type") == "group"
            )
    return False


def _document_3(found: _File, directory: str) -> Document:
    fields = found.fields
    version, kind = fields.get("zarr_format"), fields.get("node_type")
    if type(version) is int and version > 3:
        reason = f"it has Zarr format {version}, but polystore reads only 2 and 3"
        raise UnsupportedFileError(reason, "zarr", directory)
    if version != 3 or not isinstance(kind, str):
        raise DamagedDataError(
            "zarr.json describes neither an array nor a group", "zarr", directory
        )
    if kind not in ("array", "group"):
        reason = (
            f"it is a node of type {kind[:40]!r}, but polystore reads only arrays and groups"
        )
        raise UnsupportedFileError(reason, "zarr", directory)
    attributes = fields.get("attributes")
    if attributes is None:
        attributes = {}
    if not isinstance(attributes, dict):
        raise DamagedDataError("'attributes' in zarr.json is not an object", "zarr", directory)
    groups = kind == "group" and _lists_groups(attributes, directory)
    return Document(3, kind, fields, attributes, groups, found.stamp, found.derived)  # type: ignore[arg-type]


def _is_well_formed_3(fields: dict[str, Any]) -> bool:
    codecs = fields.get("codecs")
    return (
        _are_lengths(fields.get("shape"))
        and all(_has_name(fields.get(key)) for key in _EXTENSIONS)
        and isinstance(codecs, list)
        and bool(codecs)
        and all(map(_has_name, codecs))
        and "fill_value" in fields
    )


_EXTENSIONS = ("data_type", "chunk_grid", "chunk_key_encoding")


def _has_name(value: object) -> bool:
    """Whether it can name an extension: by its name alone, or with a configuration."""
    return isinstance(value.get("name") if isinstance(value, dict) else value, str)


def _is_well_formed_2(fields: dict[str, Any]) -> bool:
    filters, compressor = fields.get("filters"), fields.get("compressor")
    return (
        _are_lengths(fields.get("shape"))
        and _are_lengths(fields.get("chunks"))
        and isinstance(fields.get("dtype"), str | list)
        and (filters is None or isinstance(filters, list))
        and (compressor is None or isinstance(compressor, dict))
    )


def _are_lengths(value: object) -> bool:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


class _File(NamedTuple):
    fields: dict[str, Any]
    stamp: Stamp
    derived: dict[Any, Any]


def _read(path: str, *, shared: bool = True) -> _File | None:
    """Return a decoded file. ``shared=False`` is for the attributes of an array."""
    try:
        with open_file(path) as file:
            status = os.fstat(file.fileno())
            if status.st_size > _BYTES_LIMIT:
                reason = f"the document is larger than {_BYTES_LIMIT} bytes"
                raise UnsupportedFileError(reason, "zarr", path)
            text = file.readall()
    except (FileNotFoundError, NotADirectoryError):
        return None
    known = _remembered.get(path)
    if known is None or known.text != text:
        known = _remember(path, text, decode_document(text, path), shared=shared)
    return _File(known.fields, _stamp(status), known.derived)


def _remember(path: str, text: bytes, fields: dict[str, Any], *, shared: bool) -> _Remembered:
    """Keep a decoded file if it is large and of a group, but not of an image.

    ``info`` gives the attributes of arrays and images to its callers, who may change them.
    """
    found = _Remembered(text, fields, {})
    is_small = not _MEMORY_FROM <= len(text) <= _MEMORY_TO
    is_array = not shared or fields.get("node_type") == "array"
    if not (is_small or is_array or b'"multiscales"' in text):
        if len(_remembered) >= _MOST_REMEMBERED:
            _remembered.clear()
        _remembered[path] = found
    return found


def make_group(
    directory: str,
    zarr_format: ZarrFormat,
    attributes: dict[str, Any] | None = None,
    *,
    durable: bool | None = None,
) -> None:
    """Write the document of a group; whoever was first keeps theirs."""
    if zarr_format == 3:
        fields = {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}
        _write_new(os.path.join(directory, "zarr.json"), fields, durable)
        return
    if attributes:
        _write_new(os.path.join(directory, ".zattrs"), attributes, durable)
    _write_new(os.path.join(directory, ".zgroup"), {"zarr_format": 2}, durable)


def _write_new(path: str, fields: dict[str, Any], durable: bool | None) -> None:
    pending = PendingFile(path, exclusive=True, durable=durable)
    try:
        pending.file.write(encode_document(fields))
        pending.seal()
        with suppress(FileExistsError):
            pending.commit()
            if durable:
                pending.sync_directory()
    finally:
        pending.discard()


def write_attributes(
    directory: str,
    document: Document,
    attributes: dict[str, Any],
    *,
    store: str,
    durable: bool | None,
) -> None:
    """Replace the attributes of a group. The caller holds the lock of the ``store``."""
    if document.zarr_format == 3:
        name, fields = "zarr.json", {**document.fields, "attributes": attributes}
    else:
        name, fields = ".zattrs", attributes
    # Not beside its place: other readers would take the temporary file for a member.
    with workspace(store) as hidden:
        path, place = new_name(hidden), os.path.join(directory, name)
        text = encode_document(fields)
        write_file(path, [text])
        with suppress(FileNotFoundError):  # of Zarr 2, and the first attributes
            os.chmod(path, stat.S_IMODE(os.stat(place).st_mode))
        if durable is not False:
            flush_file(path)
        os.replace(path, place)
    _remember(place, text, fields, shared=True)
    if durable:
        sync_directory(directory)


def visible(directory: str) -> list[os.DirEntry[str]]:
    """Return the entries of a directory but for polystore's own, and those of file browsers.

    It waits for writers that have set a store aside for a moment, or the store would be missing.
    """
    while True:
        with os.scandir(directory) as found:
            entries = list(found)
        aside = [entry.path for entry in entries if is_aside(entry.name)]
        if not any(map(settle_visible, aside)):
            return [entry for entry in entries if not _is_hidden(entry)]


def _is_hidden(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(HIDDEN_PREFIX):
        return True
    return is_litter(entry.name) and not entry.is_dir(follow_symlinks=False)


def read_kind(directory: str) -> Literal["array", "image", "group"] | None:
    """Return the kind of the node in ``directory`` and no more: for long listings.

    An unreadable document counts as an array: one bad store must not hide the others, and the
    error comes when it is loaded.
    """
    try:
        document = read_document(directory)
    except (DataError, PermissionError):
        return "array"
    if document is None:
        return None
    return "image" if document.is_image else document.kind
