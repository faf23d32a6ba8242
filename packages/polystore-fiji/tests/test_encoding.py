"""Pixels without a type in ImageJ are converted exactly, rounded on request, or refused."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays, from_dtype

from polystore_core.errors import InvalidOptionError, UnsupportedDataError
from polystore_core.rois import ROI, Composite, Ellipse, Mask, Polygon, Shape
from polystore_fiji.encoding import FijiEncoding
from polystore_stream.sending.remote import restore_dtype
from polystore_stream.wire.messages import DTYPES

IMAGEJ_TYPES = {"|u1", "<u2", "<f4"}
KNOWN = sorted(DTYPES)
EDGES = [
    0,
    1,
    255,
    256,
    65535,
    65536,
    2**24,
    2**24 + 1,
    2**31 - 1,
    2**32 - 1,
    2**53,
    2**53 + 1,
    2**63 - 1,
    2**63,
    2**64 - 1,
]


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
def test_sent_pixels_are_exact(pixels: Any, labels: bool) -> None:
    """Sent pixels have a type of ImageJ, and are equal bit by bit after their return."""
    labels = labels and pixels.dtype.kind in "biu"
    numbers = [int(n) if pixels.dtype.kind in "iu" else float(n) for n in pixels.flat]
    fits = labels and all(0 <= n <= 65535 for n in numbers)
    with np.errstate(over="ignore"):  # Python compares numbers of any size
        is_exact = all(float(np.float32(n)) == n or n != n for n in numbers)
    if not fits and not is_exact:
        assert pixels.dtype.str in {"<i4", "<u4", "<i8", "<u8", "<f8"}
        with pytest.raises(UnsupportedDataError, match="round them with"):
            FijiEncoding("exact").pixels(pixels, "zyx"[-pixels.ndim :], labels)
        return
    sent, original = FijiEncoding("exact").pixels(pixels, "zyx"[-pixels.ndim :], labels)
    assert original == pixels.dtype.str
    assert sent.dtype.str in IMAGEJ_TYPES
    assert sent.shape == pixels.shape
    back = restore_dtype(sent, original)
    assert back.dtype == pixels.dtype
    np.testing.assert_array_equal(back, pixels)
    if pixels.dtype.kind == "f":
        assert np.array_equal(np.signbit(back), np.signbit(pixels))


@pytest.mark.parametrize(
    ("shape", "axes", "reason"),
    [
        ((3_000_000, 2, 2), "zyx", "3000000 planes"),
        ((2048, 2048, 8, 8), "czyx", "4194304 planes"),
        ((1 << 20, 1 << 20, 1 << 20, 1, 1), "tczyx", "1152921504606846976 planes"),
        ((251, 1000, 2, 2, 3), "tzyxs", "251000 planes"),
        ((10_001, 2, 2), "cyx", "10001 channels"),
    ],
)
def test_too_many_planes_are_refused(shape: tuple[int, ...], axes: str, reason: str) -> None:
    """Too many planes for ImageJ are counted, and no plane is read."""
    pixels = np.broadcast_to(np.uint8(1), shape)
    with pytest.raises(
        UnsupportedDataError, match=f"has {reason}, but polystore shows at most"
    ):
        FijiEncoding().pixels(pixels, axes, False)


def test_most_planes_are_sent() -> None:
    """An image with exactly the highest number of planes is sent."""
    for shape, axes in (((250_000, 1, 1), "zyx"), ((25, 10_000, 1, 1), "tcyx")):
        pixels = np.broadcast_to(np.uint8(1), shape)
        assert FijiEncoding().pixels(pixels, axes, False)[0] is pixels


def star(corners: int) -> Polygon:
    """Return an outline whose edges cross each other very often."""
    return Polygon(np.random.default_rng(0).random((corners, 2)) * 1000)


def circle(corners: int) -> Polygon:
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return Polygon(np.stack((np.sin(angles), np.cos(angles)), axis=1) * 1000)


@pytest.mark.parametrize(
    "shapes",
    [
        [star(10_000)],
        [star(1000)] * 3,
        [Composite([star(2000)] * 2)],
        [Mask(np.indices((2048, 2048)).sum(axis=0) % 2 > 0)],
    ],
    ids=["one", "several", "composite", "mask"],
)
def test_crossing_outlines_are_refused(shapes: list[Shape]) -> None:
    """Outlines that ImageJ would fill and draw for minutes are refused before they are sent."""
    with pytest.raises(UnsupportedDataError, match="simplify them, or save a label image"):
        FijiEncoding().rois([ROI(shape) for shape in shapes])


def test_long_outlines_are_sent() -> None:
    """Outlines with many vertices, and many ROIs, are sent. Only crossings cost time."""
    speckles = np.random.default_rng(0).random((512, 512)) > 0.8
    rois = [ROI(circle(50_000)), ROI(star(100)), ROI(Mask(speckles))]
    kind, content = FijiEncoding().rois(rois)
    assert kind == "imagej"
    assert len(content) > 400_000


def test_too_many_rois_are_refused() -> None:
    with pytest.raises(UnsupportedDataError, match="100001 ROIs"):
        FijiEncoding().rois([ROI(Ellipse((5, 5), (2, 2)))] * 100_001)


@pytest.mark.parametrize("dtype", sorted(IMAGEJ_TYPES))
def test_same_types_are_not_copied(dtype: str) -> None:
    """Pixels in a type of ImageJ are sent without a copy."""
    pixels = np.ones((2, 3), dtype)
    assert FijiEncoding().pixels(pixels, "yx", False)[0] is pixels


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
def test_types_match_the_documentation(
    value: Any, dtype: str, labels: bool, shown: str
) -> None:
    """Types are converted as the documentation says."""
    sent, _ = FijiEncoding().pixels(np.full((2, 2), value, dtype), "yx", labels)
    assert sent.dtype.str == shown


def test_masks_are_0_and_255() -> None:
    """A mask is sent as 0 and 255, as ImageJ expects."""
    sent, _ = FijiEncoding().pixels(np.array([[True, False]]), "yx", False)
    assert sent.tolist() == [[255, 0]]
    assert restore_dtype(np.array([[255, 0, 7]], "u1"), "|b1").tolist() == [[True, False, True]]


@pytest.mark.parametrize("value", [2**64 - 1, 2**63 + 1, 2**53 + 1, 2**24 + 1])
def test_large_integers_are_refused(value: int) -> None:
    """An integer that float32 cannot hold is refused, also near the limits of its type."""
    with pytest.raises(UnsupportedDataError, match=r"uint64.*rescale them to uint16"):
        FijiEncoding().pixels(np.array([[value]], "u8"), "yx", False)


def test_colors_of_other_types_are_refused() -> None:
    """RGB must be uint8."""
    with pytest.raises(UnsupportedDataError, match="axes='cyx'"):
        FijiEncoding().pixels(np.zeros((2, 2, 3), "u2"), "yxs", False)


def test_large_planes_are_refused() -> None:
    """A plane with more pixels than a Java array can hold is refused without a copy."""
    plane = np.broadcast_to(np.zeros((), "u1"), (50_000, 50_000))
    colors = np.broadcast_to(plane[..., None], (50_000, 50_000, 3))
    for pixels, axes in ((plane, "yx"), (colors, "yxs")):
        with pytest.raises(UnsupportedDataError, match=r"50000 x 50000 pixels.*::2, ::2"):
            FijiEncoding().pixels(pixels, axes, False)


def test_conversion_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    """Each conversion between two types is logged once."""
    encoding = FijiEncoding()
    with caplog.at_level(logging.INFO, "polystore.fiji"):
        for _ in range(3):
            encoding.pixels(np.ones((2, 2), "i2"), "yx", False)
            encoding.pixels(np.ones((2, 2), "?"), "yx", False)
            encoding.pixels(np.ones((2, 2), "u2"), "yx", False)
    assert caplog.messages == [
        "ImageJ shows images of int16 as float32",
        "ImageJ shows images of bool as uint8",
    ]


def test_floats_are_rounded(caplog: pytest.LogCaptureFixture) -> None:
    """64-bit floats are rounded to 32 bits, and one warning says so."""
    encoding = FijiEncoding()
    pixels = np.array([[0.1, np.nan], [np.inf, -1e300 * 0]])
    for _ in range(2):
        sent, original = encoding.pixels(pixels, "yx", False)
        assert (sent.dtype.str, original) == ("<f4", "<f4")
        np.testing.assert_array_equal(sent, pixels.astype("f4"))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "rounded to float32" in caplog.text
    sent, original = encoding.pixels(np.array([[0.5]]), "yx", False)
    assert (sent.dtype.str, original) == ("<f4", "<f8"), "exact pixels return as float64"


def test_floats_must_be_exact_on_request() -> None:
    with pytest.raises(UnsupportedDataError, match=r"float64.*convert='float32'"):
        FijiEncoding("exact").pixels(np.array([[0.1]]), "yx", False)
    assert FijiEncoding("exact").pixels(np.array([[0.5]]), "yx", False)[1] == "<f8"


def test_infinite_floats_are_refused() -> None:
    """A pixel that would be infinite in float32 is refused."""
    with pytest.raises(UnsupportedDataError, match=r"larger than 3\.4e38.*rescale"):
        FijiEncoding().pixels(np.array([[1e39]]), "yx", False)


@pytest.mark.parametrize("convert", ["float16", "", None, True, ["exact"]])
def test_unknown_conversions_are_refused(convert: Any) -> None:
    with pytest.raises(InvalidOptionError, match="'float32' or 'exact'"):
        FijiEncoding(convert)


def test_rois_have_lengths() -> None:
    """Each ROI is a file in ImageJ's format, after its length."""
    name, content = FijiEncoding().rois([ROI(Ellipse((3, 4), (5, 6)), "cell")] * 2)
    length = int.from_bytes(content[:4], "little")
    assert (name, len(content)) == ("imagej", 2 * (4 + length))
    assert content[4:8] == content[8 + length : 12 + length] == b"Iout"
    assert FijiEncoding().rois([]) == ("imagej", b"")
