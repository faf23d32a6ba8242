"""How a value becomes bytes. Where the bytes go is the backend's business.

The life of a format:

1. The first path with its suffix imports the module and makes one instance, shared by all
   backends and threads: it keeps no state between calls.
2. ``save`` writes one value into a binary file that can be written and sought. It checks the
   value before the first byte: what the format cannot give back equal is refused.
3. ``load`` and ``info`` read from a binary file that can be sought and may hold anything at
   all, written by strangers or cut short.
4. ``open`` makes a lazy handle; it gets a way to open the file rather than an open file.
5. A value that is spread over several files: the format declares ``reads_siblings``, and opens
   the others through the :class:`Opener` of the first.
"""

from __future__ import annotations

import ntpath
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeAlias

from ..errors import (
    PolystoreError,
    RequestError,
    UnsupportedFileError,
    UnsupportedOperationError,
    with_context,
)
from ..errors.base import show_value
from ..options import known_options
from ..paths import join, require_local

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np

    from ..image import Image
    from ..values import Document, Option, Pixels, Region, Value
    from .array import LazyArray

__all__ = ["Format", "Memory", "Opener"]

Memory: TypeAlias = "Callable[[tuple[int, ...], np.dtype[Any]], Pixels | None]"
"""Gives a C-contiguous array of this shape and element type to read into, or ``None``."""


@dataclass(frozen=True, slots=True)
class Opener:
    """Opens one stored file for reading, each time that it is called.

    The backend gives ``open_path``, which opens any path of its store and nothing outside its
    root. If that pickles, the opener does too, and so do the lazy handles that keep it.
    """

    open_path: Callable[[str], BinaryIO]
    path: str
    backend: str = ""

    def __call__(self) -> BinaryIO:
        """Open the file.

        Raises ``StorageError`` with this path, such as ``NotFoundError``, and
        ``PathOutsideRootError`` for a link that leads out of the root.
        """
        try:
            return self.open_path(self.path)
        except (PolystoreError, OSError) as error:
            raise with_context(error, self.backend, self.path, "open")  # noqa: B904 - it carries its cause

    def sibling(self, name: str, /) -> Opener:
        """Return the opener of a file in the same folder or below it, existing or not.

        ``name`` is relative to the folder: "b.tif" or "planes/b.tif". It is usually read from
        the file, and a stranger may have written that. Raises ``UnsupportedFileError`` for
        "..", an absolute path, a URL, and any name that is not a path of a store.
        """
        try:
            inside = _is_inside(require_local(name))
        except RequestError:
            inside = False
        if not inside:
            reason = (
                f"it refers to {show_value(name)}: a file may refer only to files in its folder or "
                "below it, such as 'b.tif'"
            )
            raise UnsupportedFileError(reason, path=self.path, backend=self.backend)
        return replace(self, path=join(os.path.dirname(self.path), name))


def _is_inside(name: str) -> bool:
    # By the rules of Windows on every system: a file means the same wherever its store is.
    parts = name.replace("\\", "/").split("/")
    return bool(parts[0]) and ".." not in parts and not ntpath.splitdrive(name)[0]


class Format(ABC):
    """One way to write a value as bytes. Authors add options as keyword-only parameters."""

    name: ClassVar[str]
    """Name of the format in messages and in ``Info.format``."""

    decode_errors: ClassVar[tuple[type[Exception], ...]] = (ValueError,)
    """What the format's library raises for damaged bytes; backends report it as such."""

    reads_siblings: ClassVar[bool] = False
    """Whether backends pass the ``Opener`` of the file to ``load`` and ``info`` as well.

    Declare it then as ``load(self, file, opener=None, /)``. Without one, load what is in ``file``,
    or raise ``UnsupportedFileError``.
    """

    @abstractmethod
    def save(self, value: Value, file: BinaryIO, /) -> None:
        """Write ``value`` into ``file`` from its current position.

        Raises ``UnsupportedDataError``, before the first byte, for what would not load equal.
        """

    @abstractmethod
    def load(self, file: BinaryIO, /) -> Value:
        """Return the value in ``file``. A ``region`` parameter means that parts can be read.

        Raises ``DamagedDataError`` for bytes that are not what they claim to be.
        """

    def load_into(
        self,
        file: BinaryIO,
        memory: Memory,
        /,
        *given: Opener,
        **options: Option,
    ) -> Value:
        """Return the value in ``file``, as ``load`` does, in memory of the caller if possible.

        ``memory(shape, dtype)`` gives a C-contiguous array to read into, or ``None``. Call it when
        the shape and the element type are known, fill the array, and return that same array.
        Override this where no other copy of the data is made then. ``options`` are those of
        ``load``.
        """
        load: Callable[..., Value] = self.load
        return load(file, *given, **options)

    def info(self, file: BinaryIO, /) -> Document:
        """Return ``shape``, ``dtype`` and ``metadata`` as far as known without the data.

        And ``image``, an ``ImageMetadata``, for an array that says what its axes are.
        """
        return {}

    def load_image(
        self, file: BinaryIO, opener: Opener | None = None, /, *, region: Region | None = None
    ) -> Image:
        """Return the array in ``file`` with what ``info`` says of it as "image".

        Override it for options of ``load`` that choose another array than ``info`` describes.

        Raises ``UnsupportedDataError`` for a file that says nothing of its axes.
        """
        from ..image import Image, no_words

        given = () if opener is None else (opener,)
        info: Callable[..., Document] = self.info
        load: Callable[..., Value] = self.load
        found = info(file, *given)
        metadata = found.get("image")
        if metadata is None:
            raise no_words(self.name)
        file.seek(0)
        if region is None:
            return Image(load(file, *given), metadata)
        words = metadata.select(region, found["shape"])
        if "region" in known_options(type(self).load)[0]:
            return Image(load(file, *given, region=region), words)
        return Image(load(file, *given)[region], words)

    def open(self, opener: Opener, /) -> LazyArray:
        """Return a lazy handle that reads through ``opener``."""
        reason = f"files of format {self.name!r} are always loaded whole"
        raise UnsupportedOperationError("", "open", reason)

    def includes(self, other: Format) -> bool:
        """Whether each file of the format ``other`` is a file of this one too.

        An OME-TIFF is a TIFF, but a TIFF is not an OME-TIFF. By default ``other`` needs the same
        name, and the class of this format or one that is derived from it.
        """
        return self.name == other.name and isinstance(other, type(self))

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__}>"
