"""Checks of the fields of shapes and ROIs."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np

from ..errors import (
    InvalidOptionError,
    UnsupportedDataError,
)
from ..errors.base import show_value
from ..model.arrays import is_array, to_numpy

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..values import Document, Pixels, Value
    from .geometry import Pair


__all__ = [
    "LIMIT",
    "check_array",
    "check_coordinates",
    "check_number",
    "check_pair",
    "check_step",
    "freeze",
    "is_text",
    "pick_fields",
    "plain_json",
    "seal",
]

LIMIT = 1e12
"""The largest coordinate, length or angle. float64 still resolves 0.0001 pixels there."""
_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of characters, which UTF-8 cannot encode."""


def check_number(
    name: str, value: Value, expected: str, least: float = -LIMIT, kind: Value = Real
) -> Value:
    """Return a number of a field as int or float. Raises ``InvalidOptionError``.

    Args:
        name: The name of the field, for the error.
        value: The number.
        expected: A description of a valid number, for the error.
        least: The smallest valid number.
        kind: ``Real``, or ``Integral`` for an int.
    """
    if isinstance(value, np.generic):
        value = value.item()  # a float16 would overflow in the comparison with LIMIT
    # Compared before the conversion, because an int may be too large for a float. NaN fails, too.
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= LIMIT:
        raise InvalidOptionError(name, value, f"{expected} (at most {LIMIT:g})")
    return int(value) if kind is Integral else float(value) + 0.0


def check_pair(
    name: str, value: Value, expected: str, least: float = -LIMIT, kind: Value = Real
) -> tuple[Value, Value]:
    """Return the two numbers of a field, as ``check_number`` does for one."""
    try:
        y, x = value
    except (TypeError, ValueError):
        raise InvalidOptionError(name, value, f"two numbers: {expected}") from None
    return check_number(name, y, expected, least, kind), check_number(
        name, x, expected, least, kind
    )


def check_step(dy: float, dx: float) -> Pair:
    """Return the two numbers of a translation. Raises ``InvalidOptionError``."""
    return check_pair("dy, dx", (dy, dx), "a distance in pixels")


def check_array(name: str, value: ArrayLike) -> Pixels:
    """Return the array of a field. Raises ``UnsupportedDataError`` with the name of the field."""
    try:
        return to_numpy(value) if is_array(value) else np.asarray(value)
    except UnsupportedDataError as error:
        raise UnsupportedDataError(f"{name}: {error.reason}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedDataError(f"{name} is not an array: {error}") from error


def seal(array: Pixels) -> Pixels:
    """Return a copy that cannot be made writable, because its memory belongs to ``bytes``."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def check_coordinates(value: ArrayLike, least: int, most: float) -> NDArray[np.float64]:
    """Return vertices as a sealed array of shape (n, 2), with ``least`` to ``most`` vertices.

    Raises ``UnsupportedDataError``.
    """
    given = check_array("coordinates", value)
    if given.dtype.kind not in "iuf" or given.ndim != 2 or given.shape[1] != 2:
        raise UnsupportedDataError(
            f"coordinates has dtype {given.dtype} and shape {given.shape}: expected numbers of "
            "shape (n, 2), the y and x of each vertex"
        )
    if not least <= len(given) <= most:
        count = f"at least {least}" if most > least else least
        raise UnsupportedDataError(f"coordinates has {len(given)} vertices: expected {count}")
    with np.errstate(over="ignore"):
        array = given.astype(np.float64) + 0.0
    fits = (np.abs(array) <= LIMIT).all(axis=1)  # false for NaN
    if not fits.all():
        at = int(np.argmin(fits))
        raise UnsupportedDataError(
            f"coordinates[{at}] is {array[at].tolist()}: expected numbers of at most {LIMIT:g}"
        )
    return seal(array)


def is_text(value: object) -> bool:
    """Return whether ``value`` is text that UTF-8 can encode."""
    return isinstance(value, str) and not _SURROGATES.search(value)


def freeze(value: Value, where: str, depth: int = 32) -> Value:
    """Return an immutable copy of a JSON value. ``where`` is its name in errors."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool) or is_text(value):
        return value
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 64:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if depth and isinstance(value, list | tuple):
        return tuple(freeze(v, f"{where}[{i}]", depth - 1) for i, v in enumerate(value))
    if depth and isinstance(value, Mapping) and all(map(is_text, value)):
        inner = {key: freeze(v, f"{where}[{key!r}]", depth - 1) for key, v in value.items()}
        return MappingProxyType(inner)
    raise UnsupportedDataError(
        f"{where:.200} is {show_value(value)}: expected finite numbers of at most 64 bits, valid "
        "Unicode, bool, None, or lists and mappings of these, at most 32 levels deep"
    )


def plain_json(value: Value) -> Value:
    """Return the value of a field as lists, dicts and scalars for JSON."""
    value = getattr(value, "coordinates", value)  # if it is a part of a composite
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain_json(inner) for key, inner in value.items()}
    return [plain_json(inner) for inner in value] if isinstance(value, tuple) else value


def pick_fields(content: Mapping[str, Value], names: Sequence[str]) -> Document:
    """Return the values of ``names``, without other keys. Raises if a key is missing."""
    found = {name: content[name] for name in names if name in content}
    for name in names:
        if name not in found:
            raise UnsupportedDataError(f"the key {name!r} is missing")
    return found
