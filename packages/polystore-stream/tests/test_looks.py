"""The defaults of a new layer: display limits, the range of their slider, names."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from polystore_stream.viewers.looks import (
    Limits,
    choose_range,
    find_bits,
    find_limits,
    name_layer,
)
from polystore_stream.wire.messages import Image


def find_sample_limits(plane) -> tuple[float, float] | None:
    """Compute the limits by the text of the rule, with sorting."""
    height, width = plane.shape
    step = 1
    while math.ceil(height / step) * math.ceil(width / step) > 16384:
        step += 1
    numbers = sorted(n for n in plane[::step, ::step].ravel().tolist() if math.isfinite(n))
    cut = len(numbers) // 1000
    if numbers and numbers[cut] < numbers[-1 - cut]:
        return numbers[cut], numbers[-1 - cut]
    finite = [n for n in plane.ravel().tolist() if math.isfinite(n)]
    return (min(finite), max(finite)) if finite else None


@pytest.mark.parametrize(
    "shape", [(1, 1), (128, 128), (129, 128), (300, 200), (1, 40_000), (1001, 3)]
)
@pytest.mark.parametrize("dtype", ["u1", "i2", "u8", "f2", "f4", "f8"])
def test_limits_are_those_of_the_sample(shape: tuple[int, int], dtype: str) -> None:
    plane = np.random.default_rng(1).normal(60, 15, shape).astype(dtype)
    if plane.dtype.kind == "f":
        plane.flat[[0, -1, plane.size // 2, plane.size // 3]] = np.nan, np.inf, -np.inf, 5
    assert find_limits(plane) == find_sample_limits(plane)


@pytest.mark.parametrize("value", [0, 7])
def test_sample_without_contrast_is_not_enough(value: int) -> None:
    """Limits include a few pixels in an otherwise constant plane."""
    plane = np.full((512, 512), value, "u2")
    plane[1, 1] = 900
    assert find_limits(plane) == (value, 900)
    plane[1, 1] = value
    assert find_limits(plane) == (value, value)


def test_no_finite_pixel_gives_no_limits() -> None:
    plane = np.full((3, 4), np.nan)
    assert find_limits(plane) is None
    for known in (Limits(), Limits(1.0, 2.0)):
        assert known.with_planes(plane) == known


def test_limits_cover_all_planes() -> None:
    """Each plane of a volume counts by itself, in any order."""
    volume = np.zeros((2, 3, 40, 50), "i2")
    volume[0, 1] = 70
    volume[1, 2, :, 0] = -5
    whole = Limits().with_planes(volume)
    assert whole == Limits(-5.0, 70.0)
    assert Limits().with_planes(volume[1]).with_planes(volume[0]) == whole


@pytest.mark.parametrize(
    ("limits", "bits", "expected"),
    [
        (Limits(), 12, (0, 1)),
        (Limits(3.0, 9.0), 12, (3, 9)),
        (Limits(7.0, 7.0), None, (0, 7)),
        (Limits(-7.0, -7.0), None, (-7, 0)),
        (Limits(0.0, 0.0), None, (0, 1)),
        (Limits(0.0, 0.0), 12, (0, 4095)),
        (Limits(7.0, 7.0), 12, (0, 4095)),
    ],
)
def test_limits_are_never_equal(limits: Limits, bits: int | None, expected) -> None:
    assert limits.pair(bits) == expected


@pytest.mark.parametrize(
    ("limits", "dtype", "bits", "data_range", "expected"),
    [
        ((3, 90), "|u1", None, None, (0, 255)),
        ((-3, 90), "|i1", None, None, (-128, 127)),
        ((0, 1), "|b1", None, None, (0, 1)),
        ((100, 900), "<u2", None, None, (0, 1700)),
        ((60000, 65000), "<u2", None, None, (55000, 65535)),
        ((0.0, 0.5), "<f4", None, None, (-0.5, 1.0)),
        ((0.0, 1e307), "<f8", None, None, (-1e307, 2e307)),
        ((-1.79e308, 5.0), "<f8", None, None, (-1.79e308, 5.0)),
        ((100, 900), "<u2", 12, None, (0, 4095)),
        ((100, 9000), "<u2", 12, None, (0, 9000)),
        ((100, 900), "<u2", 12, (50, 5000), (50, 5000)),
        ((100, 900), "<u2", None, (200, 200), (100, 900)),
    ],
)
def test_range_contains_limits(limits, dtype: str, bits, data_range, expected) -> None:
    assert choose_range(limits, dtype, bits, data_range) == expected


@pytest.mark.parametrize(
    ("words", "dtype", "bits"),
    [
        (json.dumps({"bits": 12}), "<u2", 12),
        (json.dumps({"bits": 12}), "<f4", None),
        (json.dumps({"bits": True}), "<u2", None),
        (json.dumps({"bits": 10**9}), "<u2", None),
        ("{}", "<u2", None),
        ("[]", "<u2", None),
        ("{", "<u2", None),
        ("", "<u2", None),
    ],
)
def test_bits_are_read(words: str, dtype: str, bits: int | None) -> None:
    """Metadata from other programs may be wrong. Wrong bits are ignored."""
    item = Image(path="a", nbytes=4, shape=(1, 2), dtype=dtype, axes="yx", words=words)
    assert find_bits(item) == bits


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({}, "B03/0"),
        ({"channel": "DNA"}, "B03/0 DNA"),
        ({"channel": "DNA", "number": 1}, "B03/0 DNA"),
        ({"number": 0}, "B03/0 0"),
        ({"labels": True}, "B03/0 labels"),
        ({"labels": True, "channel": "DNA"}, "B03/0 labels"),
    ],
)
def test_names_of_layers(options, name: str) -> None:
    assert name_layer("B03/0", **options) == name


def test_channel_is_named_once() -> None:
    assert name_layer("DNA", channel="DNA", number=0) == "DNA"


@pytest.mark.parametrize("pixels", [(-1.79e308, 5), (-1.7e308, 1.7e308), (0, 1.7e308)])
def test_range_is_finite(pixels: tuple[float, float]) -> None:
    """Missing data is often the lowest float. The slider stays finite."""
    limits = Limits().with_planes(np.array([pixels])).pair()
    low, high = choose_range(limits, "<f8")
    assert limits[0] < limits[1]
    assert low <= limits[0] <= limits[1] <= high
    assert math.isfinite(high - low)
