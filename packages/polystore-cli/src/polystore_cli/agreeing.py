"""Check that images can be one stack: they are alike, and each has a place of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from polystore_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from .sources import Picture

__all__ = ["check_alike", "check_apart"]


def check_alike(pictures: Sequence[Picture], layers: Sequence[str] = ()) -> None:
    """Check that all images have the same shape, type and axes.

    With ``layers``, only the images of one layer are compared.

    Raises:
        InvalidOptionError: Two images differ.
    """
    firsts: dict[str, Picture] = {}
    for one, layer in zip(pictures, layers or [""] * len(pictures), strict=True):
        first = firsts.setdefault(layer, one)
        mine, known = _facts(one), _facts(first)
        for name, value in mine.items():
            other = known.get(name)
            # Some backends do not tell shapes or axes, and an unknown value cannot differ.
            if None not in (value, other) and value != other:
                fault = (
                    f"{one.address} has {name} {_text(value)}, but {first.address} has "
                    f"{_text(other)}: images of one stack must be alike"
                )
                raise InvalidOptionError("stack", str(one.address), "alike images", fault)


def _facts(one: Picture) -> dict[str, object]:
    info = one.info
    if info is None:
        return {}
    return {"shape": info.shape, "type": info.dtype, "axes": one.axes}


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return f"({', '.join(map(str, value))})"
    return str(value)


def check_apart(
    pictures: Sequence[Picture], places: Sequence[tuple[str, ...]], names: str
) -> None:
    """Check that each image of a stack has a place of its own.

    Raises:
        InvalidOptionError: One image would hide another.
    """
    firsts: dict[tuple[str, ...], Picture] = {}
    for one, place in zip(pictures, places, strict=True):
        first = firsts.setdefault(place, one)
        if first is not one:
            more = f", such as {'{folder}/' + names!r}" if "/" not in names else ""
            fault = (
                f"--names {names!r} does not tell {one.address} from {first.address}: "
                f"use more fields{more if one.address.name == first.address.name else ''}"
            )
            raise InvalidOptionError("names", names, "a name of its own for each image", fault)
