"""The text of ImageJ's ``Roi.setProperty``: sorted lines of "key: value", in ASCII.

ImageJ reads this text with ``java.util.Properties.load`` and writes it back without escapes.
Spaces in keys, backslashes and characters that are not ASCII would change. Properties with these
are JSON under the one key "polystore", with percent signs for such characters.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from polystore_core import decode_json
from polystore_core.errors import DamagedDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polystore_core import Document, Value

__all__ = ["read_properties", "write_properties"]

_OURS = "polystore"
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_VALUE = re.compile(r"([!-9;<>-\[\]-~]([ -\[\]-~]*[!-\[\]-~])?)?")
_SAFE = "".join(map(chr, range(0x20, 0x7F))).replace("%", "").replace("\\", "")


def write_properties(properties: Mapping[str, Value], more: Mapping[str, Value]) -> str:
    """Return the text for ``properties``, with the entries ``more`` under our key."""
    lines, rest = [], {}
    for key, value in properties.items():
        text = _format_value(value)
        if key != _OURS and _KEY.fullmatch(key) and text is not None:
            lines.append(f"{key}: {text}\n")
        else:
            rest[key] = value
    # One key for all of ours, so that ImageJ's table of properties stays readable.
    ours = {**more, "properties": rest} if rest else dict(more)
    if ours:
        # Sorted keys give equal ROIs equal bytes, also after ImageJ has sorted the lines.
        text = json.dumps(ours, ensure_ascii=False, allow_nan=False, sort_keys=True)
        lines.append(f"{_OURS}: {quote(text, safe=_SAFE)}\n")
    return "".join(sorted(lines))


def read_properties(text: str) -> tuple[Document, Document]:
    """Return the properties, and the entries ``more`` of :func:`write_properties`."""
    properties: dict[str, Any] = {}
    more: dict[str, Any] = {}
    for line in text.split("\n"):
        key, _, value = line.partition(": ")
        ours = _decode(value) if key == _OURS else None
        if ours is not None:
            properties |= ours.pop("properties", {})
            more |= ours
        elif line:
            properties[key] = _read(value)
    return properties, more


def _format_value(value: Value) -> str | None:
    """Return the text that is read as exactly this value, or ``None`` if there is none."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    fits = isinstance(value, str) and _VALUE.fullmatch(value) and _read(value) is value
    return value if fits else None


def _read(text: str) -> Value:
    """Return the value of a text: a number only if this number is written with the same text."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        # JSON of other programs holds integers of at most 64 bits.
        fits = -(1 << 63) <= number < 1 << 64 if kind is int else math.isfinite(number)
        if fits and repr(number) == text:
            return number
    return text


def _decode(text: str) -> Document | None:
    """Return the document under our key, or ``None`` if another program wrote it."""
    try:
        ours = decode_json(unquote(text, errors="strict").encode())
    except (DamagedDataError, UnicodeError):
        return None
    if not isinstance(ours, dict) or not isinstance(ours.get("properties", {}), dict):
        return None
    return ours
