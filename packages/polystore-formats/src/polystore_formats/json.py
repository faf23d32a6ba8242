"""``.json``: objects, arrays, text, numbers, ``true``, ``false`` and ``null`` (RFC 8259).

A value that JSON would change is rejected: a tuple, NaN, or a key that is not a string. The
``NaN`` and ``Infinity`` that ``json.dump`` of Python writes are read.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, BinaryIO

from polystore_core import Format, decode_json, encode_json, is_array
from polystore_core.errors import DamagedDataError, UnsupportedDataError, UnsupportedFileError

from .decoding import decode_text
from .limits import allocating, file_size

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["BYTES_LIMIT", "Json"]

BYTES_LIMIT = 1 << 28
"""The most bytes of a document. Parsed, it can take twenty times as much memory."""


class Json(Format):
    """Values that JSON can store exactly: dicts with text keys, lists, text, numbers, null."""

    name = "json"

    def save(self, value: Value, file: BinaryIO, /, *, indent: int | None = 2) -> None:
        """Write the document.

        Args:
            indent: spaces for each level. ``None`` writes one line.
        """
        if is_array(value):
            raise UnsupportedDataError(
                "JSON does not store arrays: save it as .npy, or save value.tolist()", "json"
            )
        text = encode_json(value, indent)
        if len(text) > BYTES_LIMIT:
            raise UnsupportedDataError(
                f"its JSON has {len(text)} bytes, but polystore reads at most {BYTES_LIMIT}: "
                "save the numbers as .npy or .npz",
                "json",
            )
        file.write(text)

    def load(self, file: BinaryIO, /) -> Value:
        size = file_size(file)
        if size > BYTES_LIMIT:
            raise UnsupportedDataError(
                f"it has {size} bytes, but polystore reads at most {BYTES_LIMIT}: split the "
                "document, or store the numbers as .npy or .npz",
                "json",
            )
        with allocating(size, "json", "split the document"):
            text = file.read().removeprefix(codecs.BOM_UTF8)  # programs on Windows write one
            try:
                return decode_json(text)
            except DamagedDataError as error:
                _check_whole(text, error.__cause__)
                raise


def _check_whole(text: bytes, error: BaseException | None) -> None:
    """Raise ``UnsupportedFileError`` if the document is whole, but cannot be loaded."""
    if isinstance(error, UnicodeDecodeError):
        # It is whole if it is text in another encoding, and then this raises.
        decode_text(text, "utf-8", "json", "save it in UTF-8")
    elif not isinstance(error, json.JSONDecodeError):  # too deep, or a key twice in one object
        raise UnsupportedFileError(str(error), "json") from error
    elif error.msg == "Extra data" and _is_lines(text):
        raise UnsupportedFileError(
            "it is JSON Lines, one document per line: load it as text, and parse each line",
            "json",
        ) from error


def _is_lines(text: bytes) -> bool:
    try:
        return all(json.loads(line) is not text for line in text.splitlines() if line.strip())
    except (ValueError, RecursionError):
        return False
