"""Convert lengths and durations to other units, exactly."""

from __future__ import annotations

from fractions import Fraction

from polystore_core import SPACE_UNITS, TIME_UNITS

__all__ = ["convert_unit"]

_EXPONENTS = (*range(-24, -2, 3), -2, -1, 0, 2, *range(3, 25, 3))
"""Powers of ten of the prefixes, in the order of ``SPACE_UNITS`` and ``TIME_UNITS``."""
_POWERS = [Fraction(10) ** exponent for exponent in _EXPONENTS]
_METERS = dict(zip(SPACE_UNITS, _POWERS, strict=False)) | {
    "angstrom": Fraction(1, 10**10),
    "foot": Fraction("0.3048"),
    "inch": Fraction("0.0254"),
    "mile": Fraction("1609.344"),
    "parsec": Fraction(30_856_775_814_913_673),
    "yard": Fraction("0.9144"),
}
_SECONDS = dict(zip(TIME_UNITS, _POWERS, strict=False)) | {
    "day": Fraction(86_400),
    "hour": Fraction(3600),
    "minute": Fraction(60),
}


def convert_unit(value: float, unit: str | None, wanted: str | None) -> float | None:
    """Return ``value`` in the unit ``wanted``, or ``None`` if the units cannot be converted."""
    if unit == wanted:
        return value
    for factors in (_METERS, _SECONDS):
        if unit in factors and wanted in factors:
            # Exact, so that a size survives the way to another unit and back.
            return float(Fraction(value) * factors[unit] / factors[wanted])
    return None
