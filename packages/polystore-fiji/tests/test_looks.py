"""Calibration, colours and display ranges of images in a real ImageJ without windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import RejectedError

from .planes import SIZE, only, plane

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji


def test_calibration_is_ImageJs(there: FileManager, hidden: RemoteFiji) -> None:
    """Pixel sizes and units are ImageJ's calibration; a saved unit is written as ImageJ does."""
    there.save(
        np.zeros((2, 3, *SIZE), "u2"),
        "scaled.npy",
        backend="screen",
        axes="tzyx",
        scale=(90, 2, 0.25, 0.5),
        units={"t": "second", "z": "micrometer", "y": "micrometer", "x": "micrometer"},
    )
    assert only(hidden)["scale"] == [90, 2, 1, 0.25, 0.5]
    assert only(hidden)["units"] == ["sec", "µm", "", "µm", "µm"]
    there.save(np.zeros((2, 3, *SIZE), "u2"), "scaled.npy", backend="screen", axes="tzyx")
    assert only(hidden)["scale"] == [90, 2, 1, 0.25, 0.5]
    there.save(
        np.zeros((2, 3, *SIZE), "u2"),
        "scaled.npy",
        backend="screen",
        axes="tzyx",
        scale={"z": 4},
        units="nanometer",
    )
    assert only(hidden)["scale"] == [1, 4, 1, 1, 1]
    assert only(hidden)["units"][1:] == ["nm", "", "nm", "nm"]


def test_calibration_of_slices(there: FileManager, hidden: RemoteFiji) -> None:
    """Planes of a series say what a pixel is; the image has it however it grows."""
    for z in range(3):
        there.save(
            plane(z),
            f"s_{z}.npy",
            backend="screen",
            names="s_{z}.npy",
            scale=(0.2, 0.1),
            units="micrometer",
        )
        assert only(hidden)["scale"][3:] == [0.2, 0.1]
        assert only(hidden)["units"][3:] == ["µm", "µm"]


def test_channels_have_looks(there: FileManager, hidden: RemoteFiji) -> None:
    """Channels have the colours and windows that are said, else colours told apart by everybody."""
    channels = [
        {"label": "DAPI", "color": "0000FF", "window": {"start": 5, "end": 500}},
        {"label": "GFP", "color": "00FF00"},
        "other",
    ]
    value = np.stack([plane(n) + np.arange(16, dtype="u2") for n in range(3)])
    there.save(value, "c.npy", backend="screen", axes="cyx", channels=channels)
    first, second, _ = only(hidden)["channels"]
    assert only(hidden)["labels"][:2] == ["DAPI: c.npy", "GFP: c.npy"]
    assert (first["color"], first["window"]) == ("0000ff", [5, 500])
    assert (second["color"], second["window"]) == ("00ff00", [1, 16])
    there.save(value, "d.npy", backend="screen", axes="cyx")
    colors = [channel["color"] for channel in hidden.layers()[-1]["channels"]]
    assert colors == ["ff00ff", "00ff00", "00ffff"]


def test_channels_by_name_have_looks(there: FileManager, hidden: RemoteFiji) -> None:
    """Channels that come one by one have the colour said with each."""
    for c, color in ((1, "ff8000"), (2, "0080ff")):
        there.save(
            plane(c),
            f"w{c}.tif",
            backend="screen",
            names="w{channel}.tif",
            colormap=color,
            contrast_limits=(0, 10 * c),
        )
    assert [(c["color"], c["window"]) for c in only(hidden)["channels"]] == [
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
    there: FileManager, hidden: RemoteFiji, colormap: str, brightest: str
) -> None:
    """A colormap is one of ImageJ's lookup tables, or a colour."""
    there.save(plane(7, "u1"), "a.npy", backend="screen", colormap=colormap)
    assert only(hidden)["channels"][0]["color"] == brightest


def test_ranges_are_chosen(there: FileManager, hidden: RemoteFiji) -> None:
    """Black and brightest are what is said; else all of 8 bits, or the least and greatest."""
    ramp = np.arange(192).reshape(SIZE)
    for value, options, expected in (
        (ramp.astype("u1"), {}, [0, 255]),
        (ramp.astype("u2") + 50, {}, [50, 241]),
        (ramp.astype("f4") - 50, {}, [-50, 141]),
        (np.full(SIZE, np.nan, "f4"), {}, [0, 1]),
        (plane(5), {}, [5, 6]),
        (ramp > 3, {}, [0, 255]),
        (ramp > 3, {"contrast_limits": (0, 1)}, [0, 255]),
        (ramp.astype("f4"), {"contrast_limits": (-1.5, 7)}, [-1.5, 7]),
    ):
        hidden.clear()
        there.save(value, "a.npy", backend="screen", **options)
        assert only(hidden)["channels"][0]["window"] == expected


def test_unknown_colormap_is_refused(there: FileManager, hidden: RemoteFiji) -> None:
    """A colormap that ImageJ does not have is the error of that save, and names some it has."""
    with pytest.raises(
        RejectedError, match="no lookup table 'nonsense': expected grays"
    ) as caught:
        there.save(plane(1), "color.npy", backend="screen", colormap="nonsense")
    assert caught.value.path == "color.npy"
    assert hidden.layers() == []
