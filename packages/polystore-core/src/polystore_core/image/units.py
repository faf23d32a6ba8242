"""Units of axes: UDUNITS-2 names, and common abbreviations for them."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

from ..errors import InvalidOptionError

if TYPE_CHECKING:
    from ..values import Value

__all__ = ["SPACE_UNITS", "TIME_UNITS", "spell_out", "unit_name"]

_PREFIXES = (
    *("yocto", "zepto", "atto", "femto", "pico", "nano", "micro", "milli", "centi", "deci", ""),
    *("hecto", "kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta"),
)
SPACE_UNITS = (
    *(f"{prefix}meter" for prefix in _PREFIXES),
    "angstrom",
    "foot",
    "inch",
    "mile",
    "parsec",
    "yard",
)
"""UDUNITS-2 names of lengths, as in the list of OME-NGFF."""
TIME_UNITS = (*(f"{prefix}second" for prefix in _PREFIXES), "day", "hour", "minute")
"""UDUNITS-2 names of durations, as in the list of OME-NGFF."""
_ABBREVIATIONS = {
    "pm": "picometer",
    "nm": "nanometer",
    "um": "micrometer",
    "\u00b5m": "micrometer",
    "\u03bcm": "micrometer",
    "micron": "micrometer",
    "microns": "micrometer",
    "mm": "millimeter",
    "cm": "centimeter",
    "m": "meter",
    # Unicode has two characters for Å, and two for µ. Both are in files.
    "\u00c5": "angstrom",
    "\u212b": "angstrom",
    "A": "angstrom",
    "ns": "nanosecond",
    "us": "microsecond",
    "\u00b5s": "microsecond",
    "\u03bcs": "microsecond",
    "ms": "millisecond",
    "s": "second",
    "sec": "second",
    "min": "minute",
    "h": "hour",
    "d": "day",
}


_KNOWN = {"space": SPACE_UNITS, "time": TIME_UNITS}


def spell_out(unit: str, kind: str | None) -> str:
    """Return the UDUNITS-2 name of an abbreviated unit. Other units are returned as they are.

    For example:

        spell_out("um", "space")  # "micrometer"
    """
    name = _ABBREVIATIONS.get(unit, unit)
    return name if name in _KNOWN.get(kind or "", ()) else unit


def unit_name(unit: Value, axis: str, kind: str | None) -> str:
    """Return the UDUNITS-2 name of a unit. Raises ``InvalidOptionError`` if it is not valid.

    ``kind`` is the type of the axis. If it is not "space" or "time", any unit is valid.
    """
    known = _KNOWN.get(kind or "")
    example = "second" if kind == "time" else "micrometer"
    if not isinstance(unit, str) or not unit:
        raise InvalidOptionError("units", unit, f"a unit for {axis}, such as {example!r}")
    if known is None:
        return unit
    name = spell_out(unit, kind)
    if name in known:
        return name
    short = [key for key, full in _ABBREVIATIONS.items() if full in known]
    # Abbreviations too, because "UM" is closer to "um" than to "micrometer".
    close = difflib.get_close_matches(unit.lower(), [*known, *short], n=1)
    hint = f"; did you mean {_ABBREVIATIONS.get(close[0], close[0])!r}?" if close else ""
    raise InvalidOptionError(
        "units", unit, f"a unit of {kind} for {axis}, such as {example!r}{hint}"
    )
