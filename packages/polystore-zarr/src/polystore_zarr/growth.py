"""The chunks and the document of an array that grows: written, committed, flushed, repaired.

``growing`` has the order of these steps, and the handle of the writer.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from polystore_core import Selection
from polystore_core.errors import DamagedDataError

from .arrays import ZarrArray
from .creating import create_array
from .store.base import FLUSHED, MARKER
from .store.documents import encode_document
from .store.local import LocalFiles

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from polystore_core import Option, Pixels, Value

    from .creating import Layout
    from .pipelines import CodecPipeline
    from .store.base import StorePath
    from .store.nodes import Document

__all__ = ["Growth", "create_growing"]

_NEXT = f"{FLUSHED}next-"
"""The start of the name of a document that is being written. Its array has one writer."""
_TOGETHER = 64 << 20
"""Bytes of frames that are checked at a time after the writer was killed."""


def create_growing(
    directory: StorePath,
    frame: tuple[int, ...],
    dtype: np.dtype[Value],
    layout: Layout,
    *,
    attributes: Mapping[str, Option] | None = None,
    dimension_names: Sequence[str] | None = None,
    more: Mapping[str, Value] | None = None,
) -> None:
    """Write the documents of a new array without frames.

    Args:
        directory: the place of the array.
        frame: the shape of a frame.
        dtype: the element type.
        layout: the options for its storage.
        attributes: attributes of the caller.
        dimension_names: names of the axes.
        more: entries for our own attribute.

    Raises:
        UnsupportedDataError: Zarr cannot store the element type.
        InvalidOptionError: An option does not fit the array.
    """
    # Created with the frames of one shard, because chunks longer than the shape are cut to it.
    longest = max(_along_first(layout.chunks), _along_first(layout.shards))
    document = create_array(
        directory,
        (longest, *frame),
        dtype,
        layout,
        attributes=attributes,
        dimension_names=dimension_names,
        complete=True,
        more={**(more or {}), "grows": uuid4().hex, "flushed": 0},
    )
    growth = Growth(directory, document)
    for name in (growth.name, f"{FLUSHED}{growth.name}"):
        growth.write_document(name, growth.text(0))


def _along_first(lengths: object) -> int:
    """Return the length along the first axis in ``chunks`` or ``shards``, by default 1."""
    first = lengths[0] if isinstance(lengths, list | tuple) and lengths else lengths
    return max(1, first) if isinstance(first, int) else 1


class Growth:
    """One array that grows: its chunks and its document. An image has one for each level.

    Locks: none. The writer holds the lock of the array, and calls from one thread at a time.
    """

    def __init__(
        self,
        directory: StorePath,
        document: Document,
        *,
        path: str = "",
        backend: str = "",
        pipeline: CodecPipeline = "zarr",
    ) -> None:
        self.directory, self.document = directory.base, document
        # ``check_growing`` has checked this.
        assert isinstance(directory.base.files, LocalFiles)
        self.files = directory.base.files
        self._options: dict[str, Any] = {"path": path, "backend": backend, "pipeline": pipeline}
        self.name = "zarr.json" if document.zarr_format == 3 else ".zarray"
        self.length: int = document.fields["shape"][0]
        self.frame: tuple[int, ...] = tuple(document.fields["shape"][1:])
        self.flushed = 0
        flushed = document.marks.get("flushed")
        if isinstance(flushed, int) and 0 <= flushed <= self.length:
            copy = self.directory / f"{FLUSHED}{self.name}"
            if self.files.kind(copy.key):  # a copied array has no such file: it was not flushed
                self.flushed = flushed

    def array(self, length: int, *, seen: bool = True) -> ZarrArray:
        """Return a handle on the first ``length`` frames. ``seen``: readers may see its chunks."""
        document = self.document.with_length(length)
        return ZarrArray(
            self.directory, document, writable=True, seen=seen, durable=None, **self._options
        )

    @cached_property
    def _new(self) -> ZarrArray:
        """A handle for chunks that no reader can see yet."""
        return self.array(self.length, seen=False)

    @property
    def unit(self) -> int:
        """The number of frames that are written at once."""
        return self._new.unit[0]

    def write(self, values: Pixels) -> None:
        """Write the chunks of frames that follow. Readers do not see them before ``commit``."""
        start, end = self.length, self.length + len(values)
        target, begun = self._new, start % self.unit
        # The last chunk has room: replace it in one step by a chunk with these frames too. A
        # reader that sees the new chunk with the old document still finds its own frames in it.
        if begun:
            before = self.array(start).read(self._frames(start - begun, start))
            values, start = np.concatenate([before, values]), start - begun
        # zarr writes nothing beyond the shape, so its handle needs the new length.
        if begun or target.files is None:
            target = self.array(end, seen=begun > 0)
        target.write(self._frames(start, end), values)

    def _frames(self, start: int, end: int) -> Selection:
        ranges = (range(start, end), *map(range, self.frame))
        return Selection(ranges, (False,) * len(ranges), (end - start, *self.frame))

    def commit(self, length: int) -> None:
        """Show ``length`` frames to readers, by replacing the document."""
        self.write_document(self.name, self.text(length))
        self.length = length

    def text(self, length: int) -> bytes:
        """Return the document of ``length`` frames."""
        fields = self.document.with_length(length).fields
        if self.document.zarr_format == 3:
            fields["attributes"] = self._attributes()
        return encode_document(fields)

    def _attributes(self) -> dict[str, Any]:
        marks = {**self.document.marks, "flushed": self.flushed}
        return {**self.document.attributes, MARKER: marks}

    def write_document(self, name: str, text: bytes, *, flush: bool = False) -> None:
        """Replace a document in one step. ``flush`` flushes its bytes before."""
        files, new = self.files, self.directory / f"{_NEXT}{name}"
        files.write(new.key, [text])
        if flush:
            files.flush_file(new.key)
        files.rename_file(new.key, (self.directory / name).key)

    def flush(self) -> None:
        """Flush the new chunks, then a copy of the document, and then the document.

        A power cut can hit between any two steps. The number of flushed frames must never be in a
        document before the chunks are on the device. The copy comes before the document, so that
        one of both is always whole.
        """
        if self.flushed == self.length:
            return
        files, chunks = self.files, self.directory
        if self.document.zarr_format == 3:
            chunks = chunks / "c"
        numbers = range(self.flushed // self.unit, -(-self.length // self.unit))
        if 0 in self.frame:  # a frame without elements has no chunks
            numbers, chunks = range(0), self.directory
        for number in numbers:
            # A frame without axes has its chunk as a file and not as a folder of files.
            place = (chunks / f"{number}").key
            (files.flush_tree if self.frame else files.flush_file)(place)
        files.flush_folder(chunks.key)
        files.flush_folder(self.directory.key)
        self.flushed = self.length
        self.write_document(f"{FLUSHED}{self.name}", self.text(self.length), flush=True)
        # The copy has its name before the document changes.
        files.flush_folder(self.directory.key)
        self.write_document(self.name, self.text(self.length), flush=True)
        if self.document.zarr_format == 2:
            self.write_document(".zattrs", encode_document(self._attributes()), flush=True)
        files.flush_folder(self.directory.key)

    def sound_length(self) -> int:
        """Return the number of whole frames after a power cut. Read those after ``flushed``."""
        array, start = self.array(self.length), self.flushed
        many = max(1, _TOGETHER // max(1, array.nbytes // max(1, self.length) * self.unit))
        # Many frames at a time, which uses threads, up to the first damaged group. Then one unit
        # at a time in this group.
        for steps in (many * self.unit, self.unit):
            while start < self.length:
                end = min(start - start % self.unit + steps, self.length)
                try:
                    array.read(self._frames(start, end))
                except DamagedDataError:
                    break
                start = end
        return start

    def repair(self, length: int) -> None:
        """Write a document of ``length`` frames, unless it is already there."""
        key = (self.directory / self.name).key
        text = self.text(length)
        stored = self.files.read(key, 2 * len(text))
        if stored is None or stored.content != text:
            self.write_document(self.name, text)
        self.length = length
