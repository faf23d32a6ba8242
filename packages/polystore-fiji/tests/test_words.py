"""Metadata of images in a real ImageJ: what it shows, and what a load returns."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core import Axis, Channel, Image, ImageMetadata, Position

from .planes import only

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import User

    from polystore_core import FileManager
    from polystore_fiji.remote import RemoteFiji

CELLS = Image(
    np.arange(2 * 2 * 3 * 4 * 5, dtype="u2").reshape(2, 2, 3, 4, 5),
    ImageMetadata(
        axes=(
            Axis("t", "time", "second", 90.0),
            Axis("c", "channel"),
            Axis("z", "space", "micrometer", 2.0),
            Axis("y", "space", "micrometer", 0.5, 7.0),
            Axis("x", "space", "micrometer", 0.25),
        ),
        channels=(
            Channel(name="DAPI", color="0000FF", limits=(10.0, 90.0), excitation_nm=405.0),
            Channel(name="GFP", emission_nm=520.0),
        ),
        name="cells",
        bits=12,
        position=Position(name="A1", x=3.0, unit="micrometer"),
    ),
)


def test_metadata_is_shown(headless_files: FileManager, headless: RemoteFiji) -> None:
    """Sizes, units, colours, limits and names are shown by ImageJ."""
    headless_files.save(CELLS, "x", "screen")
    image = only(headless)
    assert (image["scale"], image["units"]) == (
        [90, 2, 1, 0.5, 0.25],
        ["sec", "µm", "", "µm", "µm"],
    )
    assert image["channels"][0] == {"color": "0000ff", "window": [10, 90]}
    assert image["channels"][1]["color"] == "00ff00"
    assert image["labels"][:2] == ["DAPI: x", "GFP: x"]


def test_metadata_is_returned(headless_files: FileManager) -> None:
    """All metadata is loaded again, also the fields that ImageJ does not show."""
    headless_files.save(CELLS, "x", "screen")
    found = headless_files.load("x", "screen", as_="image")
    assert found.metadata == CELLS.metadata
    np.testing.assert_array_equal(found.data, CELLS.data)


def test_plain_images_are_returned(headless_files: FileManager) -> None:
    """An unknown pixel size stays unknown. It does not become one pixel."""
    values = [np.zeros((4, 5, 3), "u1"), np.eye(4, 5) > 0, np.ones((2, 4, 5), "i4")]
    for name, value in zip("abc", values, strict=True):
        headless_files.save(value, name, "screen", labels=name == "c")
        found = headless_files.load(name, "screen", as_="image")
        assert found.metadata == Image.of(value, label=name == "c").metadata
        assert found.dtype == value.dtype
        np.testing.assert_array_equal(found, value)


@pytest.mark.screen
@pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux")
def test_user_changes_are_returned(files: FileManager, user: User) -> None:
    """The user's changes are loaded, and the other metadata is as it was saved."""
    files.save(CELLS, "x", "screen", wait="shown")
    user.do(
        'Stack.setChannel(2); setMinAndMax(20, 120); run("Yellow"); rename("mitosis");'
        ' setVoxelSize(0.5, 0.5, 3, "nm");'
    )
    found = files.load("x", "screen", as_="image")
    assert found.scale == (90.0, None, 3.0, 0.5, 0.5)
    assert found.units == ("second", None, *["nanometer"] * 3)
    assert found.channels == (
        CELLS.channels[0],
        Channel(name="GFP", color="FFFF00", limits=(20.0, 120.0), emission_nm=520.0),
    )
    assert (found.name, found.metadata.bits) == ("mitosis", 12)


def test_large_images_are_sent_at_screen_level(
    headless_files: FileManager,
    headless: RemoteFiji,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """ImageJ opens no files, so a large plate is sent as the level that suits a screen.

    Its fields become z, because ImageJ has no axis of fields. Its channels stay channels.
    """
    pytest.importorskip("polystore_zarr", reason="polystore-zarr is not installed")
    field = np.kron(np.arange(1, 17, dtype="u2").reshape(4, 4), np.ones((300, 300), "u2"))
    for column in ("01", "02"):
        for number in (0, 1):
            pixels = np.stack([field, field * 2]) * (number + 1)
            image = Image.of(
                pixels,
                axes="cyx",
                scale={"y": 0.5, "x": 0.5},
                units="um",
                channels=["DNA", "ER"],
            )
            headless_files.save(image, tmp_path / f"plate.ome.zarr/A/{column}/{number}", "zarr")
    plate = headless_files.open(tmp_path / "plate.ome.zarr", "zarr", as_="image")
    headless_files.save(plate, "plate", "screen")
    assert "'plate' is sent as level 1 of" in caplog.text
    assert "fiji 'hidden'" in caplog.text
    shown = only(headless)
    assert shown["shape"] == [1, 2, 2, 600, 1200]  # tzcyx
    assert shown["scale"][-2:] == [1.0, 1.0]
    found = headless_files.load("plate", "screen", as_="image")
    assert found.axes == ("c", "field", "y", "x")
    assert [channel.name for channel in found.channels] == ["DNA", "ER"]
    level = plate.data.levels[1]
    assert np.array_equal(found.data, np.moveaxis(level[...], 0, 1))
