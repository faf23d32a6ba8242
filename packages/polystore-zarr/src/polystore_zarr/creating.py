"""Create an array: the options for its storage, and its document."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import zarr

from polystore_core import encode_json, is_extended
from polystore_core.errors import InvalidOptionError, PolystoreError, UnsupportedDataError

from .chunking import check_grid
from .codecs import codec_options
from .extended import register_type
from .store.base import MARKER
from .store.nodes import Document, ZarrFormat, read_document
from .store.zarrstore import WritingStore

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from polystore_core import Option, Value

    from .store.base import StorePath

__all__ = ["DIMENSIONS", "Layout", "create_array", "unstable_types"]

DIMENSIONS = "_ARRAY_DIMENSIONS"
"""The attribute in which xarray looks for the names of dimensions of an array of Zarr 2."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """The options for the storage of an array. ``None`` chooses."""

    chunks: int | Sequence[int] | None = None
    shards: int | Sequence[int] | Literal[False] | None = None
    compressor: Any = "blosc"
    checksum: bool = True
    fill_value: Any = None
    zarr_format: ZarrFormat = 3
    by_plane: bool = False
    """Whether planes will be written one by one."""

    @property
    def is_plain(self) -> bool:
        """Whether two arrays of this layout, shape and type have the same document."""
        return (
            self.zarr_format == 3
            and type(self.compressor) in (str, type(None))
            and type(self.fill_value) in (int, bool, type(None))
            and type(self.chunks) in (int, tuple, type(None))
            and type(self.shards) in (int, bool, tuple, type(None))
        )

    def transpose(self, order: Sequence[int]) -> Layout:
        """Return the layout of ``array.transpose(order)``."""
        chunks, shards = (
            tuple([n[at] for at in order])
            if isinstance(n, Sequence) and len(n) == len(order)
            else n
            for n in (self.chunks, self.shards)
        )
        return replace(self, chunks=chunks, shards=shards)


def create_array(
    directory: StorePath,
    shape: tuple[int, ...],
    dtype: np.dtype[Value],
    layout: Layout,
    *,
    attributes: Mapping[str, Option] | None = None,
    dimension_names: Sequence[str] | None = None,
    complete: bool,
    more: Mapping[str, Value] | None = None,
) -> Document:
    """Write the metadata of a new array into ``directory``, and return it.

    Args:
        directory: the place of the array.
        shape: its shape.
        dtype: its element type.
        layout: the options for its storage.
        attributes: attributes of the caller.
        dimension_names: names of its axes.
        complete: whether every chunk will be written before readers see the array. A missing
            chunk is then damage, and not the fill value.
        more: entries for our own attribute.

    Raises:
        UnsupportedDataError: Zarr cannot store the element type.
        InvalidOptionError: An option does not fit the array.
    """
    mark = "" if dtype.names or dtype.isbuiltin == 2 else dtype.str
    marks: dict[str, Any] = {"complete": complete, "dtype": mark}
    marked = {**(attributes or {}), MARKER: {**marks, **(more or {})}}
    names = None if dimension_names is None else tuple(dimension_names)
    key = (shape, dtype, names, layout, complete) if layout.is_plain else None
    template = _templates.get(key)
    if template is None:
        fields = _write_metadata(directory, shape, dtype, names, layout, marked)
        if fields is None:  # Zarr 2: the documents of zarr are used unchanged
            written = read_document(directory)
            assert written is not None
            return written
        text = encode_json({**fields, "attributes": {MARKER: marks}})
        template = _Template(fields, text, {})
        if key is not None:
            if len(_templates) >= _MOST_TEMPLATES:
                _templates.clear()
            _templates[key] = template
    # zarr needs most of a millisecond to make the same document again.
    fields = {**template.fields, "attributes": marked}
    text = encode_json(fields) if attributes or more else template.text
    directory.files.write((directory / "zarr.json").key, [text])
    return Document(3, "array", fields, marked, derived=template.derived)


class _Template(NamedTuple):
    """A document of an array that zarr has made."""

    fields: dict[str, Any]
    text: bytes
    """The whole document of an array without attributes of a caller."""
    derived: dict[Any, Any]
    """Shared by all documents that are made of this one. Their attributes may differ."""


def _refuse_lossy(dtype: np.dtype[Value], zarr_format: ZarrFormat) -> None:
    """Raise an error for element types that zarr accepts, but would load as another type."""
    fields = [field for field, *_ in (dtype.fields or {}).values()]
    for kind in (dtype, *fields):
        if kind.isbuiltin == 2 and (zarr_format == 2 or fields or not is_extended(kind.name)):
            raise UnsupportedDataError(
                f"{'A field' if fields else f'Zarr {zarr_format}'} cannot have type {kind.name}: "
                "convert the array, for example to float32 (arrays of Zarr 3 hold bfloat16 and "
                "float8)",
                "zarr",
            )
    if any(field.subdtype for field in fields):
        raise UnsupportedDataError(
            f"Zarr does not support fields that hold arrays: {dtype}", "zarr"
        )
    if zarr_format == 2 and any(field.names for field in fields):
        raise UnsupportedDataError(
            f"Zarr 2 does not support nested fields ({dtype}): use zarr_format=3", "zarr"
        )
    if fields and dtype.newbyteorder("<") != dtype:
        reason = f"not all fields are little-endian ({dtype}): convert the array with astype()"
        raise UnsupportedDataError(reason, "zarr")
    if fields and sum(field.itemsize for field in fields) != dtype.itemsize:
        advice = "numpy.lib.recfunctions.repack_fields removes it"
        raise UnsupportedDataError(f"the fields have padding between them; {advice}", "zarr")


_templates: dict[Any, _Template] = {}
"""Documents that zarr has made. No lock is needed, because threads only store equal entries."""
_MOST_TEMPLATES = 256


def _write_metadata(
    directory: StorePath,
    shape: tuple[int, ...],
    dtype: np.dtype[Value],
    dimension_names: tuple[str, ...] | None,
    layout: Layout,
    attributes: Mapping[str, Value],
) -> dict[str, Any] | None:
    """Let zarr write the metadata. Return the document of Zarr 3, or ``None`` for Zarr 2."""
    _refuse_lossy(dtype, layout.zarr_format)
    register_type(dtype.name)
    chunks, shards = check_grid(
        shape, dtype.itemsize, layout.chunks, layout.shards, by_plane=layout.by_plane
    )
    if layout.zarr_format == 2:
        if layout.shards:
            raise InvalidOptionError(
                "shards", layout.shards, "None, because Zarr 2 does not have shards"
            )
        shards = None
        # Zarr 2 has no names of dimensions. xarray looks for them in this attribute.
        if dimension_names is not None:
            attributes = {**attributes, DIMENSIONS: list(dimension_names)}
    options = codec_options(
        layout.compressor,
        zarr_format=layout.zarr_format,
        dtype=dtype,
        checksum=layout.checksum,
    )
    is_3 = layout.zarr_format == 3
    store = WritingStore(directory, seen=False)
    with unstable_types(dtype.kind not in "biufc"):
        try:
            with store.ending():
                zarr.create_array(
                    store,
                    shape=shape,
                    dtype=dtype,
                    chunks=chunks,
                    shards=shards,
                    fill_value=_fill_value(layout, dtype),
                    attributes=None if is_3 else dict(attributes),
                    dimension_names=dimension_names if is_3 else None,
                    zarr_format=layout.zarr_format,
                    # NGFF 0.4 asks for chunks in folders. The default of Zarr 2 is "0.0.0".
                    chunk_key_encoding=None if is_3 else _FOLDERS,
                    **options,
                )
        except (TypeError, ValueError, KeyError, OverflowError) as error:
            if isinstance(error, PolystoreError):
                raise
            reason = f"zarr cannot create a {dtype} array: {error}"
            raise UnsupportedDataError(reason, "zarr") from error
    document = read_document(directory)
    return document.fields if is_3 and document is not None else None


_FOLDERS: Any = {"name": "v2", "separator": "/"}


def _fill_value(layout: Layout, dtype: np.dtype[Value]) -> Value:
    """Return the fill value. Without one, unwritten parts in Zarr 2 would have random values."""
    if layout.fill_value is None and layout.zarr_format == 2 and dtype.kind in "biufc":
        return dtype.type(0)
    return layout.fill_value


_silencing = threading.RLock()
"""Guards the filters of ``warnings``, which are global, while zarr's warnings are silent."""


@contextmanager
def unstable_types(unstable: bool) -> Iterator[None]:
    """Silence the warnings of zarr about types that the specification does not have yet.

    ``catch_warnings`` is not safe with threads, so it is only used for such types.
    """
    if not unstable:
        yield
        return
    with _silencing, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*specification")
        yield
