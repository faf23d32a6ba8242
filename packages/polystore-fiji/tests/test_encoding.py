"""What ImageJ has no type for is equal after its conversion, or refused: nothing is rounded."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, from_dtype

from polystore.errors import UnsupportedDataError
from polystore.rois import ROI, Ellipse
from polystore_fiji.encoding import FijiEncoding, original_pixels
from polystore_stream.messages import DTYPES

SHOWN = {"|u1", "<u2", "<f4"}
KNOWN = sorted(DTYPES)
EDGES = [0, 1, 255, 256, 65535, 65536, 2**24, 2**24 + 1, 2**31 - 1, 2**32 - 1, 2**53, 2**53 + 1,
         2**63 - 1, 2**63, 2**64 - 1]  # fmt: skip


@st.composite
def images(draw: st.DrawFn) -> Any:
    dtype = np.dtype(draw(st.sampled_from(KNOWN)))
    elements = from_dtype(dtype)
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        numbers = [n for edge in EDGES for n in (edge, -edge) if limits.min <= n <= limits.max]
        elements = st.one_of(elements, st.sampled_from(numbers))
    shape = draw(array_shapes(min_dims=2, max_dims=3, max_side=3))
    return draw(arrays(dtype, shape, elements=elements))


@given(images(), st.booleans())
def test_nothing_is_rounded(pixels: Any, labels: bool) -> None:
    """Whatever is sent is of a type of ImageJ's, and comes back equal, bit by bit."""
    labels = labels and pixels.dtype.kind in "biu"
    numbers = [int(n) if pixels.dtype.kind in "iu" else float(n) for n in pixels.flat]
    fits = labels and all(0 <= n <= 65535 for n in numbers)
    with np.errstate(over="ignore"):  # as Python compares them, of any size
        is_exact = all(float(np.float32(n)) == n or n != n for n in numbers)
    if not fits and not is_exact:
        assert pixels.dtype.str in {"<i4", "<u4", "<i8", "<u8", "<f8"}
        with pytest.raises(UnsupportedDataError, match="round them with image"):
            FijiEncoding().pixels(pixels, "zyx"[-pixels.ndim :], labels)
        return
    sent = FijiEncoding().pixels(pixels, "zyx"[-pixels.ndim :], labels)
    assert sent.dtype.str in SHOWN
    assert sent.shape == pixels.shape
    back = original_pixels(sent, pixels.dtype.str)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)
    if pixels.dtype.kind == "f":
        assert np.array_equal(np.signbit(back), np.signbit(pixels))


@pytest.mark.parametrize("dtype", sorted(SHOWN))
def test_same_types_are_not_copied(dtype: str) -> None:
    """What ImageJ has is sent as it is."""
    pixels = np.ones((2, 3), dtype)
    assert FijiEncoding().pixels(pixels, "yx", False) is pixels


@pytest.mark.parametrize(
    ("value", "dtype", "labels", "shown"),
    [
        (True, "?", False, "|u1"),
        (-5, "i1", False, "<f4"),
        (-5, "i2", False, "<f4"),
        (0.5, "f2", False, "<f4"),
        (2**24, "i8", False, "<f4"),
        (0.5, "f8", False, "<f4"),
        (65535, "i8", True, "<u2"),
        (65536, "i8", True, "<f4"),
        (-1, "i4", True, "<f4"),
        (2**64 - 2**40, "u8", False, "<f4"),
    ],
)
def test_types_are_those_of_the_table(value: Any, dtype: str, labels: bool, shown: str) -> None:
    """Types are converted as the documentation says."""
    assert FijiEncoding().pixels(np.full((2, 2), value, dtype), "yx", labels).dtype.str == shown


def test_masks_are_ImageJs() -> None:
    """A mask is 0 and 255."""
    sent = FijiEncoding().pixels(np.array([[True, False]]), "yx", False)
    assert sent.tolist() == [[255, 0]]
    assert original_pixels(np.array([[255, 0, 7]], "u1"), "|b1").tolist() == [
        [True, False, True]
    ]


@pytest.mark.parametrize("value", [2**64 - 1, 2**63 + 1, 2**53 + 1, 2**24 + 1])
def test_large_integers_are_refused(value: int) -> None:
    """An integer that float has not is refused, also next to the limits of its type."""
    with pytest.raises(UnsupportedDataError, match=r"uint64.*rescale them to uint16"):
        FijiEncoding().pixels(np.array([[value]], "u8"), "yx", False)


def test_colors_of_other_types_are_refused() -> None:
    """RGB is of uint8."""
    with pytest.raises(UnsupportedDataError, match="axes='cyx'"):
        FijiEncoding().pixels(np.zeros((2, 2, 3), "u2"), "yxs", False)


def test_large_planes_are_refused() -> None:
    """A plane has no more pixels than an array of Java; nothing is copied to find that out."""
    plane = np.broadcast_to(np.zeros((), "u1"), (50_000, 50_000))
    colors = np.broadcast_to(plane[..., None], (50_000, 50_000, 3))
    for pixels, axes in ((plane, "yx"), (colors, "yxs")):
        with pytest.raises(UnsupportedDataError, match=r"50000 x 50000 pixels.*::2, ::2"):
            FijiEncoding().pixels(pixels, axes, False)


def test_conversion_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each pair of types is told once."""
    encoding = FijiEncoding()
    with caplog.at_level(logging.INFO, "polystore.fiji"):
        for _ in range(3):
            encoding.pixels(np.ones((2, 2), "i2"), "yx", False)
            encoding.pixels(np.ones((2, 2), "?"), "yx", False)
            encoding.pixels(np.ones((2, 2), "u2"), "yx", False)
    assert caplog.messages == [
        "images of int16 are shown by ImageJ as float32",
        "images of bool are shown by ImageJ as uint8",
    ]


def test_rois_are_counted() -> None:
    """Each ROI is a file of ImageJ's behind its length."""
    name, content = FijiEncoding().rois([ROI(Ellipse((3, 4), (5, 6)), "cell")] * 2)
    length = int.from_bytes(content[:4], "little")
    assert (name, len(content)) == ("imagej", 2 * (4 + length))
    assert content[4:8] == content[8 + length : 12 + length] == b"Iout"
    assert FijiEncoding().rois([]) == ("imagej", b"")
