"""The files of an OME-TIFF set: one series whose planes are in several files of one folder.

The OME-XML of each file says which planes are in which files. The files are opened through the
``Opener`` of the first, so that no name in a document leads out of the folder.
"""

from __future__ import annotations

import os
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, NoReturn

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    NotFoundError,
    PolystoreError,
    UnsupportedFileError,
    with_context,
)

from ..limits import file_size
from .header import Header, is_ome, read_header, read_start, support_error
from .plain import plain_pages
from .set_xml import OWN, REMEDY, Metadata, SetImage, may_be_set, read_metadata

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Opener

    from .pixels import Flat, Grid

__all__ = ["SetFile", "SetFiles", "TiffSet", "find_missing_metadata", "find_set"]

_KEPT_OPEN = 8
"""Files that stay open in addition to the first. A process may open only about a thousand."""
_TEXT_LIMIT = 256 << 20
_TRIES = 100
"""Missing files that are looked for. A hostile document can name millions."""


@dataclass(slots=True)
class SetFile:
    """One open file. ``lock`` guards the position of the file, and the header."""

    header: Header
    opener: Opener
    lock: threading.Lock = field(default_factory=threading.Lock)
    _known: dict[int, _Known] = field(default_factory=dict)
    """The pages of each level that were read last."""

    def pixels(self, image: SetImage, name: str, numbers: list[int], level: int) -> Flat | Grid:
        """Return the pixels of some pages. The first axis of their shape is that of pages.

        Args:
            image: the image that has the pages.
            name: the name that the image has for this file.
            numbers: the pages.
            level: the level of the pages.
        """
        with self.lock:
            known = self._known.get(level)
            if known is None:
                known = self._known[level] = self._find(numbers, level)
            elif not known.places.keys() >= set(numbers):
                # A handle is usually read plane by plane. Finding one page takes tifffile almost as
                # long as finding all, so the second time all are found.
                pages = {*numbers, *image.pages_in(name, len(self.header.pages))}
                known = self._known[level] = self._find(sorted(pages), level)
        return known.pixels.take([known.places[number] for number in numbers])

    def _find(self, numbers: list[int], level: int) -> _Known:
        found: Flat | Grid | None = None
        if level == 0:
            found = plain_pages(self.header, numbers)
        if found is None:
            # Not at the top, because it imports tifffile, which plain pages do not need.
            from .layout import page_pixels

            found = page_pixels(self.header, numbers, level)
        places = {number: place for place, number in enumerate(numbers)}
        return _Known(places, replace(found, lock=self.lock))


class _Known(NamedTuple):
    """Pages, and the place of each along the first axis of their pixels."""

    places: dict[int, int]
    pixels: Flat | Grid


class SetFiles:
    """The files of a set, by name. ``lock`` guards ``_kept``."""

    def __init__(self, own: Header, opener: Opener) -> None:
        self._opener = opener
        self._kept = {OWN: SetFile(own, opener)}
        self.own = self._kept[OWN]
        self._lock = threading.Lock()

    @contextmanager
    def use(self, name: str) -> Iterator[SetFile]:
        """Open a file of the set for the ``with`` block. Up to ``_KEPT_OPEN`` stay open after it.

        Errors of the block about its data get the path of the file.

        Raises:
            UnsupportedFileError: The file is missing, or its name leads out of the folder.
        """
        with self._lock:
            found = self._kept.get(name)
            is_kept = found is not None or len(self._kept) <= _KEPT_OPEN
            if found is None and is_kept:
                found = self._kept[name] = self._open(name)
        if found is None:
            found = self._open(name)
        try:
            yield found
        except DataError as error:
            # A backend would name the file that was opened first.
            with_context(error, found.opener.backend, found.opener.path, "load")
            raise
        finally:
            if not is_kept:
                found.header.file.close()

    def size(self, name: str) -> int:
        """Return the number of bytes of a file. Raises as :meth:`use` does."""
        with self._lock:
            found = self._kept.get(name)
        if found is not None:
            return found.header.size
        if len(self._kept) <= _KEPT_OPEN:
            with self.use(name) as kept:
                return kept.header.size
        with self.open_file(name)[0] as file:
            return file_size(file)

    def error(self, reason: str) -> UnsupportedFileError:
        """Return the error for a set that polystore does not read, with the path of the file."""
        # Handles raise it too, and no backend completes their errors.
        return UnsupportedFileError(reason, "tiff", self._opener.path, self._opener.backend)

    def is_missing(self, name: str) -> bool:
        """Return whether a file is not there, or cannot be opened."""
        if name == OWN:
            return False
        try:
            self.open_file(name)[0].close()
        except PolystoreError:
            return True
        return False

    def open_file(self, name: str) -> tuple[BinaryIO, Opener]:
        """Open another file of the set. Raises as :meth:`use` does."""
        try:
            opener = self._opener.sibling(name)
        except UnsupportedFileError as error:
            error.reason = f"{error.reason}. To read it, {REMEDY}"
            raise
        try:
            return opener(), opener
        except NotFoundError as error:
            raise self.error(
                f"the file {name!r} of its OME-TIFF set is missing: copy it into the folder of "
                f"this file, or {REMEDY}"
            ) from error

    def _open(self, name: str) -> SetFile:
        file, opener = self.open_file(name)
        try:
            return SetFile(read_header(file, *read_start(file)), opener)
        except BaseException as error:
            file.close()
            if isinstance(error, DataError):  # it names the file that is damaged, not the first
                with_context(error, opener.backend, opener.path, "load")
            raise

    def close(self) -> None:
        """Close all files but the one that was opened first, which its owner closes."""
        with self._lock:
            others = [self._kept.pop(name) for name in list(self._kept) if name != OWN]
        for other in others:
            other.header.file.close()


@dataclass(frozen=True, slots=True)
class TiffSet:
    """The document of a set, and its files."""

    files: SetFiles
    text: str
    images: tuple[SetImage, ...]

    def image(self, series: int | None) -> SetImage:
        """Return an image of the set, or the first one with planes in the file that was opened."""
        if series is None:
            own = (image for image in self.images if image.pages_of(OWN))
            return next(own, self.images[0])
        if not hasattr(series, "__index__") or series not in range(len(self.images)):
            count = len(self.images)
            expected = f"0 to {count - 1}, because the set has {count} series"
            raise InvalidOptionError("series", series, expected)
        return self.images[series]

    def missing_files(self, image: SetImage) -> list[str]:
        """Return the names of files of an image that are not there, but not more than 100."""
        missing: list[str] = []
        for name in image.files():
            if len(missing) < _TRIES and self.files.is_missing(name):
                missing.append(name)
        return missing


def find_set(header: Header, opener: Opener) -> TiffSet | None:
    """Return the set that a file belongs to, or ``None`` if the file is not part of a set.

    Raises:
        DamagedDataError: The OME-XML is incomplete.
        UnsupportedFileError: The file with the OME-XML is missing, or does not describe this file.
    """
    if not header.descriptions or not may_be_set(header.descriptions[0]):
        return None
    text = header.descriptions[0].decode(errors="replace")
    own = os.path.basename(opener.path)
    found = read_metadata(text, own)
    files = SetFiles(header, opener)
    if found.other is not None:
        text, found = _read_other(files, found, own)
    elif len(found.files) < 2:
        return None
    if not found.images:
        raise support_error(
            f"its OME-XML does not say which planes are in which files: {REMEDY}"
        )
    return TiffSet(files, text, found.images)


def find_missing_metadata(header: Header, opener: Opener) -> str | None:
    """Return the name of the file with the OME-XML of a set, if it is another and is not there."""
    if not header.descriptions or not may_be_set(header.descriptions[0]):
        return None
    text = header.descriptions[0].decode(errors="replace")
    other = read_metadata(text, os.path.basename(opener.path)).other
    return other if other and SetFiles(header, opener).is_missing(other) else None


def _read_other(files: SetFiles, found: Metadata, own: str) -> tuple[str, Metadata]:
    """Read the metadata file of a set, which ``BinaryOnly`` names: OME-XML, or another TIFF."""
    name = found.other or ""
    file, opener = files.open_file(name)

    def refuse(reason: str) -> NoReturn:
        raise files.error(f"its metadata is in {name!r}, but that file {reason}: {REMEDY}")

    with file:
        size, start = read_start(file)
        try:
            if start[:2] in (b"II", b"MM"):
                descriptions = read_header(file, size, start).descriptions
                content = descriptions[0] if descriptions else b""
            else:
                content = start if size > _TEXT_LIMIT else start + file.read()
            if not is_ome(content):
                refuse("has no OME-XML")
            if size > _TEXT_LIMIT:
                refuse(f"has {size} bytes, and polystore reads at most {_TEXT_LIMIT}")
            text = content.decode("utf-8-sig", errors="replace")
            other = read_metadata(text, own, found.uuid)
        except DamagedDataError as error:
            # The error names the file that is damaged, not the first.
            with_context(error, opener.backend, opener.path, "load")
            raise
    if other.other is not None:
        refuse(f"has none either, and refers to {other.other!r}")
    if not any(image.pages_of(OWN) for image in other.images):
        refuse("does not name this file")
    return text, other
