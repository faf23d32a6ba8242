"""Metadata of images in a real napari: fields that it shows, and fields that a load returns."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Axis, Channel, Image, ImageMetadata, Position
from polystore_core.errors import ReceiverUnavailableError, RejectedError
from polystore_testing.processes import pipeline

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_stream import RemoteViewer

CELLS = Image(
    np.arange(2 * 3 * 4 * 5, dtype="u2").reshape(2, 3, 4, 5),
    ImageMetadata(
        axes=(
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


# ── in a real napari ─────────────────────────────────────────────────────────────────────


@pytest.mark.screen
@pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux")
@pytest.mark.timeout(300)
class TestNapari:
    @pytest.mark.smoke
    def test_metadata_is_shown(self, files: FileManager, viewer: RemoteViewer) -> None:
        """Sizes, units, names, colours and limits are those of the layers."""
        files.save(CELLS, "x", "screen")
        first, second = viewer.layers()
        assert (first["name"], second["name"]) == ("x DAPI", "x GFP")
        assert first["axes"] == ["z", "y", "x"]
        assert first["scale"] == second["scale"] == [2.0, 0.5, 0.25]
        assert first["units"] == second["units"] == ["micrometer"] * 3
        assert first["contrast_limits"] == [10.0, 90.0]
        assert first["colormap"] == "#0000FF"

    @pytest.mark.smoke
    def test_metadata_is_returned(self, files: FileManager) -> None:
        """All metadata is loaded again, also the fields that napari does not show."""
        files.save(CELLS, "x", "screen")
        found = files.load("x", "screen", as_="image")
        assert found.metadata == CELLS.metadata
        np.testing.assert_array_equal(found.data, CELLS.data)
        np.testing.assert_array_equal(files.load("x", "screen"), CELLS.data)

    def test_plain_images_are_returned(self, files: FileManager) -> None:
        """An unknown pixel size stays unknown. It does not become one pixel."""
        values = [np.zeros((4, 5, 3), "u1"), np.eye(4, 5) > 0, np.ones((2, 4, 5), "i4")]
        for name, value in zip("abc", values, strict=True):
            files.save(value, name, "screen", labels=name == "c")
            found = files.load(name, "screen", as_="image")
            assert found.metadata == Image.of(value, label=name == "c").metadata
            np.testing.assert_array_equal(found, value)

    def test_masks_are_returned(self, files: FileManager) -> None:
        """A mask is shown as labels and stays boolean, also after the user has painted."""
        mask = np.eye(4, 5) > 0
        words = Image.of(mask.astype("u1"), label=True, scale=(2, 3), units="um").metadata
        for name, value in (("a", mask), ("b", Image(mask, words))):
            files.save(value, name, "screen", labels=name == "a")
            found = files.load(name, "screen", as_="image")
            assert (found.dtype, found.metadata.kind) == (np.bool_, "labels")
            np.testing.assert_array_equal(found, mask)
        assert found.metadata == words

    def test_plane_of_stack_is_returned(self, files: FileManager) -> None:
        images = [Image.of(np.full((4, 5), n, "u2"), scale=(2, 3), units="um") for n in (1, 2)]
        files.save_batch(images, ["s_1", "s_2"], "screen")
        found = files.load("s_1", "screen", as_="image")
        assert found.metadata == images[0].metadata
        np.testing.assert_array_equal(found, images[0])

    def test_unknown_paths_are_refused(self, files: FileManager) -> None:
        with pytest.raises(RejectedError, match="path that is shown"):
            files.load("nothing", "screen", as_="image")


def test_load_starts_no_viewer(tmp_path, monkeypatch) -> None:
    """A viewer that does not run does not hold values, so a load does not start it."""
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path))
    with (
        pipeline("napari_stream") as files,
        pytest.raises(ReceiverUnavailableError, match="does not run"),
    ):
        files.load("x", "screen", as_="image")


# ── the user's changes ───────────────────────────────────────────────────────────────────


def edits(window: Any, path: str = "a.npy", kind: str = "image") -> Any:
    return window.layers.edits(*window.planner.place("", path, kind))


def test_untouched_image_has_no_edits(window) -> None:
    window.save(CELLS)
    assert edits(window) == {}
    window.save(CELLS, "b.npy", channels=["a", "b"])  # other layers change the colours
    assert (edits(window), edits(window, "b.npy")) == ({}, {})


def test_user_changes_are_edits(window) -> None:
    window.save(CELLS)
    layer = window["a GFP"]
    layer.name, layer.colormap, layer.contrast_limits = "a Actin", "red", (3, 44)
    for layer in window.model.layers:
        layer.scale = (2.0, 5.0, 0.25)
    expected = {
        "axes": [
            {"name": "c"},
            {"name": "z"},
            {"name": "y", "scale": 5.0, "unit": "micrometer"},
            {"name": "x"},
        ],
        "channels": [{}, {"color": "FF0000", "limits": (3.0, 44.0), "name": "Actin"}],
    }
    assert edits(window) == expected
    window.save(CELLS.with_data(CELLS.data + 1))  # the same metadata changes nothing
    assert edits(window) == expected


def test_pipeline_undoes_changes(window) -> None:
    """A new value from the pipeline replaces the user's. The user's other changes stay."""
    window.save(CELLS.data, axes="czyx", scale=(1, 1, 2, 2))
    for layer in window.model.layers:
        layer.scale, layer.contrast_limits = (1, 3, 3), (1, 2)
    window.save(CELLS.data, axes="czyx", scale=(1, 1, 4, 4))
    assert edits(window) == {"channels": [{"limits": (1.0, 2.0)}] * 2}


def test_one_layer_is_renamed(window) -> None:
    """The name of a layer is the name of its image, or of the only channel of it."""
    window.save(CELLS.data[0, 0])
    window.only.name = "nuclei"
    assert edits(window) == {"name": "nuclei"}
    window.save(CELLS[0, 0], "b.npy")
    for name in ("Hoechst", "b Hoechst"):
        window.model.layers[1].name = name
        assert edits(window, "b.npy") == {"channels": [{"name": "Hoechst"}]}


def test_colormaps_with_many_colours_are_no_edits(window) -> None:
    window.save(CELLS.data[0, 0])
    window.only.colormap = "viridis"
    assert edits(window) == {}
