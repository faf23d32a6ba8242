"""Which file of an OME-TIFF set holds which plane, read from OME-XML. No file is opened here.

For example, ``<TiffData FirstZ="4" IFD="2" PlaneCount="3"><UUID FileName="b.ome.tif">`` says that
the planes z = 4, 5 and 6 are the pages 2, 3 and 4 of b.ome.tif.
"""

from __future__ import annotations

import functools
import math
import re
from bisect import bisect_right
from typing import TYPE_CHECKING, NamedTuple
from xml.etree import ElementTree

from .header import damage_error, is_ome, support_error
from .words import CACHED, CACHED_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["OWN", "REMEDY", "Metadata", "Run", "SetImage", "may_be_set", "read_metadata"]

OWN = ""
"""The name of the file that was opened, in a :class:`Run`."""
REMEDY = "pass multifile=False to load the planes of this file alone"
_FILE = re.compile(rb"\bfilename\s*=\s*[\"']([^\"']+)[\"']")
_BLOCK = re.compile(rb"<(?:\w+:)?TiffData\b")
_ORDER = re.compile("XY[CTZ]{3}")
_INTEGER = re.compile(r"\s*[0-9]{1,10}\s*")
_PLANES_LIMIT = 1 << 40
"""More planes than any disk holds. A larger number would not fit into the indices of NumPy."""


class Run(NamedTuple):
    """Planes with consecutive indices, in consecutive pages of one file."""

    start: int
    """The index of the first plane."""
    planes: int
    """How many."""
    file: str
    page: int
    """The page of the first plane."""


class SetImage(NamedTuple):
    """An image of the document that has planes in files."""

    number: int
    """Its number among all images of the document."""
    letters: str
    """The axes of its planes: some of T, C and Z. Axes of length 1 are left out, as in tifffile."""
    lead: tuple[int, ...]
    """The lengths of these axes."""
    height: int
    width: int
    samples: int
    runs: tuple[Run, ...]
    """In the order of the planes. Two runs do not overlap."""

    def files(self) -> list[str]:
        """Return the names of its files, in the order of the planes."""
        return list(dict.fromkeys(run.file for run in self.runs))

    def pages_of(self, file: str) -> list[int]:
        """Return the first page of each of its runs in ``file``."""
        return [run.page for run in self.runs if run.file == file]

    def pages_in(self, file: str, count: int) -> set[int]:
        """Return all of its pages in ``file``, which has ``count`` pages."""
        pages: set[int] = set()
        for run in self.runs:
            if run.file == file:
                pages.update(range(run.page, min(run.page + run.planes, count)))
        return pages

    def find(self, index: int) -> tuple[str, int] | None:
        """Return the file and the page of a plane, or ``None`` if the document has neither."""
        # (index + 1,) sorts before each run that starts there, and behind those before it.
        at = bisect_right(self.runs, (index + 1,)) - 1
        if at < 0:
            return None
        run = self.runs[at]
        after = index - run.start
        return (run.file, run.page + after) if after < run.planes else None

    def describe_plane(self, index: int) -> str:
        """Return the coordinates of a plane, such as "t=0, z=4"."""
        parts = []
        for letter, length in zip(self.letters[::-1], self.lead[::-1], strict=True):
            index, place = divmod(index, length)
            parts.append(f"{letter.lower()}={place}")
        return ", ".join(parts[::-1]) or "0"


class Metadata(NamedTuple):
    """A document of OME-XML."""

    images: tuple[SetImage, ...]
    """The images that have planes in files, as tifffile counts series."""
    other: str | None
    """The name of the file that has the metadata, if this document has none (``BinaryOnly``)."""
    uuid: str
    files: frozenset[str]
    """All names of files, and ``OWN`` if this file has planes without a name."""


def may_be_set(description: bytes) -> bool:
    """Return whether a description may name other files. Cheap, for each OME-TIFF that is read."""
    if not is_ome(description):
        return False
    if b"BinaryOnly" in description:
        return True
    # Most files name no file, and searching bytes is much faster than the regular expression.
    if b"FileName" not in description:
        return False
    found = _FILE.findall(description.lower())
    # A file need not name itself where it has the planes.
    return len(set(found)) > 1 or 0 < len(found) < len(_BLOCK.findall(description))


def read_metadata(text: str, own: str, own_uuid: str = "") -> Metadata:
    """Return the files and planes that a document names.

    Args:
        text: OME-XML.
        own: the name of the file that was opened. Its planes have the file ``OWN``.
        own_uuid: its UUID, if another file has this document.

    Raises:
        DamagedDataError: The text is not XML, or has numbers that are not possible.
    """
    read = _read if len(text) <= CACHED_BYTES else _read.__wrapped__
    return read(text, own, own_uuid)


@functools.lru_cache(maxsize=CACHED)
def _read(text: str, own: str, own_uuid: str) -> Metadata:
    reader = _Reader()
    # A target builds no tree, so that a long document needs little memory.
    parser = ElementTree.XMLParser(target=reader)
    try:
        parser.feed(text)
        parser.close()
    except ElementTree.ParseError as error:
        raise damage_error(f"its OME-XML is incomplete, or not XML: {error}") from error
    own_name = _find_own(reader.names, own, own_uuid or reader.uuid)
    images = [pixels.image(own_name) for pixels in reader.images if pixels and pixels.runs]
    names = {*reader.names}
    if own_name is None and any(image.pages_of(OWN) for image in images):
        names.add(OWN)
    return Metadata(tuple(images), reader.other, reader.uuid, frozenset(names))


def _find_own(names: Mapping[str, str], own: str, uuid: str) -> str | None:
    """Return the name that the document has for the file ``own``, or ``None`` if it has none.

    The names of files are unique, and some programs write one UUID for all files. So the name
    decides, and the UUID only finds a file that was renamed.
    """
    if own in names:
        return own
    found = [name for name in names if name.lower() == own.lower()]
    found = found or [name for name, other in names.items() if uuid and other == uuid]
    return found[0] if len(found) == 1 else None


class _Pixels:
    """An element ``Pixels``, and the pages of its planes."""

    def __init__(self, number: int, attributes: Mapping[str, str]) -> None:
        self.number, self._attributes = number, attributes
        self.samples = 0
        """Samples in each channel, or 0 before the first element ``Channel``."""
        self.runs: dict[int, tuple[int, str | None, int]] = {}
        """For the index of each first plane: the number of planes, or 0, the file and the page."""
        self._full: tuple[str, tuple[int, ...]] | None = None

    def full(self) -> tuple[str, tuple[int, ...]]:
        """Return the axes of planes and their lengths, with axes of length 1."""
        if self._full is None:
            order = self._attributes.get("DimensionOrder", "")
            if not _ORDER.fullmatch(order) or len(set(order)) != len(order):
                raise damage_error(f"its OME-XML has the dimension order {order!r}")
            letters = order[:1:-1]
            sizes = {axis: _integer(self._attributes, f"Size{axis}", 0) for axis in letters}
            # OME counts the samples of RGB as channels. Here they are an axis of each plane.
            sizes["C"] //= max(1, self.samples)
            if not 0 < math.prod(sizes.values()) < _PLANES_LIMIT:
                raise damage_error(f"its OME-XML has the sizes {sizes}")
            self._full = letters, tuple(sizes[axis] for axis in letters)
        return self._full

    def add_channel(self, samples: int) -> None:
        """Take in an element ``Channel``."""
        if self.samples and samples != self.samples:
            raise support_error(
                f"its channels have {self.samples} and {samples} samples, and an array has as "
                f"many for each: {REMEDY}"
            )
        self.samples = samples

    def add(self, attributes: Mapping[str, str], file: str | None) -> None:
        """Take in an element ``TiffData``."""
        letters, lengths = self.full()
        start = 0
        for axis, length in zip(letters, lengths, strict=True):
            place = _integer(attributes, f"First{axis}", 0)
            # ImageJ writes such indices for images that were cropped. They are not in the image.
            if place >= length:
                return
            start = start * length + place
        # Without a number of planes, OME means one page if IFD is given, and else all pages.
        count = 1 if "IFD" in attributes else 0
        for key in ("NumPlanes", "PlaneCount"):
            count = _integer(attributes, key, count)
        self.runs[start] = (count, file, _integer(attributes, "IFD", 0))

    def image(self, own: str | None) -> SetImage:
        """Return the image. The file ``own`` is the one that was opened."""
        letters, lengths = self.full()
        end = math.prod(lengths)
        runs: list[Run] = []
        for start in sorted(self.runs, reverse=True):
            count, file, page = self.runs[start]
            count = min(count or end - start, end - start)
            run = Run(start, count, OWN if file in (own, None) else file, page)
            end = start
            # Most programs write an element for each plane.
            follows = (start + count, run.file, page + count)
            if runs and (runs[-1].start, runs[-1].file, runs[-1].page) == follows:
                run = run._replace(planes=count + runs.pop().planes)
            runs.append(run)
        kept = [at for at, length in enumerate(lengths) if length > 1]
        return SetImage(
            self.number,
            "".join(letters[at] for at in kept),
            tuple(lengths[at] for at in kept),
            _integer(self._attributes, "SizeY", 0),
            _integer(self._attributes, "SizeX", 0),
            max(1, self.samples),
            tuple(reversed(runs)),
        )


class _Reader:
    """The target of the XML parser. The parser calls ``start``, ``data`` and ``end``."""

    def __init__(self) -> None:
        self.images: list[_Pixels | None] = []
        self.names: dict[str, str] = {}
        """The UUID of each file."""
        self.uuid = ""
        self.other: str | None = None
        self._pixels: _Pixels | None = None
        """The element Pixels that is being read. Annotations may have elements of any name."""
        self._block: dict[str, str] | None = None
        """The attributes of the element TiffData that is being read."""
        self._file: str | None = None
        self._text: list[str] | None = None
        """The text of its element UUID."""

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        """Take in the start of an element."""
        name = tag.rpartition("}")[2]
        if name == "OME":
            self.uuid = self.uuid or attributes.get("UUID", "").strip()
        elif name == "BinaryOnly":
            self.other = attributes.get("MetadataFile", "")
        elif name == "Image":
            self.images.append(None)
        elif name == "Pixels" and self.images and self.images[-1] is None:
            self._pixels = self.images[-1] = _Pixels(len(self.images) - 1, attributes)
        elif self._pixels is not None:
            if name == "Channel":
                self._pixels.add_channel(_integer(attributes, "SamplesPerPixel", 1))
            elif name == "TiffData":
                self._block, self._file = attributes, None
            elif name == "UUID" and self._block is not None and self._file is None:
                self._file, self._text = attributes.get("FileName"), []

    def data(self, text: str) -> None:
        """Take in text."""
        if self._text is not None:
            self._text.append(text)

    def end(self, tag: str) -> None:
        """Take in the end of an element."""
        name = tag.rpartition("}")[2]
        if name == "UUID" and self._text is not None:
            uuid, self._text = "".join(self._text).strip(), None
            # Without a name, the file can only be found if it is the one that was opened.
            self._file = self._file or uuid
            self.names.setdefault(self._file, uuid)
        elif name == "TiffData" and self._block is not None and self._pixels is not None:
            self._pixels.add(self._block, self._file)
            self._block = None
        elif name == "Pixels":
            self._pixels = None

    def close(self) -> None:
        """End the document."""


def _integer(attributes: Mapping[str, str], key: str, default: int) -> int:
    text = attributes.get(key)
    if text is None:
        return default
    if not _INTEGER.fullmatch(text):
        raise damage_error(f"its OME-XML has {key}={text[:40]!r}, expected a number")
    return int(text)
