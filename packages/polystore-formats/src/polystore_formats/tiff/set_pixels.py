"""The pixels of an OME-TIFF set: planes that are read from the files that have them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, NoReturn

from polystore_core import select
from polystore_core.errors import InvalidOptionError

from ..limits import allocating, check_packing
from .header import LENGTH, PLANAR, SAMPLES, SUB_PAGES, WIDTH
from .pixels import Flat, empty
from .set_xml import OWN, REMEDY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from polystore_core import ImageMetadata, Memory, Region, Selection

    from .set_xml import SetImage
    from .sets import SetFile, SetFiles, TiffSet

__all__ = ["SetPixels", "set_pixels"]

_BLOCK = 64 << 20
"""Bytes that are decoded at once, so that memory for them is small next to the array."""
_LEAST_PAGE = 18
"""Bytes of the smallest page: a directory with one tag."""
_TRIES = 100
"""Missing files that are looked for. A hostile document can name millions."""


def set_pixels(found: TiffSet, series: int | None, level: int) -> SetPixels:
    """Return the pixels of a series of a set. No pixel has been read yet.

    Raises:
        InvalidOptionError: The set does not have the series, or the series not the level.
        UnsupportedFileError: All files of the series are missing, or their planes are not those
            that the OME-XML describes.
    """
    try:
        return _pixels(found, found.image(series), level)
    finally:
        # Nobody closes the pixels if no region of them is read.
        found.files.close()


def _pixels(found: TiffSet, image: SetImage, level: int) -> SetPixels:
    files = found.files
    # The file that was opened first is certainly there.
    names = sorted(image.files(), key=lambda name: name != OWN)
    for name in names[:_TRIES]:
        if files.is_missing(name):
            continue
        with files.use(name) as file:
            pages = [page for page in image.pages_of(name) if page < len(file.header.pages)]
            if pages:
                return _pixels_like(found, image, (name, file, pages[0]), level)
    with files.use(names[0]) as file:  # raises for a missing file
        raise files.error(
            f"its OME-XML puts planes into page {image.pages_of(names[0])[0]} of a file that has "
            f"{len(file.header.pages)} pages: {REMEDY}"
        )


def _pixels_like(
    found: TiffSet, image: SetImage, first: tuple[str, SetFile, int], level: int
) -> SetPixels:
    """Return the pixels of an image whose planes are all like one page of a file."""
    (name, file, page), files = first, found.files
    with file.lock:
        tags, number = file.header.pages[page], file.header.number
        samples = number(tags, SAMPLES, 1)
        size = (number(tags, LENGTH), number(tags, WIDTH), samples)
        letters = "YX"
        if samples > 1:
            letters = "SYX" if number(tags, PLANAR, 1) == 2 else "YXS"
        count = _count_levels(file, page)
    if size != (image.height, image.width, image.samples):
        raise files.error(
            f"its OME-XML gives planes of {image.height} × {image.width} pixels with "
            f"{image.samples} samples, but page {page} has {size[0]} × {size[1]} with {size[2]}: "
            f"{REMEDY}"
        )
    if not isinstance(level, int) or not -count <= level < count:
        expected = f"0 to {count - 1}, because the image has {count} levels"
        if count == 1:
            expected = "0, because the image has 1 level"
        raise InvalidOptionError("level", level, expected)
    level %= count
    key = file.pixels(image, name, [page], level)
    plane = key.shape[1:]
    if len(plane) != len(letters):
        raise files.error(f"its planes have the shape {plane}, expected {letters}: {REMEDY}")
    return SetPixels(
        files=files,
        text=found.text,
        image=image,
        level=level,
        levels=count,
        letters=image.letters + letters,
        shape=image.lead + plane,
        dtype=key.dtype,
        chunks=None if key.chunks is None else (1,) * len(image.lead) + key.chunks[1:],
    )


def _count_levels(file: SetFile, page: int) -> int:
    """Return how many levels a page has: itself, and its smaller copies."""
    return 1 + len(file.header.numbers(file.header.pages[page], SUB_PAGES))


@dataclass(frozen=True, slots=True)
class SetPixels:
    """The pixels of a series of a set. Any thread may read: each file has its lock."""

    files: SetFiles
    text: str
    """The OME-XML."""
    image: SetImage
    level: int
    levels: int
    """How many levels the planes have."""
    letters: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """The dtype, in the byte order of the file with the first plane."""
    chunks: tuple[int, ...] | None

    def words(self) -> ImageMetadata:
        """Return the metadata of the series, for this level."""
        from .described import level_factors, ome_words

        image = self.image
        sizes = {"Y": image.height, "X": image.width, "S": image.samples}
        planes = tuple(sizes[axis] for axis in self.letters[len(image.lead) :])
        shape = image.lead + planes
        words = ome_words(self.text, self.letters, shape, self.dtype, image.number)
        return words if self.level == 0 else words.level(level_factors(shape, self.shape))

    def read(self, region: Region = ..., memory: Memory | None = None) -> NDArray[Any]:
        """Read a region, into the memory of the caller if possible."""
        selection = select(region, self.shape)
        return self._read(selection, self._find(selection)[0], memory)

    def load(
        self, region: Region, memory: Memory | None, max_bytes: int | None
    ) -> NDArray[Any]:
        """Read a region like :meth:`read`, and check first that all of it is there, and fits.

        Raises:
            UnsupportedFileError: A file is missing that the region needs.
            UnsupportedDataError: The pixels are larger than the memory, or may be made to fill it.
        """
        selection = select(region, self.shape)
        nbytes = math.prod(selection.shape) * self.dtype.itemsize
        with allocating(nbytes, "tiff", "read a part of it, with region= or open()"):
            parts, stored = self._find(selection)
            check_packing([(nbytes, stored)], "tiff", max_bytes)
            return self._read(selection, parts, memory)

    def close(self) -> None:
        """Close all files but the one that was opened first, which its owner closes."""
        self.files.close()

    def _find(self, selection: Selection) -> tuple[dict[str, _Part], int]:
        """Return the wanted planes of each file, and the bytes of these files together."""
        parts: dict[str, _Part] = {}
        sizes: dict[str, int] = {}
        ranges = selection.ranges[: len(self.image.lead)]
        if not all(selection.ranges):
            return {}, 0
        # A document can promise more planes than there is time to look for. Its files cannot have
        # them: a page takes some bytes, and only a run of its own can use a page again.
        most = len(self.image.runs)
        for place, index in enumerate(_plane_numbers(ranges, self.image.lead)):
            found = self.image.find(index)
            if found is None:
                raise self.files.error(
                    f"its OME-XML puts the plane {self.image.describe_plane(index)} into no file, "
                    f"so that it was never written: load a region= without it, or {REMEDY}"
                )
            name, page = found
            if name not in parts:
                parts[name], sizes[name] = _Part([], []), self.files.size(name)
                most += sizes[name] // _LEAST_PAGE
            if page > sizes[name] // _LEAST_PAGE or place >= most:
                self._refuse(index, name, page)
            parts[name].places.append(place)
            parts[name].pages.append(page)
        return parts, sum(sizes.values())

    def _read(
        self, selection: Selection, parts: dict[str, _Part], memory: Memory | None
    ) -> NDArray[Any]:
        lengths = tuple(map(len, selection.ranges))
        if any(selection.descending):  # reversing makes another array
            memory = None
        array = empty(lengths, selection.shape, self.dtype, memory)
        if not array.size:
            return selection.arrange(array)
        split = len(self.image.lead)
        planes = array.reshape(-1, *lengths[split:])
        inner = tuple(slice(r.start, r.stop, r.step) for r in selection.ranges[split:])
        for name, part in parts.items():
            with self.files.use(name) as file:
                last = len(file.header.pages)
                for place, page in zip(part.places, part.pages, strict=True):
                    if page >= last:
                        ranges = selection.ranges[:split]
                        numbers = _plane_numbers(ranges, self.image.lead)
                        self._refuse(next(islice(numbers, place, None)), name, page)
                self._fill(planes, name, file, part, inner)
        return selection.arrange(array)

    def _fill(
        self,
        planes: NDArray[Any],
        name: str,
        file: SetFile,
        part: _Part,
        inner: tuple[slice, ...],
    ) -> None:
        """Read planes of one file into their places."""
        pixels = file.pixels(self.image, name, part.pages, self.level)
        same = pixels.dtype.newbyteorder("=") == self.dtype.newbyteorder("=")
        if not same or pixels.shape[1:] != self.shape[len(self.image.lead) :]:
            raise self.files.error(
                f"planes of the file {name or 'that was opened'!r} are {pixels.dtype.name} of "
                f"shape {pixels.shape[1:]}, but the first plane is {self.dtype.name} of shape "
                f"{self.shape[len(self.image.lead) :]}: {REMEDY}"
            )
        most = max(1, _BLOCK // max(1, math.prod(pixels.shape[1:]) * pixels.dtype.itemsize))
        region = (slice(None), *inner)
        for first, last in _consecutive(part.places, most):
            target = planes[part.places[first] : part.places[last - 1] + 1]
            some = pixels.take(range(first, last))
            if isinstance(some, Flat) and some.dtype == self.dtype:
                some.read(region, lambda *_, target=target: target)
            else:  # decoders make new memory, and a file may have another byte order
                target[...] = some.read(region)

    def _refuse(self, index: int, name: str, page: int) -> NoReturn:
        where = f"the file {name!r}" if name else "this file"
        raise self.files.error(
            f"its OME-XML puts the plane {self.image.describe_plane(index)} into page {page} of "
            f"{where}, which has fewer pages, so that the plane was never written: load a region= "
            f"without it, or {REMEDY}"
        )


@dataclass(frozen=True, slots=True)
class _Part:
    """The wanted planes of one file: their places in the result, and their pages."""

    places: list[int]
    pages: list[int]


def _plane_numbers(ranges: Sequence[range], lengths: Sequence[int]) -> Iterator[int]:
    """Yield the index of each wanted plane. ``product`` would first make a list of each range."""
    if not ranges:
        yield 0
        return
    step = math.prod(lengths[1:])
    for place in ranges[0]:
        for rest in _plane_numbers(ranges[1:], lengths[1:]):
            yield place * step + rest


def _consecutive(places: Sequence[int], most: int) -> Iterator[tuple[int, int]]:
    """Yield where consecutive places begin and end in the list, at most ``most`` at once."""
    first = 0
    for at in range(1, len(places) + 1):
        if at == len(places) or places[at] != places[at - 1] + 1 or at - first == most:
            yield first, at
            first = at
