"""What may stand in a field of a shape or an ROI."""

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
"""Largest coordinate, length or angle: float64 still resolves 0.0001 pixel there."""
_SURROGATES = re.compile("[\ud800-\udfff]")
"""Halves of characters, which UTF-8 cannot hold."""


def check_number(
    name: str, value: Value, expected: str, least: float = -LIMIT, kind: Value = Real
) -> Value:
    if isinstance(value, np.generic):
        value = value.item()  # a float16 would overflow beside LIMIT
    # Compared before it is converted: NaN fails, and an int may be too large for a float.
    if not isinstance(value, kind) or isinstance(value, bool) or not least <= value <= LIMIT:
        raise InvalidOptionError(name, value, f"{expected} (at most {LIMIT:g})")
    return int(value) if kind is Integral else float(value) + 0.0


def check_pair(
    name: str, value: Value, expected: str, least: float = -LIMIT, kind: Value = Real
) -> tuple[Value, Value]:
    try:
        y, x = value
    except (TypeError, ValueError):
        raise InvalidOptionError(name, value, f"two numbers: {expected}") from None
    return check_number(name, y, expected, least, kind), check_number(
        name, x, expected, least, kind
    )


def check_step(dy: float, dx: float) -> Pair:
    return check_pair("dy, dx", (dy, dx), "a distance in pixels")


def check_array(name: str, value: ArrayLike) -> Pixels:
    try:
        return to_numpy(value) if is_array(value) else np.asarray(value)
    except UnsupportedDataError as error:
        raise UnsupportedDataError(f"{name}: {error.reason}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise UnsupportedDataError(f"{name} is not an array: {error}") from error


def seal(array: Pixels) -> Pixels:
    """Return a copy that cannot be made writable: its memory is that of ``bytes``."""
    return np.frombuffer(array.tobytes(), array.dtype).reshape(array.shape)


def check_coordinates(value: ArrayLike, least: int, most: float) -> NDArray[np.float64]:
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
    fits = (np.abs(array) <= LIMIT).all(axis=1)  # NaN does not
    if not fits.all():
        at = int(np.argmin(fits))
        raise UnsupportedDataError(
            f"coordinates[{at}] is {array[at].tolist()}: expected numbers of at most {LIMIT:g}"
        )
    return seal(array)


def is_text(value: object) -> bool:
    return isinstance(value, str) and not _SURROGATES.search(value)


def freeze(value: Value, where: str, depth: int = 32) -> Value:
    """Return an immutable copy of what JSON can hold; ``where`` names it in errors."""
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
    """Return what JSON knows for what stands in a field."""
    value = getattr(value, "coordinates", value)  # a part of a composite
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, Mapping):
        return {key: plain_json(inner) for key, inner in value.items()}
    return [plain_json(inner) for inner in value] if isinstance(value, tuple) else value


def pick_fields(content: Mapping[str, Value], names: Sequence[str]) -> Document:
    """Return the values of ``names``. Raises for one that is missing, ignores all others."""
    found = {name: content[name] for name in names if name in content}
    for name in names:
        if name not in found:
            raise UnsupportedDataError(f"the key {name!r} is missing")
    return found
