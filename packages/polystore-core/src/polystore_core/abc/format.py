"""``Format``: how a value becomes bytes. The backend stores the bytes.

The life of a format:

1. The first path with its suffix imports the module and creates one instance. All backends and
   threads share it, so it keeps no state between calls.
2. ``save`` writes one value into a binary file that can be written and sought. It checks the value
   before it writes the first byte: a value that would not load equal is an error.
3. ``load`` and ``info`` read from a binary file that can be sought. The file may be damaged, or
   written by a stranger to do harm.
4. ``open`` returns a lazy handle. It gets a function that opens the file, not an open file.
5. If a value is spread over several files, the format sets ``reads_siblings``. It opens the other
   files through the :class:`Opener` of the first.
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
    from collections.abc import Callable, Mapping

    import numpy as np

    from ..image import Image
    from ..values import Document, Option, Pixels, Region, Value
    from .array import LazyArray

__all__ = ["Format", "Memory", "Opener"]

Memory: TypeAlias = "Callable[[tuple[int, ...], np.dtype[Any]], Pixels | None]"
"""A function that returns a C-contiguous array of a shape and dtype to read into, or ``None``."""


# Not frozen: one is made for each file that is loaded, and a frozen one takes twice as long.
@dataclass(slots=True, unsafe_hash=True)
class Opener:
    """Opens one stored file for reading, each time that you call it.

    For example, in a format that keeps its pixels in a second file:

        def load(self, file, opener=None, /):
            header = json.load(file)
            with opener.sibling(header["pixels"])() as pixels:
                return np.frombuffer(pixels.read(), header["dtype"])

    It can be pickled if ``open_path`` can. So can the lazy handles that keep it.
    """

    open_path: Callable[[str], BinaryIO]
    """A function of the backend. It opens any path of the store, and nothing outside its root."""
    path: str
    """The path of the file."""
    backend: str = ""
    """The name of the backend, for errors."""

    def __call__(self) -> BinaryIO:
        """Open the file for reading.

        Raises:
            StorageError: The file cannot be opened, for example because it does not exist.
            PathOutsideRootError: A link leads out of the root of the backend.
        """
        try:
            return self.open_path(self.path)
        except (PolystoreError, OSError) as error:
            raise with_context(error, self.backend, self.path, "open")  # noqa: B904 - it carries its cause

    def sibling(self, name: str, /) -> Opener:
        """Return the opener of another file in the same folder, or below it.

        The name usually comes from a file that a stranger may have written, so it is checked. The
        file need not exist.

        Args:
            name: Relative to the folder of this file: "b.tif" or "planes/b.tif".

        Raises:
            UnsupportedFileError: The name is not a plain path in the folder: it has "..", is
                absolute, or is a URL.
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
    # The rules of Windows on every system, so that a file means the same on all of them.
    parts = name.replace("\\", "/").split("/")
    return bool(parts[0]) and ".." not in parts and not ntpath.splitdrive(name)[0]


class Format(ABC):
    """One way to write a value as bytes. Keyword-only parameters of your methods are options.

    For example, a whole format:

        class Json(Format):
            name = "json"

            def save(self, value, file, /, *, indent: int | None = None):
                file.write(json.dumps(value, indent=indent).encode())

            def load(self, file, /):
                return json.load(file)
    """

    name: ClassVar[str]
    """The name of the format in errors and in ``Info.format``."""

    decode_errors: ClassVar[tuple[type[Exception], ...]] = (ValueError,)
    """The errors of your library for damaged bytes. They become ``DamagedDataError``."""

    reads_siblings: ClassVar[bool] = False
    """Whether backends also pass the ``Opener`` of the file to ``load`` and ``info``.

    If you set it, write ``def load(self, file, opener=None, /)``. Without an opener, load as much
    as ``file`` has, or raise ``UnsupportedFileError``.
    """

    alone: ClassVar[Mapping[str, Option]] = {}
    """Options of ``load`` and ``open`` that read a file without the files next to it.

    Calls that read each file of a folder use them, such as ``transfer``, ``stack`` and ``watch``.
    Then a value in 100 files is not copied 100 times.
    """

    @abstractmethod
    def save(self, value: Value, file: BinaryIO, /) -> None:
        """Write ``value`` into ``file`` at its present position.

        Raises:
            UnsupportedDataError: The value would not load equal. Raise it before the first byte.
        """

    @abstractmethod
    def load(self, file: BinaryIO, /) -> Value:
        """Return the value in ``file``.

        Add a keyword-only parameter ``region`` if you can read parts of an array.

        Raises:
            DamagedDataError: The bytes do not follow the rules of the format.
        """

    def load_into(
        self,
        file: BinaryIO,
        memory: Memory,
        /,
        *given: Opener,
        **options: Option,
    ) -> Value:
        """Return the value in ``file``, read into memory of the caller if possible.

        Override it if your format can read into a given array without another copy.

        Args:
            file: As for ``load``.
            memory: ``memory(shape, dtype)`` returns a C-contiguous array to fill and return, or
                ``None``. Call it when you know the shape and the dtype.
            *given: The opener, if ``reads_siblings`` is true.
            **options: As for ``load``.
        """
        load: Callable[..., Value] = self.load
        return load(file, *given, **options)

    def info(self, file: BinaryIO, /) -> Document:
        """Return the contents of the header of ``file``, without reading the data.

        Returns:
            A dict with any of "shape", "dtype", "metadata" and, if the file names the axes of its
            array, "image" with an ``ImageMetadata``.
        """
        return {}

    def load_image(
        self, file: BinaryIO, opener: Opener | None = None, /, *, region: Region | None = None
    ) -> Image:
        """Return the array in ``file`` with its metadata, which ``info`` returns as "image".

        Override it if options of ``load`` choose an array that ``info`` does not describe.

        Raises:
            UnsupportedDataError: The file does not name the axes of its array.
        """
        from ..image import Image, no_words

        given = () if opener is None else (opener,)
        info: Callable[..., Document] = self.info
        load: Callable[..., Value] = self.load
        found = info(file, *given)
        metadata = found.get("image")
        if metadata is None:
            raise no_words(self.name)
        file.seek(0)  # info has read the header
        if region is None:
            return Image(load(file, *given), metadata)
        words = metadata.select(region, found["shape"])
        if "region" in known_options(type(self).load)[0]:
            return Image(load(file, *given, region=region), words)
        return Image(load(file, *given)[region], words)

    def open(self, opener: Opener, /) -> LazyArray:
        """Return a lazy handle that reads through ``opener``. Override it if you can read parts."""
        reason = f"files of format {self.name!r} are always loaded whole"
        raise UnsupportedOperationError("", "open", reason)

    def includes(self, other: Format) -> bool:
        """Return whether each file of the format ``other`` is also a file of this format.

        For example, each OME-TIFF is a TIFF, but not each TIFF is an OME-TIFF. By default ``other``
        needs the same name, and the same class or a subclass of it.
        """
        return self.name == other.name and isinstance(other, type(self))

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__}>"
