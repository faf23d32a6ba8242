"""Differences between a value and its copy."""

from typing import Any

import numpy as np
import pytest

from polystore_core import Image, LazyArray, Pixels
from polystore_core.model import equality
from polystore_core.model.equality import difference

PIXELS = np.arange(24, dtype="u2").reshape(2, 3, 4)


class Handle(LazyArray):
    """Counts the elements that are read."""

    def __init__(self, array: Pixels, chunks: tuple[int, ...] | None = None) -> None:
        self.array, self.chunks, self.read = array, chunks, 0
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, region: Any) -> Pixels:
        part = self.array[region]
        self.read += part.size
        return part


@pytest.mark.parametrize(
    "value",
    [
        PIXELS,
        PIXELS[:, ::-1],
        PIXELS[:0],
        np.array(3.5),
        np.array([np.nan, -0.0, np.inf], dtype="f4"),
        np.array([1 + 2j, np.nan], dtype="c16"),
        np.array(["a", "bcd"]),
        np.array([(1, 2.5)], dtype=[("a", "i2"), ("b", "f8")]),
        np.array([1.5], dtype=np.longdouble),
        {"a": [1, None, float("nan")], "b": {"c": PIXELS}},
        "text",
        b"bytes",
        [1, (2, 3)],
    ],
)
def test_equal(value: Any) -> None:
    copy = value.copy() if isinstance(value, np.ndarray) else value
    assert difference(copy, value) == ""


@pytest.mark.parametrize(
    ("found", "expected", "message"),
    [
        (PIXELS, PIXELS[0], r"the shape is (2, 3, 4), not (3, 4)"),
        (PIXELS, PIXELS.astype("i2"), "the dtype is uint16, not int16"),
        (PIXELS, PIXELS + (PIXELS == 17), "the values differ, first at index (1, 1, 1)"),
        (np.array([0.0]), np.array([-0.0]), "the values differ, first at index (0,)"),
        (np.array([1 + 2j]), np.array([1 + 3j]), "the values differ, first at index (0,)"),
        (np.array(["ab"]), np.array(["ax"]), "the values differ, first at index (0,)"),
        (np.array(2), np.array(3), "the values differ, first at index ()"),
        (
            np.zeros(3, dtype=[("a", "i2"), ("b", "f8")]),
            np.array([(0, 0), (0, 2), (1, 0)], dtype=[("a", "i2"), ("b", "f8")]),
            "the values differ, first at index (1,)",
        ),
        (PIXELS, "text", "the values differ"),
        ({"a": 1}, {"a": 1, "b": 2}, "the values differ"),
        ({"a": PIXELS}, {"a": PIXELS + 1}, "the values differ"),
        ([1], [1, 2], "the values differ"),
        (1, True, "the values differ"),
    ],
)
def test_difference_is_described(found: Any, expected: Any, message: str) -> None:
    assert difference(found, expected) == message


def test_byte_order_does_not_count() -> None:
    assert difference(PIXELS.astype(">u2"), PIXELS) == ""


def test_samples_may_be_channels() -> None:
    rgb = Image.of(np.arange(36, dtype="u1").reshape(3, 4, 3), axes="yxs")
    planes = Image.of(np.moveaxis(rgb.data, -1, 0), axes="cyx")
    assert difference(planes, rgb) == difference(rgb, planes) == ""
    assert difference(planes.data, rgb).startswith("the shape is (3, 3, 4)")
    lazy = Image(Handle(planes.data), planes.metadata)
    assert difference(lazy, rgb) == ""


def test_axes_may_be_in_another_order() -> None:
    array = np.arange(120, dtype="u2").reshape(1, 2, 3, 4, 5)
    image = Image.of(array, axes="tczyx")
    moved = image.transpose("tzcyx")
    assert difference(moved, image) == difference(image, moved) == ""
    changed = image.with_data(array + (array == 119)).transpose("tzcyx")
    assert difference(changed, image) == "the values differ, first at index (0, 1, 2, 3, 4)"


@pytest.mark.parametrize("chunks", [None, (1, 2, 2), (2, 3, 4)])
def test_handles_are_read_once(monkeypatch: pytest.MonkeyPatch, chunks: Any) -> None:
    monkeypatch.setattr(equality, "_BLOCK", 16)
    one, other = Handle(PIXELS, chunks), Handle(PIXELS.copy())
    assert difference(one, other) == ""
    assert (one.read, other.read) == (24, 24)
    other.array[1, 2, 3] = 99
    assert difference(one, other) == "the values differ, first at index (1, 2, 3)"


def test_dask_arrays_are_read() -> None:
    dask = pytest.importorskip("dask.array", reason="Dask is not installed")
    assert difference(PIXELS, dask.from_array(PIXELS, chunks=2)) == ""


@pytest.mark.parametrize("grid", [(1, 1, 1), (2, 5, 3), (7, 7, 7)])
def test_blocks_cover_all(monkeypatch: pytest.MonkeyPatch, grid: tuple[int, ...]) -> None:
    monkeypatch.setattr(equality, "_BLOCK", 64)
    seen = np.zeros((5, 7, 11), dtype=int)
    for region in equality._blocks(seen.shape, 2, grid):
        seen[region] += 1
    assert (seen == 1).all()
