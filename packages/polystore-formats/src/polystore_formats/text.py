"""``.txt``: text, byte for byte: line ends stay as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO

from polystore_core import Format
from polystore_core.errors import UnsupportedDataError

from .decoding import check_encoding, decode_text
from .limits import allocating, file_size

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["Text"]


class Text(Format):
    """``encoding`` is for ``save`` and ``load`` alike; the file does not say which it was."""

    name = "text"

    def save(self, value: Value, file: BinaryIO, /, *, encoding: str = "utf-8") -> None:
        check_encoding(encoding)
        if type(value) is not str:
            raise UnsupportedDataError(
                f"expected a str, got {type(value).__name__}: use another suffix", "text"
            )
        try:
            data = value.encode(encoding)
            same = data.decode(encoding) == value
        except UnicodeError as error:
            raise UnsupportedDataError(f"it is not {encoding} text: {error}", "text") from error
        if not same:
            raise UnsupportedDataError(f"{encoding} would change the text: use utf-8", "text")
        file.write(data)

    def load(self, file: BinaryIO, /, *, encoding: str = "utf-8") -> str:
        check_encoding(encoding)
        with allocating(file_size(file), "text", "read it in parts, with Python's open()"):
            return decode_text(
                file.read(), encoding, "text", "pass encoding=, such as 'cp1252' or 'utf-16'"
            )
