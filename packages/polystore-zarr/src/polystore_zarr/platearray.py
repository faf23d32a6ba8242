"""A whole plate as one lazy image, with the wells next to each other as on the plate."""

from __future__ import annotations

import errno
import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polystore_core import Axis, LazyArray, Selection, natural_order, select, threads_for
from polystore_core.errors import (
    DataError,
    InvalidOptionError,
    NotFoundError,
    PathOutsideRootError,
    PolystoreError,
    StorageError,
    UnsupportedFileError,
    with_context,
)

from .grid import Cut
from .levels import open_pixels
from .plategrid import PlateGrid, find_unlisted, map_in_threads, missing_members
from .store.nodes import Node, read_document
from .store.reading import read_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Document, ImageMetadata, Pixels, Region

    from .arrays import ZarrArray
    from .pipelines import CodecPipeline
    from .store.base import StorePath
    from .store.layout import Address
    from .views import Samples

__all__ = ["PlateArray", "describe_plate", "open_plate"]

_IN_THREADS = 1 << 17
"""For regions of at least this many bytes, fields are read in threads."""

_MOST_KEPT = 1 << 10
"""Handles on fields that are kept open, 12 KiB each. Opening takes longer than reading."""


class _Origin(NamedTuple):
    """The place of a plate, and the options with which its fields are opened."""

    store: StorePath
    plate: StorePath
    path: str
    backend: str
    pipeline: CodecPipeline

    @classmethod
    def of(
        cls, node: Node, place: Address, backend: str, pipeline: CodecPipeline = "zarr"
    ) -> _Origin:
        """Return the origin of the plate ``node``."""
        assert place.store is not None
        return cls(place.store.base, node.directory.base, place.path, backend, pipeline)

    def field(self, path: str, level: int) -> ZarrArray | Samples | None:
        """Open a level of a field. Return ``None`` if the field does not exist.

        Raises:
            DataError: The field cannot be read.
            InvalidOptionError: The field does not have the level.
            OSError: The store cannot be read.
        """
        directory = self.plate / path
        document = read_document(directory)
        if document is None:
            return None
        return open_pixels(
            Node(directory, document),
            level,
            path=self.path_of(path),
            backend=self.backend,
            pipeline=self.pipeline,
        )

    def path_of(self, field: str) -> str:
        """Return the path of a field in the form of the caller."""
        return f"{self.path.rstrip('/')}/{field}"


class _Tile(NamedTuple):
    """The part of a region that one field has."""

    path: str
    inside: tuple[range, ...]
    outside: tuple[int | slice, ...]


class PlateArray(LazyArray):
    """A read-only handle on the picture of a plate. It reads only the fields that it needs.

    The wells are in the rows and columns of the document of the plate, from the first to the last
    row and column with a well. If a well has more than one field, the first axis is "field", in
    the natural order of the names. The other axes are those of a field. Missing wells and fields
    are 0.

    Shape, element type, axes, channels and levels are those of the first field. A field with
    others raises ``UnsupportedFileError`` when it is read. If wells or fields are saved later, open
    the plate again to see them.

    Locks: none. Threads only add and read whole items of ``_fields``.
    """

    def __init__(
        self, origin: _Origin, grid: PlateGrid, first: str, tile: ZarrArray | Samples
    ) -> None:
        self._origin, self._grid, self._first, self._tile = origin, grid, first, tile
        # Handles on fields that were read.
        self._fields: dict[str, ZarrArray | Samples] = {}
        self._lead = 1 if len(grid.fields) > 1 else 0
        self._y, self._x = _plane_axes(tile)
        shape, chunks = list(tile.shape), list(tile.chunks or tile.shape)
        for axis, count in ((self._y, len(grid.rows)), (self._x, len(grid.columns))):
            # Chunks must be on one grid over all wells, so a field has whole chunks or one.
            if shape[axis] % max(chunks[axis], 1):
                chunks[axis] = shape[axis]
            shape[axis] *= count
        self.shape = (*[len(grid.fields)] * self._lead, *shape)
        self.chunks = (*[1] * self._lead, *chunks)
        self.dtype = tile.dtype

    @property
    def level(self) -> int:
        """The number of the level in the pyramids of the fields."""
        return self._tile.level

    @property
    def levels(self) -> tuple[PlateArray, ...]:
        """The level and the coarser ones, as many as the first field has."""
        coarser = self._tile.levels[1:]
        return (self, *(PlateArray(self._origin, self._grid, self._first, t) for t in coarser))

    @property
    def image(self) -> ImageMetadata | None:
        """The metadata of the first field, without its position."""
        found = self._tile.image
        if found is None:
            return None
        axes = [
            replace(axis, origin=None, coords=None) if number in (self._y, self._x) else axis
            for number, axis in enumerate(found.axes)
        ]
        # Each field has its own position and time, which do not hold for the plate.
        return replace(
            found,
            axes=(*[Axis("field")] * self._lead, *axes),
            name=self._grid.name or self._origin.plate.name,
            position=None,
            acquired=None,
            source={},
        )

    def __repr__(self) -> str:
        grid = self._grid
        wells = f"{len(grid.wells)} wells on a grid of {len(grid.rows)} x {len(grid.columns)}"
        fields = f"{sum(map(len, grid.wells.values()))} fields"
        return (
            f"<{type(self).__name__} {self._origin.path!r}, {wells}, {fields}, "
            f"shape={self.shape}, dtype={self.dtype.str!r}>"
        )

    def __getstate__(self) -> dict[str, Any]:
        # A thousand handles would make each task of Dask 12 MiB larger.
        return {**vars(self), "_fields": {}}

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def __getitem__(self, region: Region) -> Pixels:
        selection = select(region, self.shape)
        found = self._zeros(tuple(map(len, selection.ranges)))
        tiles = list(self._find_tiles(selection.ranges)) if found.size else []

        def read(tile: _Tile) -> bool:
            pixels = self._pixels(tile)
            if pixels is not None:
                found[tile.outside] = pixels
            return pixels is not None

        threads = threads_for(found.nbytes, _IN_THREADS)
        # A missing field is black, but a plate that was deleted must not be one black picture.
        if not all(map_in_threads(read, tiles, threads)):
            self._refuse_if_gone()
        return selection.arrange(found)

    def _zeros(self, shape: tuple[int, ...]) -> Pixels:
        try:
            return np.zeros(shape, self.dtype)
        except (MemoryError, ValueError) as error:  # NumPy has no axis of 2**63
            gib = math.prod(shape) * self.dtype.itemsize / 2**30
            reason = (
                f"{gib:.3g} GiB ({self.dtype} {shape}) do not fit into memory: read a region, or "
                "one of the coarser levels"
            )
            origin = self._origin
            raise StorageError(
                origin.backend, origin.path, "read", errno.ENOMEM, reason
            ) from error

    def _find_tiles(self, ranges: tuple[range, ...]) -> Iterator[_Tile]:
        """Yield the parts of a region that are in fields of the plate's documents."""
        own, y, x = ranges[self._lead :], self._y, self._x
        rows, columns = Cut(own[y], self._tile.shape[y]), Cut(own[x], self._tile.shape[x])
        names = self._grid.fields
        chosen = [(n, names[f]) for n, f in enumerate(ranges[0] if self._lead else range(1))]
        for place, fields in self._grid.wells.items():
            row, column = rows.at(place[0]), columns.at(place[1])
            if row is None or column is None:
                continue
            inside: list[range] = list(own)
            outside: list[slice] = [slice(None)] * len(own)
            for axis, part in ((y, row), (x, column)):
                inside[axis] = range(part.inside.start, part.inside.stop, part.inside.step)
                outside[axis] = part.outside
            for number, name in chosen:
                if name in fields:
                    path = f"{self._grid.well(place)}/{name}"
                    yield _Tile(path, tuple(inside), (*[number] * self._lead, *outside))

    def _pixels(self, tile: _Tile) -> Pixels | None:
        """Return the pixels of a tile, or ``None`` if its field does not exist."""
        origin = self._origin
        directory = origin.plate / tile.path
        known = self._fields.get(tile.path)
        with suppress(PolystoreError):  # deleted, saved again or damaged: open it again
            if known is not None:
                return known[tuple(slice(r.start, r.stop, r.step) for r in tile.inside)]

        def read() -> tuple[Pixels, ZarrArray | Samples] | None:
            field = self._open_field(tile.path)
            if field is None:
                return None
            shape = tuple(map(len, tile.inside))
            return field.read(Selection(tile.inside, (False,) * len(shape), shape)), field

        try:
            read_now = read_whole(directory, origin.store, read)
        except (DataError, OSError, PathOutsideRootError) as error:
            if isinstance(error, FileNotFoundError) and read_document(directory) is None:
                return None
            path = origin.path_of(tile.path)
            raise with_context(error, origin.backend, path, "read")  # noqa: B904
        if read_now is None:
            return None
        if len(self._fields) >= _MOST_KEPT:
            # One step, during which threads need no lock.
            self._fields.clear()
        pixels, self._fields[tile.path] = read_now
        return pixels

    def _open_field(self, path: str) -> ZarrArray | Samples | None:
        """Open a field. Raises ``UnsupportedFileError`` if it is not like the first field."""
        first = self._tile
        try:
            field = self._origin.field(path, self.level)
        except InvalidOptionError:
            found = f"has no level {self.level}"
        else:
            if field is None or _kind(field) == _kind(first):
                return field
            found = "has shape {}, type {} and axes {}".format(*_kind(field))
        expected = "shape {}, type {} and axes {}".format(*_kind(first))
        raise UnsupportedFileError(
            f"a plate is one image only if its fields are alike: this one {found}, but level "
            f"{self.level} of {self._first!r} has {expected}. Open the fields by their own paths",
            "ome-zarr",
        )

    def _refuse_if_gone(self) -> None:
        """Raise ``NotFoundError`` if the whole plate is missing, and not only some fields."""
        origin = self._origin
        if read_document(origin.plate) is None:
            hint = "it was moved or deleted since it was opened"
            raise NotFoundError(origin.backend, origin.path, "read", hint=hint)


def _plane_axes(field: ZarrArray | Samples) -> tuple[int, int]:
    """Return the numbers of the axes y and x. Without known names, these are the last two."""
    names = field.axis_names
    if "y" in names and "x" in names:
        return names.index("y"), names.index("x")
    if field.ndim < 2:
        reason = f"its fields have {field.ndim} axes, but a plate needs fields with two or more"
        raise UnsupportedFileError(reason, "ome-zarr")
    return field.ndim - 2, field.ndim - 1


def _kind(field: ZarrArray | Samples) -> tuple[tuple[int, ...], np.dtype[Any], str]:
    return field.shape, field.dtype, ", ".join(field.axis_names)


def open_plate(
    node: Node, level: int, place: Address, *, backend: str, pipeline: CodecPipeline
) -> PlateArray:
    """Open the picture of a plate at a ``level`` of its fields.

    This reads the documents of all wells, and the first field.

    Raises:
        DataError: A document of the plate or of a well is not valid.
        InvalidOptionError: The first field does not have the level.
        OSError: The store cannot be read.
    """
    grid = PlateGrid.of(node)
    origin = _Origin.of(node, place, backend, pipeline)
    # A well that cannot be read would be black, like one without cells.
    for well, failure in grid.failures.items():
        raise with_context(failure, backend, origin.path_of(well), "open")
    return _picture(origin, grid, level)


def _picture(origin: _Origin, grid: PlateGrid, level: int) -> PlateArray:
    for first in grid.paths():
        try:
            tile = origin.field(first, level)
        except (DataError, OSError, PathOutsideRootError) as error:
            path = origin.path_of(first)
            raise with_context(error, origin.backend, path, "open")  # noqa: B904
        if tile is not None:
            return PlateArray(origin, grid, first, tile)
    listed = [*grid.missing, *grid.paths()]
    reason = "the plate has no field, so there is nothing to show"
    if listed:
        reason = (
            f"no field of the plate can be shown: {listed[0]!r} is listed, but it is not there, "
            "or the plate does not list its row or column"
        )
    raise UnsupportedFileError(reason, "ome-zarr")


def describe_plate(node: Node, place: Address, backend: str) -> Document:
    """Return the fields of ``Info`` that a plate has.

    If its picture cannot be opened, there is only the metadata. If the document of the plate
    cannot be read, there is nothing, and the fields can still be listed.
    """
    try:
        grid = PlateGrid.of(node)
    except DataError:
        return {}
    plate: Document = {
        "rows": list(grid.rows),
        "columns": list(grid.columns),
        "wells": [grid.well(place) for place in grid.wells],
        "fields": list(grid.fields),
        "empty": grid.empty_fields(),
        "missing": missing_members(node.directory, grid),
        "unlisted": find_unlisted(node.directory, grid),
        "damaged": natural_order(grid.failures),
    }
    metadata: Document = {"plate": plate}
    try:
        levels = _picture(_Origin.of(node, place, backend), grid, 0).levels
    except (PolystoreError, OSError):
        return {"metadata": metadata}
    metadata["levels"] = [level.shape for level in levels]
    found = levels[0]
    return {
        "format": "ome-zarr",
        "shape": found.shape,
        "dtype": found.dtype.str,
        "image": found.image,
        "metadata": metadata,
    }
