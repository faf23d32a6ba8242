"""How a value becomes bytes. Where the bytes go is the backend's business.

The life of a format:

1. The first path with its suffix imports the module and makes one instance, shared by all
   backends and threads: it keeps no state between calls.
2. ``save`` writes one value into a binary file that can be written and sought. It checks the
   value before the first byte: what the format cannot give back equal is refused.
3. ``load`` and ``info`` read from a binary file that can be sought and may hold anything at
   all, written by strangers or cut short.
4. ``open`` makes a lazy handle; it gets a way to open the file rather than an open file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, BinaryIO, ClassVar, TypeAlias

from ..errors import UnsupportedOperationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .array import LazyArray

__all__ = ["Format", "Opener"]

Opener: TypeAlias = "Callable[[], BinaryIO]"
"""Opens the same stored bytes for reading again and again; pickles."""


class Format(ABC):
    """One way to write a value as bytes. Authors add options as keyword-only parameters."""

    name: ClassVar[str]
    """Name of the format in messages and in ``Info.format``."""

    decode_errors: ClassVar[tuple[type[Exception], ...]] = (ValueError,)
    """What the format's library raises for damaged bytes; backends report it as such."""

    @abstractmethod
    def save(self, value: Any, file: BinaryIO, /) -> None:
        """Write ``value`` into ``file`` from its current position.

        Raises ``UnsupportedDataError``, before the first byte, for what would not load equal.
        """

    @abstractmethod
    def load(self, file: BinaryIO, /) -> Any:
        """Return the value in ``file``. A ``region`` parameter means that parts can be read.

        Raises ``DamagedDataError`` for bytes that are not what they claim to be.
        """

    def info(self, file: BinaryIO, /) -> dict[str, Any]:
        """Return ``shape``, ``dtype`` and ``metadata`` as far as known without the data."""
        return {}

    def open(self, opener: Opener, /) -> LazyArray:
        """Return a lazy handle that reads through ``opener``."""
        reason = f"files of format {self.name!r} are always loaded whole"
        raise UnsupportedOperationError("", "open", reason)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__qualname__}>"
