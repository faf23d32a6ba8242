"""``.txt``: text. Line ends are not changed."""

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
    """A ``str``. The file does not name its encoding: load it with the one that you saved with."""

    name = "text"

    def save(self, value: Value, file: BinaryIO, /, *, encoding: str = "utf-8") -> None:
        """Write the text.

        Args:
            encoding: the text encoding, such as "utf-8", "cp1252" or "utf-16".
        """
        check_encoding(encoding)
        if type(value) is not str:
            raise UnsupportedDataError(
                f"expected a str, got {type(value).__name__}: use another suffix", "text"
            )
        try:
            data = value.encode(encoding)
            # Some encodings change text without an error: in raw_unicode_escape, a backslash can
            # load as another character.
            same = data.decode(encoding) == value
        except UnicodeError as error:
            raise UnsupportedDataError(f"it is not {encoding} text: {error}", "text") from error
        if not same:
            raise UnsupportedDataError(f"{encoding} would change the text: use utf-8", "text")
        file.write(data)

    def load(self, file: BinaryIO, /, *, encoding: str = "utf-8") -> str:
        """Load the text.

        Args:
            encoding: the text encoding of the file.
        """
        check_encoding(encoding)
        with allocating(file_size(file), "text", "read it in parts, with Python's open()"):
            return decode_text(
                file.read(), encoding, "text", "pass encoding=, such as 'cp1252' or 'utf-16'"
            )
