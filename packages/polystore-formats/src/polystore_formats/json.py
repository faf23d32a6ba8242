"""``.json``: objects, arrays, text, numbers, ``true``, ``false`` and ``null`` (RFC 8259).

Values that JSON would change are refused: tuples, keys that are not strings, NaN. The ``NaN`` and
``Infinity`` that ``json.dump`` of Python writes are read.
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
"""Larger documents are neither written nor read: parsed, they take up to twenty times this."""


class Json(Format):
    """``indent`` is the number of spaces per level, ``None`` writes one line."""

    name = "json"

    def save(self, value: Value, file: BinaryIO, /, *, indent: int | None = 2) -> None:
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
            text = file.read().removeprefix(codecs.BOM_UTF8)
            try:
                return decode_json(text)
            except DamagedDataError as error:
                _check_whole(text, error.__cause__)
                raise


def _check_whole(text: bytes, error: BaseException | None) -> None:
    """Raise ``UnsupportedFileError`` for a document that is whole, but does not load."""
    if isinstance(error, UnicodeDecodeError):
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
