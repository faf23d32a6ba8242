"""``.json``: objects, arrays, text, numbers, ``true``, ``false`` and ``null`` (RFC 8259).

Strict both ways: what JSON would change (tuples, keys that are no strings, NaN) is refused.
"""

from __future__ import annotations

import codecs
from typing import Any, BinaryIO

from polystore import Format, is_array
from polystore.atomic import decode_json, encode_json
from polystore.errors import UnsupportedDataError

from .limits import allocating, file_size

__all__ = ["BYTES_LIMIT", "Json"]

BYTES_LIMIT = 1 << 28
"""Larger documents are neither written nor read: parsed, they take up to twenty times this."""


class Json(Format):
    """``indent`` is the number of spaces per level, ``None`` writes one line."""

    name = "json"

    def save(self, value: Any, file: BinaryIO, /, *, indent: int | None = 2) -> None:
        if is_array(value):
            raise UnsupportedDataError(
                "JSON has no arrays of numbers: save it as .npy, or save value.tolist()", "json"
            )
        text = encode_json(value, indent)
        if len(text) > BYTES_LIMIT:
            raise UnsupportedDataError(
                f"{len(text)} bytes of JSON, and polystore reads at most {BYTES_LIMIT}: "
                "save the numbers as .npy or .npz",
                "json",
            )
        file.write(text)

    def load(self, file: BinaryIO, /) -> Any:
        size = file_size(file)
        if size > BYTES_LIMIT:
            raise UnsupportedDataError(
                f"{size} bytes of JSON, and polystore reads at most {BYTES_LIMIT}: split the "
                "document, or keep the numbers as .npy or .npz",
                "json",
            )
        with allocating(size, "json", "split the document"):
            return decode_json(file.read().removeprefix(codecs.BOM_UTF8))
