import math
from typing import Any

import numpy as np
import pytest

from polystore_core import to_framework, to_numpy
from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.model.casting import CASTING, convert

NUMBERS = "?bBhHiIlLqQefdgFDG"
"""The characters of NumPy for all types of numbers."""

EDGES = [
    0,
    1,
    -1,
    2,
    127,
    128,
    -128,
    -129,
    255,
    256,
    300,
    2047,
    2049,
    65504,
    65535,
    65536,
    -32769,
    2**24,
    2**24 + 1,
    2**31 - 1,
    2**31,
    -(2**31),
    -(2**31) - 1,
    2**32,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    -(2**63),
    2**64 - 1,
    0.5,
    1.7,
    -0.0,
    1e-300,
    1e300,
    3.4e38,
    3.5e38,
    math.inf,
    -math.inf,
    math.nan,
    1j,
    1 + 0j,
    complex(1, math.nan),
    complex(math.nan, 1),
]


def samples(dtype: np.dtype[Any]) -> list[Any]:
    """Return the scalars of ``dtype`` that the edges give without a wrapping cast."""
    found = []
    for edge in EDGES:
        if isinstance(edge, complex) and dtype.kind != "c":
            continue
        if dtype.kind in "biu":
            low, high = (0, 1) if dtype.kind == "b" else _limits(dtype)
            if not (math.isfinite(edge) and edge == int(edge) and low <= edge <= high):
                continue
            edge = int(edge)
        with np.errstate(all="ignore"):
            array = np.array([edge])
            found.append(
                np.array([edge], dtype) if dtype.kind in "biu" else array.astype(dtype)
            )
    return found


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    return int(np.iinfo(dtype).min), int(np.iinfo(dtype).max)


def python_value(array: Any) -> Any:
    """Return the only element as a number of Python, which has no size limit if it is whole."""
    if array.dtype.kind == "c":
        return python_value(array.real), python_value(array.imag)
    if array.dtype.char == "g" and np.isfinite(array[0]):
        numerator, denominator = array[0].as_integer_ratio()
        return numerator if denominator == 1 else (numerator, denominator, "fraction")
    value = array[0].item()
    if isinstance(value, float) and math.isfinite(value):
        numerator, denominator = value.as_integer_ratio()
        return numerator if denominator == 1 else (numerator, denominator, "fraction")
    if isinstance(value, int):
        return int(value)
    return "nan" if math.isnan(float(value)) else float(value)


def parts(array: Any) -> tuple[Any, Any]:
    value = python_value(array)
    return value if array.dtype.kind == "c" else (value, 0)


@pytest.mark.parametrize("source", NUMBERS)
@pytest.mark.parametrize("target", NUMBERS)
def test_numbers_are_equal_or_refused(source: str, target: str) -> None:
    """Numbers are compared as Python numbers, which neither wrap nor round."""
    for given in samples(np.dtype(source)):
        with np.errstate(all="ignore"):
            real = given.real if np.dtype(target).kind in "biuf" else given
            cast = real.astype(target)
        if parts(cast) == parts(given):
            found = convert(given, np.dtype(target))
            assert (found.dtype, parts(found)) == (target, parts(given))
        else:
            with pytest.raises(UnsupportedDataError) as caught:
                convert(given, np.dtype(target))
            assert f"at [0] is {given[0]}" in str(caught.value)


@pytest.mark.parametrize(
    "array",
    [
        np.array([True, False]),
        np.arange(256, dtype="u1"),
        np.array([1, np.nan, np.inf, -0.0], "f2"),
        np.array(["A01", "B"]),
        np.array([b"A01", b"B"]),
        np.array(["2026-01-15", "NaT"], "M8[D]"),
        np.array([5, "NaT"], "m8[s]"),
        np.zeros(2, [("a", "i2")]),
        np.zeros((0, 3)),
        np.array(7),
    ],
    ids=lambda array: array.dtype.str,
)
def test_wider_type_holds_everything(array: Any) -> None:
    wider = {
        "b": "u1",
        "u": "f4",
        "f": "f8",
        "U": "U9",
        "S": "S9",
        "M": "M8[us]",
        "m": "m8[us]",
        "V": [("a", "i4")],
        "i": "i8",
    }[array.dtype.kind]
    found = convert(array, np.dtype(wider))
    assert (found.dtype, found.shape) == (wider, array.shape)
    np.testing.assert_array_equal(found.astype(array.dtype), array)
    assert not np.shares_memory(found, array)


@pytest.mark.parametrize(
    ("array", "dtype", "message"),
    [
        (np.array([[3, 300]], "i4"), "u1", r"at \[0, 1\] is 300 and would become 44"),
        (np.array([1, -1], "i8"), "u8", r"at \[1\] is -1"),
        (np.array([2.0, 1.7]), "i4", r"at \[1\] is 1\.7 and would become 1"),
        (np.array([np.nan], "f4"), "u1", r"at \[0\] is nan"),
        (np.array([np.inf], "f2"), "i8", r"at \[0\] is inf"),
        (np.array(-np.inf, "f2"), "i8", r"at \[\] is -inf"),
        (np.array([1, 2]), "?", r"at \[1\] is 2 and would become True"),
        (np.array([1j]), "f8", r"at \[0\] is 1j and would become 0\.0"),
        (np.array([complex(np.nan, 5)]), "f8", "would become nan"),
        (np.array([2**53 + 1]), "f8", "casting='same_kind' to round"),
        (np.array([2**63 - 1]), "f8", "casting='same_kind' to round"),
        (np.array([0.1]), "f4", "casting='same_kind' to round"),
        (np.array([1e300]), "f4", "would become inf; pass casting='unsafe' to allow this"),
        (np.array([70000]), "f2", "would become inf; pass casting='unsafe' to allow this"),
        (np.array(["A01"]), "U2", "would become A0"),
        (np.array(["2026-01-15T09"], "M8[h]"), "M8[D]", "would become 2026-01-15"),
        (np.array(["9999-01-01"], "M8[D]"), "M8[ns]", "9999-01-01|Overflow"),
        (np.array(["NaT"], "m8[s]"), "i8", "does not convert to int64 exactly"),
        (np.array(["12"]), "i2", "does not convert to int16 exactly"),
        (np.zeros(2, [("a", "i4"), ("b", "i4")]), "i2", "does not convert to int16 exactly"),
    ],
)
def test_change_is_refused_by_name(array: Any, dtype: str, message: str) -> None:
    with pytest.raises(UnsupportedDataError, match=message):
        convert(array, np.dtype(dtype))


@pytest.mark.parametrize("place", [(0, 0, 0), (1, 2, 3), (0, 299, 0), (2, 150, 349)])
@pytest.mark.parametrize("arrange", [lambda a: a, lambda a: a.T, lambda a: a[::-1, ::-1]])
def test_first_changed_element_is_named(place: Any, arrange: Any) -> None:
    values = np.zeros((3, 300, 350), "u2")  # More elements than are compared at once.
    values[place] = values[2, 299, 349] = 1000
    array = arrange(values)
    first = [int(index) for index in np.argwhere(array)[0]]
    with pytest.raises(UnsupportedDataError, match="would become 232") as caught:
        convert(array, np.dtype("u1"))
    assert f"at {first} is 1000" in str(caught.value)


def test_same_kind_rounds_but_never_overflows() -> None:
    array = np.array([0.1, 1e-300, np.nan, np.inf, -np.inf])
    found = convert(array, np.dtype("f4"), "same_kind")
    np.testing.assert_array_equal(found, np.array([0.1, 0, np.nan, np.inf, -np.inf], "f4"))
    assert convert(np.array([2**53 + 1]), np.dtype("f8"), "same_kind")[0] == 2**53
    for value, dtype in ((1e300, "f4"), (70000, "f2"), (300, "u1"), (1.5, "i4"), (1j, "f4")):
        with pytest.raises(UnsupportedDataError, match="casting='unsafe' to allow this"):
            convert(np.array([value]), np.dtype(dtype), "same_kind")


@pytest.mark.parametrize(
    ("array", "dtype", "expected"),
    [
        (np.array([300, -5]), "u1", [44, 251]),
        (np.array([1.7, -1.7]), "i4", [1, -1]),
        (np.array([1e300]), "f4", [np.inf]),
        (np.array([1 + 2j]), "f4", [1]),
        (np.array([1 + 2j]), "i4", [1]),
        (np.array(["12"]), "i2", [12]),
    ],
)
def test_unsafe_is_astype(array: Any, dtype: str, expected: Any) -> None:
    assert convert(array, np.dtype(dtype), "unsafe").tolist() == expected


def test_unsafe_cannot_do_everything() -> None:
    with pytest.raises(
        UnsupportedDataError, match="does not convert to int16: invalid literal"
    ):
        convert(np.array(["x"]), np.dtype("i2"), "unsafe")


@pytest.mark.parametrize("casting", ["safe", "exactly", None, True])
def test_unknown_casting_refused(casting: Any) -> None:
    with pytest.raises(InvalidOptionError, match=", ".join(CASTING)):
        convert(np.zeros(3), np.dtype("f4"), casting)
    with pytest.raises(InvalidOptionError, match=", ".join(CASTING)):
        to_framework(np.zeros(3), "numpy", casting=casting)


@pytest.mark.frameworks
@pytest.mark.parametrize("name", ["torch", "jax", "tensorflow"])
def test_frameworks_convert_exactly(require: Any, name: str) -> None:
    require(name)
    array = np.array([300.0, 0.5])
    with pytest.raises(UnsupportedDataError, match=r"at \[0\] is 300\.0"):
        to_framework(array, name, dtype="u1")
    found = to_numpy(to_framework(array, name, dtype="u1", casting="unsafe"))
    assert (found.dtype, found.tolist()) == ("u1", [44, 0])
    assert to_numpy(to_framework(array, name, dtype="f4")).tolist() == [300, 0.5]
