"""Calibration, colours and display ranges of images in a real ImageJ without windows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Image
from polystore_core.errors import RejectedError

from .planes import SIZE, only, plane

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji


def test_calibration_is_set(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Pixel sizes and units are ImageJ's calibration, and units have ImageJ's spelling."""
    headless_files.save(
        np.zeros((2, 3, *SIZE), "u2"),
        "scaled.npy",
        backend="screen",
        axes="tzyx",
        scale=(90, 2, 0.25, 0.5),
        units={"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"},
    )
    assert only(headless)["scale"] == [90, 2, 1, 0.25, 0.5]
    assert only(headless)["units"] == ["sec", "µm", "", "µm", "µm"]
    headless_files.save(
        np.zeros((2, 3, *SIZE), "u2"), "scaled.npy", backend="screen", axes="tzyx"
    )
    assert only(headless)["scale"] == [90, 2, 1, 0.25, 0.5]
    headless_files.save(
        np.zeros((2, 3, *SIZE), "u2"),
        "scaled.npy",
        backend="screen",
        axes="tzyx",
        scale={"z": 4},
        units="nanometer",
    )
    assert only(headless)["scale"] == [1, 4, 1, 1, 1]
    assert only(headless)["units"][1:] == ["nm", "", "nm", "nm"]


def test_calibration_of_slices(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Planes of a series bring a pixel size, and the image keeps it while it grows."""
    for z in range(3):
        headless_files.save(
            plane(z),
            f"s_{z}.npy",
            backend="screen",
            names="s_{z}.npy",
            scale=(0.2, 0.1),
            units="micrometer",
        )
        assert only(headless)["scale"][3:] == [0.2, 0.1]
        assert only(headless)["units"][3:] == ["µm", "µm"]


def test_channels_have_looks(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Channels have the given colours and ranges. The default colours suit colour-blind people."""
    channels = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 5, "end": 500}},
        {"label": "GFP", "color": "00FF00"},
        "other",
    ]
    value = np.stack([plane(n) + np.arange(16, dtype="u2") for n in range(3)])
    headless_files.save(value, "c.npy", backend="screen", axes="cyx", channels=channels)
    first, second, _ = only(headless)["channels"]
    assert only(headless)["labels"][:2] == ["DAPI: c.npy", "GFP: c.npy"]
    assert (first["color"], first["window"]) == ("0000ff", [5, 500])
    assert (second["color"], second["window"]) == ("00ff00", [1, 16])
    headless_files.save(value, "d.npy", backend="screen", axes="cyx")
    colors = [channel["color"] for channel in headless.layers()[-1]["channels"]]
    assert colors == ["ff00ff", "00ff00", "00ffff"]


def test_channels_by_name_have_looks(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Channels that arrive one by one have the colours that were given with them."""
    for c, color in ((1, "ff8000"), (2, "0080ff")):
        headless_files.save(
            plane(c),
            f"w{c}.tif",
            backend="screen",
            names="w{channel}.tif",
            colormap=color,
            contrast_limits=(0, 10 * c),
        )
    assert [(c["color"], c["window"]) for c in only(headless)["channels"]] == [
        ("ff8000", [0, 10]),
        ("0080ff", [0, 20]),
    ]


@pytest.mark.parametrize(
    ("colormap", "brightest"),
    [
        ("gray", "ffffff"),
        ("Red", "ff0000"),
        ("#ff8000", "ff8000"),
        ("fire", "ffffff"),
        ("cyan", "00ffff"),
    ],
)
def test_colormaps_are_known(
    headless_files: FileManager, headless: RemoteFiji, colormap: str, brightest: str
) -> None:
    """A colormap is a lookup table of ImageJ or a colour."""
    headless_files.save(plane(7, "u1"), "a.npy", backend="screen", colormap=colormap)
    assert only(headless)["channels"][0]["color"] == brightest


def mark_12_bits(pixels: Any) -> Image:
    return Image(pixels, replace(Image.of(pixels).metadata, bits=12))


RAMP = np.arange(192).reshape(SIZE)


@pytest.mark.parametrize(
    ("value", "options", "expected"),
    [
        (RAMP.astype("u1"), {}, (0, 191)),
        (RAMP.astype("u2") + 50, {}, (50, 241)),
        (RAMP.astype("f4") - 50, {}, (-50, 141)),
        (RAMP.astype("i2") - 50, {}, (-50, 141)),
        (np.full(SIZE, np.nan, "f4"), {}, (0, 1)),
        (np.where(RAMP, RAMP, np.nan).astype("f4"), {}, (1, 191)),
        (np.where(RAMP, RAMP, np.inf).astype("f4"), {}, (1, 191)),
        (plane(5), {}, (0, 5)),
        (plane(0), {}, (0, 1)),
        (plane(200, "u1"), {}, (0, 200)),
        (plane(-0.25, "f4"), {}, (-0.25, 0)),
        (mark_12_bits(plane(5)), {}, (0, 4095)),
        (mark_12_bits(plane(0.5, "f4")), {}, (0, 0.5)),
        (mark_12_bits(RAMP.astype("u2")), {}, (0, 191)),
        (RAMP > 3, {}, (0, 255)),
        (RAMP > 300, {}, (0, 255)),
        (RAMP > 3, {"contrast_limits": (0, 1)}, (0, 255)),
        (RAMP.astype("f4"), {"contrast_limits": (-1.5, 7)}, (-1.5, 7)),
    ],
)
def test_ranges_are_chosen(
    headless_files: FileManager, headless: RemoteFiji, value: Any, options: Any, expected: Any
) -> None:
    """The display range is the given one, or that of nearly all pixels."""
    headless_files.save(value, "a.npy", backend="screen", **options)
    assert only(headless)["channels"][0]["window"] == list(expected)


def test_few_pixels_are_outside_the_range(
    headless_files: FileManager, headless: RemoteFiji
) -> None:
    """Of 10,000 pixels, the 10 darkest and the 10 brightest do not count."""
    value = np.arange(100 * 100, dtype="u2").reshape(100, 100)
    value[50, 50], value[60, 60] = 65535, 0
    headless_files.save(value, "a.npy", backend="screen")
    assert only(headless)["channels"][0]["window"] == [9, 9990]


def test_range_covers_all_planes(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Later planes can widen the range, but not narrow it."""
    for z, (low, high), expected in (
        (0, (100, 200), [100, 200]),
        (1, (50, 120), [50, 200]),
        (2, (90, 900), [50, 900]),
        (0, (300, 301), [50, 900]),
    ):
        value = plane(low)
        value[:6] = high
        headless_files.save(value, f"r_{z}.npy", backend="screen", names="r_{z}.npy")
        assert only(headless)["channels"][0]["window"] == expected


def test_ranges_are_per_channel(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Each channel has the range of its own planes."""
    value = np.zeros((2, 3, *SIZE), "u2")
    value[0, :, :6] = np.array([10, 30, 20])[:, None, None]
    value[1, :, :6] = 500
    headless_files.save(value, "a.npy", backend="screen", axes="czyx")
    assert [c["window"] for c in only(headless)["channels"]] == [[0, 30], [0, 500]]


def test_restarted_image_has_its_own_range(
    headless_files: FileManager, headless: RemoteFiji
) -> None:
    headless_files.save(RAMP.astype("u2") * 100, "a.npy", backend="screen")
    headless_files.save(RAMP.astype("f4"), "a.npy", backend="screen")
    assert only(headless)["channels"][0]["window"] == [0, 191]


def test_unknown_colormap_is_refused(headless_files: FileManager, headless: RemoteFiji) -> None:
    """The error for an unknown colormap names some that ImageJ has."""
    with pytest.raises(
        RejectedError, match="lookup table 'nonsense': expected grays"
    ) as caught:
        headless_files.save(plane(1), "color.npy", backend="screen", colormap="nonsense")
    assert caught.value.path == "color.npy"
    assert headless.layers() == []
