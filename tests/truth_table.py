"""Rules for the way in which each framework and place treats a type and a layout.

These few tables give the expectation for each cell of ``test_truth_table.py``, and the tables of
``docs/frameworks.md``. If you change a rule here, both follow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import ml_dtypes
import numpy as np

from polystore.errors import CopyRequiredError, DataError, UnsupportedDataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

NARROW = (
    *("bool", "int8", "int16", "int32", "uint8", "uint16", "uint32"),
    *("float16", "float32", "complex64"),
)
WIDE = ("int64", "uint64", "float64", "complex128")
EXTENDED = ("bfloat16", "float8_e4m3fn", "float8_e5m2")
DTYPES = (*NARROW, *WIDE, *EXTENDED)

LAYOUTS = {
    "contiguous": "C order, at a multiple of 64 bytes",
    "offset": "C order, at another address",
    "strided": "strided, such as `a[:, ::2]`",
    "fortran": "Fortran order",
    "negative": "negative strides, such as `a[::-1]`",
    "read-only": "read-only",
    "big-endian": "big-endian",
    "unaligned": "not aligned to its own elements",
    "broadcast": "broadcast",
    "0-d": "0-d",
    "empty": "empty",
}
FRAMEWORKS = {
    "numpy": "NumPy",
    "torch": "PyTorch",
    "jax": "JAX",
    "jax without x64": "JAX without x64",
    "tensorflow": "TensorFlow",
    "cupy": "CuPy",
}
PLACES = {
    "npy": ("disk", "a.npy", "`.npy`"),
    "npz": ("disk", "a.npz", "`.npz`"),
    "tif": ("disk", "a.tif", "`.tif`"),
    "zarr": ("zarr", "a.zarr", "zarr"),
    "memory": ("memory", "a", "memory"),
}

# ── places ───────────────────────────────────────────────────────────────────────────────

_NO_NAME = r"NumPy does not have {}: save it as \.safetensors, .*float32"
_NOT_OF_NUMPY = dict.fromkeys(EXTENDED, _NO_NAME)
REFUSED: dict[str, dict[str, str]] = {
    "npy": _NOT_OF_NUMPY,
    "npz": _NOT_OF_NUMPY,
    "tif": {
        **_NOT_OF_NUMPY,
        "0-d": r"at least 2 dimensions, .* save value\[None\], or save it as \.npy",
        "empty": r"at least one pixel, .* save it as \.npy",
    },
    "zarr": {},
    "memory": {},
}
"""Types and layouts that a place refuses, and the text of the error."""

KEPT = {
    "npy": {"fortran", "big-endian", "0-d", "empty"},
    "npz": {"fortran", "big-endian", "0-d", "empty"},
    "tif": {"big-endian"},
    "zarr": {"big-endian", "0-d", "empty"},
    "memory": set(LAYOUTS),  # with copy="never"
}
"""Layouts that load as they were saved. All others are stored in C order."""

# ── frameworks ───────────────────────────────────────────────────────────────────────────

ON_GPU = {"cupy"}
"""Frameworks whose arrays are never in host memory. The page omits them: no GPU has run them."""

LACKS: dict[str, dict[str, str]] = {
    "cupy": dict.fromkeys(EXTENDED, "cupy does not have dtype {}: pass dtype="),
    "jax without x64": dict.fromkeys(WIDE, "JAX would narrow .*jax_enable_x64.* dtype="),
}
"""Types that a framework does not have, and the text of the error."""

IMMUTABLE = {"jax", "jax without x64", "tensorflow"}
"""Frameworks that share only memory that no other array uses."""

_IMMUTABLE_TAKES = {"contiguous", "0-d", "empty"}
TAKES = {
    "numpy": set(LAYOUTS),
    "torch": {"contiguous", "offset", "strided", "fortran", "0-d", "empty"},
    **dict.fromkeys(IMMUTABLE, _IMMUTABLE_TAKES),
    "cupy": set(),
}
"""Layouts that a framework takes from NumPy without a copy."""

WHY = {
    "offset": "64 bytes",
    "strided": "not C-contiguous",
    "fortran": "not C-contiguous",
    "negative": "negative strides",
    "read-only": "read-only",
    "big-endian": "byte order",
    "unaligned": "not aligned",
    "broadcast": "read-only",
}
"""The text of ``CopyRequiredError`` for a layout."""

GIVES_COPIES = {"tensorflow": set(EXTENDED), "cupy": set(DTYPES)}
"""Types of arrays that NumPy cannot read in place."""


DECODED = {"tif": {"bool"}}
"""Types that are not read into place, because the decoder sets the address."""


class Cell(NamedTuple):
    """An outcome: "zero-copy", "copy", "zero-copy or error", "error", or "absent"."""

    fate: str
    error: type[DataError] = DataError
    reason: str = ""


ABSENT, SHARED, COPIED = Cell("absent"), Cell("zero-copy"), Cell("copy")


def needs_copy(reason: str) -> Cell:
    return Cell("error", CopyRequiredError, reason)


def find_refusal(place: str, dtype: str, layout: str) -> Cell | None:
    """Return the error of saving in ``place``, if there is one."""
    rules = REFUSED[place]
    reason = rules.get(dtype) or rules.get(layout)
    return reason and Cell("error", UnsupportedDataError, reason.format(dtype))  # type: ignore[return-value]


def same_as(dtype: str, layout: str) -> str:
    """Return the equivalent layout. Single bytes, for example, are always aligned."""
    element = numpy_dtype(dtype)
    if layout == "unaligned" and element.itemsize == 1:
        return "offset"
    if layout == "big-endian" and element.newbyteorder(">").isnative:
        return "contiguous"
    return layout


def keeps(place: str, dtype: str, layout: str) -> bool:
    """Return whether the layout is loaded as it was saved."""
    if place == "zarr" and layout == "big-endian" and dtype in EXTENDED:
        return False  # Zarr's names of these types have no byte order
    return layout in KEPT[place]


def expect_reading(framework: str, dtype: str) -> Cell:
    """Return how NumPy reads an array of ``framework``, as the first step of saving."""
    if dtype in LACKS.get(framework, {}):
        return ABSENT
    return COPIED if dtype in GIVES_COPIES.get(framework, ()) else SHARED


def expect_handing(framework: str, dtype: str, layout: str, copy: str, *, donate: bool) -> Cell:
    """Return how ``framework`` takes an array of NumPy."""
    if framework in ON_GPU and copy == "never":
        return needs_copy("move to a GPU")
    if reason := LACKS.get(framework, {}).get(dtype):
        return Cell("error", UnsupportedDataError, reason.format(dtype))
    layout = same_as(dtype, layout)
    takes = layout in TAKES[framework]
    why = WHY.get(layout, "")
    if framework in IMMUTABLE and dtype in EXTENDED:
        takes, why = False, why if layout in ("negative", "big-endian", "read-only") else "."
    if copy == "never":
        return SHARED if takes else needs_copy(why)
    is_given = donate or framework not in IMMUTABLE
    return SHARED if takes and is_given else COPIED


def expect_loading(framework: str, dtype: str, layout: str, place: str, copy: str) -> Cell:
    """Return how an array of NumPy in ``place`` is loaded as ``framework``."""
    # Only NumPy has read-only views of shared arrays.
    if place == "memory":
        stored = layout if layout in ("negative", "big-endian") else "read-only"
        stored = "read-only" if same_as(dtype, stored) == "contiguous" else stored
        cell = expect_handing(framework, dtype, stored, copy, donate=False)
        return COPIED if copy == "auto" and cell.fate != "error" else cell
    found = same_as(dtype, layout) if keeps(place, dtype, layout) else "contiguous"
    cell = expect_handing(framework, dtype, found, copy, donate=True)
    if framework in IMMUTABLE and cell == SHARED and dtype in DECODED.get(place, ()):
        return Cell("zero-copy or error", CopyRequiredError, WHY["offset"])
    return cell


# ── arrays ───────────────────────────────────────────────────────────────────────────────


def numpy_dtype(name: str) -> np.dtype[Any]:
    return np.dtype(getattr(ml_dtypes, name, name))


def make_memory(nbytes: int, offset: int = 0) -> NDArray[np.uint8]:
    """Return memory that begins ``offset`` bytes after a multiple of 64."""
    found = np.zeros(nbytes + 128, np.uint8)
    start = -found.ctypes.data % 64 + offset
    return found[start : start + nbytes]


def array_of(dtype: str, layout: str) -> NDArray[Any]:
    """Return an array of 2 by 4 elements, or of fewer."""
    element = numpy_dtype(dtype)
    if layout == "big-endian":
        element = element.newbyteorder(">")
    start = {"offset": 16, "unaligned": 1}.get(layout, 0)
    line = make_memory(16 * element.itemsize, start).view(element)
    line[...] = np.arange(16).astype(element)
    array = line[:8].reshape(2, 4)
    if layout == "strided":
        return line.reshape(2, 8)[:, ::2]
    if layout == "fortran":
        return line[:8].reshape(4, 2).T
    if layout == "negative":
        return array[::-1]
    if layout == "broadcast":
        return np.broadcast_to(line[:4], (2, 4))
    if layout == "0-d":
        return line[:1].reshape(())
    if layout == "empty":
        return line[:0].reshape(0, 4)
    array.flags.writeable = layout != "read-only"
    return array


def to_native(array: NDArray[Any]) -> NDArray[Any]:
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


# ── the page ─────────────────────────────────────────────────────────────────────────────


def tables() -> dict[str, str]:
    """Return the tables of the page."""
    shown = {name: title for name, title in FRAMEWORKS.items() if name not in ON_GPU}
    plain = {name: title for name, title in shown.items() if "x64" not in name}
    types = {
        dtype: [
            *("error" if dtype in REFUSED[place] else "yes" for place in PLACES),
            *("error" if dtype in LACKS.get(name, {}) else "yes" for name in list(shown)[1:]),
        ]
        for dtype in DTYPES
    }
    stored = {
        title: [
            "error" if name in REFUSED[place] else "kept" if name in KEPT[place] else "C order"
            for place in PLACES
        ]
        for name, title in LAYOUTS.items()
    }
    reads = {
        title: [expect_reading(name, dtype).fate for dtype in ("uint16", "bfloat16")]
        for name, title in plain.items()
    }
    taken = {
        title: [
            expect_handing(name, "uint16", layout, "auto", donate=True).fate for name in plain
        ]
        for layout, title in LAYOUTS.items()
    }
    places = [title for _, _, title in PLACES.values()]
    return {
        "types": _table(["", *places, *list(shown.values())[1:]], types),
        "stored": _table(["", *places], stored),
        "read": _table(["", "types of NumPy", "bfloat16, float8"], reads),
        "taken": _table(["", *plain.values()], taken),
    }


def _table(header: list[str], rows: dict[str, list[str]]) -> str:
    """Return a table that merges equal rows."""
    names: dict[tuple[str, ...], list[str]] = {}
    for name, row in rows.items():
        names.setdefault(tuple(row), []).append(name)
    between = "; " if any("," in name for name in rows) else ", "
    lines = [header, ["---"] * len(header)]
    lines += [[between.join(found), *row] for row, found in names.items()]
    return "\n".join(f"| {' | '.join(line)} |".replace("|  |", "| |") for line in lines)
