"""The nodes of a store, read from their metadata documents without importing zarr.

Zarr 3 has one ``zarr.json`` for each node. Zarr 2 has ``.zarray`` or ``.zgroup``, and ``.zattrs``
(https://zarr-specs.readthedocs.io).
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

from polystore_core import DIMENSIONS_LIMIT
from polystore_core.errors import (
    DamagedDataError,
    DataError,
    PathOutsideRootError,
    PolystoreError,
    UnsupportedFileError,
)

from .base import FLUSHED, MARKER, StorePath
from .documents import decode_document, encode_document
from .pieces import Known, decode_again, encode_again

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from .base import Slot
    from .pieces import Pieces, Splice

__all__ = [
    "Document",
    "Node",
    "ZarrFormat",
    "make_group",
    "read_document",
    "write_attributes",
    "write_group",
]

ZarrFormat: TypeAlias = Literal[2, 3]

Result = TypeVar("Result")
_BYTES_LIMIT = 64 << 20

_MEMORY_FROM, _MEMORY_TO = 1 << 12, 1 << 20
_MOST_LARGE, _MOST_SMALL = 16, 256


class _Remembered(NamedTuple):
    """A decoded file of a group. Readers share ``fields`` and must not change them."""

    text: bytes
    fields: dict[str, Any]
    derived: dict[Any, Any]
    pieces: Pieces | None = None

    def splice(self, splice: Splice) -> dict[Any, Any]:
        """Return the results of ``Document.derive`` that can follow a change of the wells."""
        follows = {
            read: getattr(value, "follow", None) for read, value in list(self.derived.items())
        }
        found = {
            read: follow(*splice) for read, follow in follows.items() if follow is not None
        }
        return {read: value for read, value in found.items() if value is not None}


_large: dict[StorePath, _Remembered] = {}
"""Large documents by their place, from the last reading or writing by this process.

A plate with 1,536 wells takes 2 ms to decode, and 30 us to read and compare. If other processes
have added wells, it takes 0.3 ms. The bytes are compared, not times, because a document can be
replaced in one tick of the clock of a file system. No lock is needed, because threads store whole
entries.
"""
_small: dict[bytes, _Remembered] = {}
"""Small documents by their text, because many groups have the same one."""


@dataclass(frozen=True, slots=True)
class Document:
    """The metadata of one array or group."""

    zarr_format: ZarrFormat
    kind: Literal["array", "group"]
    fields: dict[str, Any]
    """The content of ``zarr.json``, ``.zarray`` or ``.zgroup``."""
    attributes: dict[str, Any] = field(default_factory=dict)
    levels_are_groups: bool = False
    """Whether the first level in its list is a group. The levels are then not pixels."""
    stamp: Hashable = field(default=None, repr=False, compare=False)
    """The stamp of the file. ``None`` for Zarr 2, which has two files."""
    derived: dict[Any, Any] = field(default_factory=dict, repr=False, compare=False)
    """Results of ``derive``."""
    attributes_stamp: Hashable = field(default=None, repr=False, compare=False)
    """The stamp of the file that has the attributes. ``None`` if there is none."""

    def derive(self, read: Callable[[dict[str, Any]], Result]) -> Result:
        """Return ``read(attributes)``, which is called once for the same bytes of a large file."""
        if read not in self.derived:
            self.derived[read] = read(self.attributes)
        result: Result = self.derived[read]
        return result

    @property
    def marks(self) -> dict[str, Any]:
        """Our own attribute."""
        marks = self.attributes.get(MARKER)
        return marks if isinstance(marks, dict) else {}

    @property
    def growing(self) -> str | None:
        """The id of an array that grows, ``None`` for any other node."""
        found, shape = self.marks.get("grows"), self.fields.get("shape")
        # An array without axes, or whose document is damaged, does not grow.
        is_array = isinstance(shape, list) and shape and type(shape[0]) is int
        return found if self.kind == "array" and is_array and isinstance(found, str) else None

    def with_length(self, length: int) -> Document:
        """Return the document with another length of the first axis of the array."""
        fields = {**self.fields, "shape": [length, *self.fields["shape"][1:]]}
        # Without ``derived``, because its results are for the old length.
        return replace(self, fields=fields, derived={})

    @property
    def is_image(self) -> bool:
        """Whether the node is an OME-Zarr image: a group with a list of the levels of a pyramid.

        Other conventions also have an attribute "multiscales". In GeoZarr it is an object, in
        ndpyramid a list of groups.
        """
        if self.kind != "group":
            return False
        ome = self.attributes.get("ome")
        return (isinstance(ome, dict) and "multiscales" in ome) or (
            "multiscales" in self.attributes
            and _first_level(self.attributes) is not None
            and not self.levels_are_groups
        )

    @property
    def is_well_formed(self) -> bool:
        """Whether the document of an array has all required fields, with known values or not."""
        return (_is_well_formed_3 if self.zarr_format == 3 else _is_well_formed_2)(self.fields)


@dataclass(frozen=True, slots=True)
class Node:
    """The node at a path."""

    directory: StorePath
    document: Document | None
    """``None`` for a directory that is not a node of a store."""

    @property
    def holds_pixels(self) -> bool:
        """Whether the node can be loaded: an array, or an image, whose first level is loaded."""
        return self.document is not None and (
            self.document.kind == "array" or self.document.is_image
        )

    @property
    def is_image(self) -> bool:
        """Whether the node is an OME-Zarr image."""
        return self.document is not None and self.document.is_image

    @property
    def zarr_format(self) -> ZarrFormat:
        """The format of the node. It is 3 for a directory without a document."""
        return 3 if self.document is None else self.document.zarr_format


def read_document(directory: StorePath, known: Document | None = None) -> Document | None:
    """Return the document of ``directory``, or ``None`` if it is not a node of a store.

    Args:
        directory: the place of the node.
        known: a document that was read a moment ago. It is returned if the file is the same.

    Raises:
        DamagedDataError: The document is not valid.
        UnsupportedFileError: It is a document of a newer Zarr.
        OSError: The store cannot be read.
    """
    files, key = directory
    path = StorePath(files, f"{key}/zarr.json" if key else "zarr.json")
    if known is not None and known.stamp is not None:
        with suppress(OSError):  # reading the file below raises it again
            if files.stamp(path.key) == known.stamp:
                return known
    # A directory may have documents of both formats. zarr also prefers that of Zarr 3.
    found = _read_array(path)
    if found is not None:
        return _document_3(found, directory)
    for name, kind in ((".zarray", "array"), (".zgroup", "group")):
        found = (_read_array if kind == "array" else _read)(directory / name)
        if found is not None:
            _check_dimensions(found.fields, directory)
            beside = _read(directory / ".zattrs", shared=kind == "group")
            attributes, derived = (
                ({}, {}) if beside is None else (beside.fields, beside.derived)
            )
            groups = kind == "group" and _lists_groups(attributes, directory)
            stamp = None if beside is None else beside.stamp
            return Document(2, kind, found.fields, attributes, groups, None, derived, stamp)  # type: ignore[arg-type]
    return None


def _first_level(attributes: dict[str, Any]) -> dict[str, Any] | None:
    """Return the first image in a list outside "ome", the place for NGFF 0.4 and older."""
    multiscales = attributes.get("multiscales")
    image = multiscales[0] if isinstance(multiscales, list) and multiscales else None
    return image if isinstance(image, dict) and "datasets" in image else None


def _lists_groups(attributes: dict[str, Any], directory: StorePath) -> bool:
    image = _first_level(attributes)
    if image is None or "axes" in image:  # other conventions have no axes
        return False
    match image["datasets"]:
        case [{"path": str(path)}, *_] if path and ".." not in path and "\0" not in path:
            below = directory / path.strip("/")
            return below.files.kind((below / ".zgroup").key) is not None or (
                (found := _read(below / "zarr.json")) is not None
                and found.fields.get("node_type") == "group"
            )
    return False


def _document_3(found: _File, directory: StorePath) -> Document:
    fields = found.fields
    version, kind = fields.get("zarr_format"), fields.get("node_type")
    # A newer format may have other fields, so it is not damage if they are missing here.
    if type(version) is int and version > 3:
        reason = f"it has Zarr format {version}, but polystore reads only 2 and 3"
        raise UnsupportedFileError(reason, "zarr", str(directory))
    if version != 3 or not isinstance(kind, str):
        raise DamagedDataError(
            "zarr.json describes neither an array nor a group", "zarr", str(directory)
        )
    if kind not in ("array", "group"):
        reason = (
            f"it is a node of type {kind[:40]!r}, but polystore reads only arrays and groups"
        )
        raise UnsupportedFileError(reason, "zarr", str(directory))
    attributes = fields.get("attributes")
    if attributes is None:
        attributes = {}
    if not isinstance(attributes, dict):
        raise DamagedDataError(
            "'attributes' in zarr.json is not an object", "zarr", str(directory)
        )
    _check_dimensions(fields, directory)
    listed = kind == "group" and "multiscales" in attributes
    groups = listed and _lists_groups(attributes, directory)
    stamp = found.stamp
    return Document(3, kind, fields, attributes, groups, stamp, found.derived, stamp)  # type: ignore[arg-type]


def _check_dimensions(fields: dict[str, Any], directory: StorePath) -> None:
    shape = fields.get("shape")
    if isinstance(shape, list) and len(shape) > DIMENSIONS_LIMIT:
        reason = f"it has {len(shape)} dimensions, but NumPy has at most {DIMENSIONS_LIMIT}"
        raise UnsupportedFileError(reason, "zarr", str(directory))


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
    """Return whether a value can be an extension: a name, or an object with a name."""
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
    # ``true`` in JSON is an int for ``isinstance``.
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


class _File(NamedTuple):
    """A decoded file, its stamp, and results of ``Document.derive`` that readers share."""

    fields: dict[str, Any]
    stamp: Hashable
    derived: dict[Any, Any]


def _read_array(path: StorePath) -> _File | None:
    """Return a decoded file, or its flushed copy if the file of a growing array is damaged."""
    try:
        return _read(path)
    except DamagedDataError:  # a power cut can empty a document that was not flushed
        flushed = _read(path.parent / f"{FLUSHED}{path.name}")
        if flushed is None:
            raise
        return flushed


def _read(path: StorePath, *, shared: bool = True) -> _File | None:
    """Return a decoded file. ``shared=False`` keeps no copy, for the attributes of an array."""
    stored = path.files.read(path.key, _BYTES_LIMIT)
    if stored is None:
        return None
    text = stored.content
    if len(text) > _BYTES_LIMIT:
        reason = f"the document is larger than {_BYTES_LIMIT} bytes"
        raise UnsupportedFileError(reason, "zarr", str(path))
    known = None
    if shared:
        known = _small.get(text) if len(text) < _MEMORY_FROM else _large.get(path.base)
    if known is None or known.text != text:
        found = None
        if known is not None and known.pieces is not None:
            found = decode_again(text, path, Known(known.text, known.fields, known.pieces))
        if known is None or found is None:
            new = _Remembered(text, decode_document(text, path), {})
        else:
            fields, pieces, splice = found
            derived = {} if splice is None else known.splice(splice)
            new = _Remembered(text, fields, derived, pieces)
        known = _remember(path, new, shared=shared)
    return _File(known.fields, stored.stamp, known.derived)


def _remember(path: StorePath, found: _Remembered, *, shared: bool) -> _Remembered:
    """Keep a decoded file of a group, but not of an image.

    ``info`` gives the attributes of arrays and images to callers, which may change them.
    """
    text, fields = found.text, found.fields
    is_array = not shared or "shape" in fields or fields.get("node_type") == "array"
    if is_array or len(text) > _MEMORY_TO or b'"multiscales"' in text:
        return found
    if len(text) < _MEMORY_FROM:
        if len(_small) >= _MOST_SMALL:
            _small.clear()
        _small[text] = found
    else:
        if len(_large) >= _MOST_LARGE:
            _large.clear()
        _large[path.base] = found
    return found


def make_group(
    directory: StorePath,
    zarr_format: ZarrFormat,
    *,
    durable: bool | None = None,
    slot: Slot | None = None,
) -> bool:
    """Write the document of an empty group. Return ``False`` if another process was first.

    ``slot`` is a hidden directory of the store, if the caller has one.
    """
    ((name, text),) = _group_documents(zarr_format, {})
    key = (directory / name).key
    return directory.files.create(key, text, durable=durable, slot=slot)


def write_group(
    directory: StorePath, zarr_format: ZarrFormat, attributes: dict[str, Any]
) -> None:
    """Write the documents of a group that has no readers yet."""
    for name, text in _group_documents(zarr_format, attributes):
        directory.files.write((directory / name).key, [text])


def _group_documents(
    zarr_format: ZarrFormat, attributes: dict[str, Any]
) -> list[tuple[str, bytes]]:
    if zarr_format == 3:
        fields = {"zarr_format": 3, "node_type": "group", "attributes": attributes}
        return [("zarr.json", encode_document(fields))]
    # The last document makes the directory a group, so its attributes are there before.
    documents = [(".zattrs", encode_document(attributes))] if attributes else []
    return [*documents, (".zgroup", encode_document({"zarr_format": 2}))]


def write_attributes(
    directory: StorePath,
    document: Document,
    attributes: dict[str, Any],
    *,
    store: StorePath,
    durable: bool | None,
    slot: Slot | None = None,
) -> None:
    """Replace the attributes of a group. The caller is in ``Files.changing``.

    Raises:
        VersionConflictError: Another process has replaced them since ``document`` was read.
    """
    if document.zarr_format == 3:
        name, fields = "zarr.json", {**document.fields, "attributes": attributes}
    else:
        name, fields = ".zattrs", attributes
    path = directory / name
    before, known, splice = _large.get(path.base), None, None
    if before is None:  # a small document, like that of most groups
        text, pieces = encode_document(fields), None
    else:
        if before.pieces is not None:
            known = Known(before.text, before.fields, before.pieces)
        text, pieces, splice = encode_again(fields, known)
    directory.files.replace_document(
        path.key,
        text,
        store=store.key,
        durable=durable,
        known=document.attributes_stamp,
        slot=slot,
    )
    # Remembered after the replacement: if that fails, memory must not have a text that the
    # disk never had.
    derived = {} if before is None or splice is None else before.splice(splice)
    _remember(path, _Remembered(text, fields, derived, pieces), shared=True)


def read_kind(directory: StorePath) -> Kind | None:
    """Return only the kind of the node in ``directory``, for long listings.

    A document that cannot be read counts as an array. So one damaged store does not hide the
    others, and ``load`` raises the error.
    """
    text = _read_small(directory)
    if text is not None and (kind := _kinds.get(text)) is not None:
        return kind
    try:
        document = read_document(directory) if text is None else _decode_small(text, directory)
    except (DataError, PathOutsideRootError, PermissionError):
        return "array"
    if document is None:
        return None
    kind = "image" if document.is_image else document.kind
    # The kind of a pyramid also depends on the documents of its levels, and not on its text
    # alone.
    if text is not None and _first_level(document.attributes) is None:
        if len(_kinds) >= _MOST_KINDS:
            _kinds.clear()
        _kinds[text] = kind
    return kind


Kind: TypeAlias = Literal["array", "image", "group"]

_kinds: dict[bytes, Kind] = {}
"""Kinds of nodes by the text of their ``zarr.json``, if no other file decides.

The arrays of a store often have the same document, and decoding takes longer than reading. No lock
is needed, because threads store whole entries.
"""
_MOST_KINDS = 64


def _read_small(directory: StorePath) -> bytes | None:
    """Return the text of a small ``zarr.json``, or ``None`` if only ``Files.read`` can read it."""
    key = f"{directory.key}/zarr.json" if directory.key else "zarr.json"
    try:
        text = directory.files.peek(key, _MEMORY_FROM)
    except (OSError, PolystoreError):
        return None
    # A text that fills the buffer may go on in the file.
    return text if 0 < len(text) < _MEMORY_FROM else None


def _decode_small(text: bytes, directory: StorePath) -> Document | None:
    try:
        fields = decode_document(text, directory)
    except DataError:  # it is damaged, or the system gave only a part of it
        return read_document(directory)
    return _document_3(_File(fields, None, {}), directory)
