"""Converting arrays to other dtypes without changing a value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from ..errors import InvalidOptionError, UnsupportedDataError
from ..frameworks.extended import is_extended

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from ..values import Pixels, Value

__all__ = ["CASTING", "Casting", "check_casting", "convert"]

Casting: TypeAlias = Literal["exact", "same_kind", "unsafe"]
CASTING: tuple[Casting, ...] = ("exact", "same_kind", "unsafe")

_AT_ONCE = 1 << 16
"""Elements to compare at once, so few that their copies stay in the cache of the processor."""


def convert(array: Pixels, dtype: np.dtype[Value], casting: Casting = "exact") -> Pixels:
    """Return a copy of ``array`` with the element type ``dtype``.

    For example:

        convert(np.array([3.0]), np.dtype("uint8"))  # array([3], dtype=uint8)
        convert(np.array([3.5]), np.dtype("uint8"))  # UnsupportedDataError

    Args:
        array: A NumPy array.
        dtype: The new element type.
        casting: "exact" changes no value. "same_kind" also rounds to a floating-point type, but a
            finite number never becomes infinite. "unsafe" is NumPy's ``astype``: 300 becomes 44 in
            uint8.

    Raises:
        UnsupportedDataError: An element does not fit. The error has the first one.
    """
    check_casting(casting)
    given = array.dtype
    if casting != "unsafe" and not _is_checkable(given, dtype):
        raise UnsupportedDataError(
            f"{given} does not convert to {dtype} exactly: pass casting='unsafe' to convert anyway"
        )
    # Only the real part is converted. The check below finds any imaginary part.
    is_complex = given.kind == "c" and dtype.kind in "iuf"
    with np.errstate(all="ignore"):  # no warnings, because the check below finds every change
        try:
            found = (array.real if is_complex else array).astype(dtype)
        except (TypeError, ValueError, OverflowError) as error:
            raise UnsupportedDataError(
                f"{given} does not convert to {dtype}: {error}"
            ) from error
        if casting != "unsafe" and not _is_always_exact(given, dtype):
            _refuse_changes(array, found, casting)
    return found


def check_casting(casting: Casting) -> None:
    """Raise ``InvalidOptionError`` for anything but "exact", "same_kind" and "unsafe"."""
    if casting not in CASTING:
        raise InvalidOptionError("casting", casting, f"one of {', '.join(CASTING)}")


def _is_checkable(given: np.dtype[Value], wanted: np.dtype[Value]) -> bool:
    """Return whether elements can be compared: numbers, text with text, times with times."""
    kinds = (_kind(given), _kind(wanted))
    comparable = any(set(kinds) <= set(alike) for alike in ("biufc", "US", "M", "m"))
    return comparable or np.can_cast(given, wanted)


def _is_always_exact(given: np.dtype[Value], wanted: np.dtype[Value]) -> bool:
    if given.kind in "Mm":  # NumPy calls days to nanoseconds safe, although they can overflow
        return False
    if given.kind in "iu" and wanted.isbuiltin == 2:
        return False
    if given.kind in "iu" and wanted.kind in "fc":  # NumPy also calls int64 to float64 safe
        return 8 * given.itemsize <= np.finfo(wanted).nmant + 1
    return np.can_cast(given, wanted)


def _refuse_changes(given: Pixels, found: Pixels, casting: Casting) -> None:
    # Piece by piece, so that the comparison of a large array needs no second one of its size.
    pieces = np.nditer(
        (given, found),
        ("external_loop", "buffered", "zerosize_ok"),
        order="C",
        buffersize=_AT_ONCE,
    )
    start = 0
    for before, after in pieces:
        changed = _find_changes(before, after, rounds=casting == "same_kind")
        if changed.any():
            first = int(changed.argmax())
            rounding = not _find_changes(
                before[first : first + 1], after[first : first + 1], rounds=True
            ).any()
            place = [int(i) for i in np.unravel_index(start + first, given.shape)]
            remedy = "same_kind' to round" if rounding else "unsafe' to allow this"
            raise UnsupportedDataError(
                f"{given.dtype} does not convert to {found.dtype} exactly: the element at {place} "
                f"is {before[first]} and would become {after[first]}; pass casting='{remedy}"
            )
        start += len(changed)


def _find_changes(given: Pixels, found: Pixels, *, rounds: bool) -> NDArray[np.bool_]:
    """Return a mask of the elements that have changed."""
    # Converting back is not enough: -1 becomes 2**64 - 1 in uint64, and is -1 again afterwards.
    kinds = _kind(given.dtype), _kind(found.dtype)
    if "c" in kinds:
        imaginary = (
            _find_changes(given.imag, found.imag, rounds=rounds)
            if kinds[1] == "c"
            else given.imag != 0
        )
        return _find_changes(given.real, found.real, rounds=rounds) | imaginary
    changed: NDArray[np.bool_]
    if rounds and kinds[1] == "f":
        changed = np.isinf(found) & ~np.isinf(given)
        return changed
    back = found.astype(given.dtype)
    changed = back != given
    if kinds == ("f", "f"):
        changed &= ~(np.isnan(back) & np.isnan(given))
    elif kinds in (("M", "M"), ("m", "m")):
        changed &= ~(np.isnat(back) & np.isnat(given))
    elif kinds[0] in "iu" and kinds[1] in "iu":
        changed |= (given < 0) != (found < 0)
    elif kinds[0] in "iu" and kinds[1] == "f":
        # 2**63 - 1 rounds up to 2**63. On ARM the way back saturates, and hides that.
        changed |= ~(np.isfinite(found) & (found < _end(given.dtype)))
    elif kinds[0] == "f" and kinds[1] in "iu":
        # Outside of its range C leaves the result open, so that the way back proves nothing.
        start = np.float64(np.iinfo(found.dtype).min)
        changed |= ~((given >= start) & (given < _end(found.dtype)))
    return changed


def _kind(dtype: np.dtype[Value]) -> str:
    """Return NumPy's letter for a kind of dtypes, and "f" for bfloat16 and float8."""
    return "f" if dtype.isbuiltin == 2 and is_extended(dtype.name) else dtype.kind


def _end(dtype: np.dtype[Value]) -> np.float64:
    """Return the smallest integer above the range of an integer type, as an exact float."""
    return np.float64(2.0 ** (8 * dtype.itemsize - (dtype.kind == "i")))
