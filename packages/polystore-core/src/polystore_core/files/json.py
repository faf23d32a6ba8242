"""Reading and writing JSON documents strictly."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

from ..errors import (
    DamagedDataError,
    UnsupportedDataError,
    storage_error,
)
from .system import (
    regular_only,
)

if TYPE_CHECKING:
    from ..values import Document, Value

__all__ = ["decode_json", "encode", "encode_json", "plain_json", "read_json"]

_JSON_BYTES_LIMIT = 64 * 1024 * 1024
"""A larger file is not metadata. Parsing it could fill the memory."""


def read_json(path: str | os.PathLike[str], default: Value) -> Value:
    """Return the document at ``path``, or ``default`` if there is no file."""
    try:
        with open(path, "rb", opener=regular_only) as file:
            text = file.read(_JSON_BYTES_LIMIT + 1)
    except FileNotFoundError:
        return default
    except OSError as error:
        raise storage_error(error, "", os.fspath(path), "read") from error
    if len(text) > _JSON_BYTES_LIMIT:
        raise DamagedDataError(
            f"a metadata document has at most {_JSON_BYTES_LIMIT:,} bytes, but this is larger",
            "json",
            os.fspath(path),
        )
    return decode_json(text, path)


def decode_json(text: bytes, path: str | os.PathLike[str] = "") -> Value:
    """Parse UTF-8 JSON. NaN and Infinity are accepted, as Python writes them.

    Raises:
        DamagedDataError: It is not JSON, or an object has the same key twice.
    """
    try:
        return json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
    except (ValueError, RecursionError) as error:
        raise DamagedDataError(str(error), "json", os.fspath(path)) from error


def _unique_keys(pairs: list[tuple[str, Value]]) -> Document:
    # Python would keep the last one silently, and other programs the first.
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has the same key twice")
    return found


def encode(
    data: Value, path: str | os.PathLike[str], indent: int | None, *, check: bool = True
) -> bytes:
    """Encode as ``encode_json`` does, and name ``path`` in the error."""
    try:
        return encode_json(data, indent, check=check)
    except UnsupportedDataError as error:
        error.path = os.fspath(path)
        raise


def encode_json(data: Value, indent: int | None = None, *, check: bool = True) -> bytes:
    """Encode data as UTF-8 JSON with a newline at the end.

    Args:
        data: Dicts, lists and scalars of Python.
        indent: Spaces of each level, or ``None`` for one line.
        check: ``False`` is for data from ``decode_json``, which may hold NaN.

    Raises:
        UnsupportedDataError: The data would not load equal, for example a tuple or a set.
    """
    try:
        if check and type(data) not in _JSON_SCALARS:
            _check_json(data)
        text = json.dumps(data, allow_nan=not check, ensure_ascii=False, indent=indent)
        return text.encode("utf-8") + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        reason = str(error)
        if "not JSON compliant" in reason:  # of Python's json, which names no remedy
            reason = "JSON cannot hold NaN or infinity: replace it, such as by None"
        raise UnsupportedDataError(reason, "json") from error


def _check_json(data: Value) -> None:
    """Raise for values that ``json`` would change silently: keys that are not strings, tuples, …"""
    kind = type(data)
    if kind is dict:
        for key in data:
            if type(key) is not str:
                raise TypeError(f"the key {key!r:.80} is not a string: use str(key)")
    elif kind is not list:
        advice = next((advice for base, advice in _ADVICE if isinstance(data, base)), "")
        if not advice and hasattr(data, "tolist"):  # a scalar or an array of NumPy
            advice = ": convert it with .tolist()"
            if shape := getattr(data, "shape", ()):  # its numbers would fill several lines
                raise TypeError(f"JSON cannot hold a {kind.__name__} of shape {shape}{advice}")
        raise TypeError(f"JSON cannot hold a {kind.__name__}: {data!r:.80}{advice}")
    for value in data.values() if kind is dict else data:
        if type(value) not in _JSON_SCALARS:
            _check_json(value)


_ADVICE: tuple[tuple[type, str], ...] = (
    (tuple, ". It would load as a list: convert it with list(...)"),
    (set, ": convert it with sorted(...)"),
    (frozenset, ": convert it with sorted(...)"),
    (bytes, ": convert it with .decode() or .hex()"),
    (os.PathLike, ": convert it with str(...)"),
)


def plain_json(data: Value, path: str | os.PathLike[str] = "") -> Value:
    """Return ``data`` with tuples as lists, and scalars of NumPy as scalars of Python.

    It is for metadata, such as ``{"shape": image.shape, "mean": image.mean()}``. Raises
    ``UnsupportedDataError`` for data that contains itself.
    """
    numpy = sys.modules.get("numpy")  # if it is not imported, no value can be from it

    def plain(value: Value) -> Value:
        if type(value) in _JSON_SCALARS:
            return value
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return value.item() if numpy is not None and isinstance(value, numpy.generic) else value

    try:
        return plain(data)
    except RecursionError as error:
        raise UnsupportedDataError(str(error), "json", os.fspath(path)) from error


_JSON_SCALARS = frozenset({str, int, float, bool, type(None)})
