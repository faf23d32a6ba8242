"""Check whether the layers of one window fit together in pixel size and position.

napari has one slider for each axis of a window. A step of the slider is the smallest pixel of all
layers, and the slider extends over all layers. The number of steps has at most nine digits.

napari compares layers in their units if all layers have units of one kind on each axis. Otherwise
it compares the numbers without units. A layer without a unit gets the unit of the window. For
example, if 3.25e-7 (meter) is next to 1 (pixel), the slider needs three million steps for each
pixel of the second image.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from polystore_core.errors import UnsupportedDataError

from .units import base_unit, fill_units, find_shared

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from polystore_stream.viewers.planning import Reach

__all__ = ["MOST_STEPS", "check_new", "check_reach", "check_visible"]

MOST_STEPS = 10**9 - 2
"""Most steps of one slider. napari sets the maximum of its number field to the next power of ten,
and Qt counts in 32 bits."""
_LEAST, _GREATEST = 1e-36, 1e36
"""Range of a coordinate other than 0. Graphics cards use float32, which ends at 1e38."""


_LEAST_IMAGE = 1e-8
"""Least height or width of an image. napari 0.9 paints smaller images black at every zoom."""


def check_new(new: Reach, others: Iterable[Reach]) -> None:
    """Raise ``UnsupportedDataError`` for an image that is too small, or too far from the others."""
    check_visible(new)
    check_reach(new, others)


def check_reach(new: Reach, others: Iterable[Reach]) -> None:
    """Raise ``UnsupportedDataError`` if a window cannot show ``new`` together with ``others``."""
    _check_numbers(new)
    known = list(others)
    factors = _factors([*known, new])  # new is last: the first layer with a unit decides
    for axis in range(1, len(new.step) + 1):
        there = [
            (reach, factor[-axis])
            for reach, factor in zip([*known, new], factors, strict=True)
            if len(reach.step) >= axis
        ]
        ends = [end * f for r, f in there for end in (r.low[-axis], r.high[-axis])]
        placed = [end for end in ends if not math.isnan(end)]
        finest = min(r.step[-axis] * f for r, f in there)
        steps = (max(placed) - min(placed)) / finest if placed else 0
        if not steps <= MOST_STEPS:
            raise UnsupportedDataError(_advice(new, axis, steps))


def check_visible(image: Reach) -> None:
    """Raise ``UnsupportedDataError`` for an image that is too small to be painted."""
    sizes = [
        high - low + step
        for low, high, step in zip(image.low, image.high, image.step, strict=True)
    ][-2:]
    if max(sizes) < _LEAST_IMAGE:
        raise UnsupportedDataError(
            f"the image is {' x '.join(f'{size:.3g}' for size in sizes)} {image.units[-1]} large, "
            f"but napari shows only images of at least {_LEAST_IMAGE:g}: give scale= in a smaller "
            "unit, such as units='nm'"
        )


def _check_numbers(reach: Reach) -> None:
    for number in (*reach.low, *reach.high, *reach.step):
        if not (number == 0 or math.isnan(number) or _LEAST <= abs(number) <= _GREATEST):
            raise UnsupportedDataError(
                f"a pixel size or a position is {number:.3g}, but a napari window shows only "
                f"numbers from {_LEAST:g} to {_GREATEST:g}: give scale= in another unit"
            )


def _advice(new: Reach, axis: int, steps: float) -> str:
    low, high, step = (numbers[-axis] for numbers in (new.low, new.high, new.step))
    unit = new.units[-axis]
    if (high - low) / step > MOST_STEPS:
        return (
            f"axis -{axis} extends from {low:.3g} to {high:.3g} {unit}, which is {steps:.2g} "
            f"pixels, but napari shows at most {MOST_STEPS}: show a part of it"
        )
    return (
        f"its pixels have a size of {step:.3g} {unit} on axis -{axis}. With the other layers, the "
        f"window extends over {steps:.2g} of the smallest pixels, but napari shows at most "
        f"{MOST_STEPS}: give all images of one window a scale= in units of the same kind, or "
        "remove the other layers with clear()"
    )


def _factors(reaches: Sequence[Reach]) -> list[tuple[float, ...]]:
    """Return the factors that make the numbers of all layers comparable, as napari does it."""
    shared = find_shared(reach.units for reach in reaches)
    known = [tuple(map(base_unit, fill_units(reach.units, shared))) for reach in reaches]
    longest = max(known, key=len)
    agree = all(
        one[1] == other[1]
        for units in known
        for one, other in zip(reversed(units), reversed(longest), strict=False)
    )
    return [tuple(factor if agree else 1.0 for factor, _ in units) for units in known]
