"""Large stored images in napari: opened by the viewer, shown in levels, read only where seen."""

from __future__ import annotations

import shutil
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import Axis, BackendRegistry, FileManager, Image, ImageMetadata
from polystore_core.errors import RejectedError, UnsupportedDataError
from polystore_napari.sources import Crop
from polystore_testing.processes import pipeline

from .sending import source

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_stream import RemoteViewer

    from .windows import Window

pytest.importorskip("polystore_zarr", reason="polystore-zarr is not installed")

SIZE = 1500
CELLS = np.kron(np.arange(1, 10, dtype="u2").reshape(3, 3), np.ones((SIZE // 3,) * 2, "u2"))
BOTH = np.stack([CELLS * 100, CELLS * 200])


@pytest.fixture
def stores() -> FileManager:
    return FileManager(BackendRegistry())


def save_image(stores: FileManager, path: Path, array: Any = BOTH, **words: Any) -> Any:
    """Save an image with levels, and return a handle on it."""
    words = {"axes": "cyx", "scale": {"y": 0.5, "x": 0.5}, "units": "um"} | words
    stores.save(Image.of(array, **words), path, "zarr")
    return stores.open(path, "zarr", as_="image")


@pytest.mark.screen
class TestLayers:
    """Tests in a window without Qt."""

    def test_channels_have_levels(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """Each channel is a layer with all levels, whose slices are the stored pixels."""
        image = save_image(stores, tmp_path / "a.ome.zarr", channels=["DNA", "ER"])
        window.show(source(image, "a"))
        assert window.names == ["a DNA", "a ER"]
        shapes = [level.shape[1:] for level in image.data.levels]
        assert len(shapes) > 2
        for number, layer in enumerate(window.model.layers):
            assert layer.multiscale
            assert [level.shape for level in layer.data] == shapes
            assert tuple(layer.scale) == (0.5, 0.5)
            assert np.array_equal(layer.data[0], BOTH[number])
            assert np.array_equal(layer.data[-1], image.data.levels[-1][number])
        low, high = window["a ER"].contrast_limits
        assert (low, high) == (200.0, 1800.0)

    def test_fields_become_sliders(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """Leading axes that viewers do not know are sliders, and the first position is shown."""
        for column in ("01", "02"):
            for field in (0, 1):
                pixels = BOTH * (field + 1)
                save_image(stores, tmp_path / f"plate.ome.zarr/A/{column}/{field}", pixels)
        plate = stores.open(tmp_path / "plate.ome.zarr", "zarr", as_="image")
        assert plate.axes == ("field", "c", "y", "x")
        window.show(source(plate, "plate"))
        first, second = window.model.layers
        assert first.axis_labels == ("field", "y", "x")
        assert first.data[0].shape == (2, SIZE, 2 * SIZE)
        assert np.array_equal(second.data[0][1, :, SIZE:], BOTH[1] * 2)
        assert window.step[0] == 0
        assert window.text == "field 0"

    def test_batch_is_stack_of_levels(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """Several sources share a layer with a slider and all levels."""
        wells = [save_image(stores, tmp_path / f"{n}.ome.zarr", BOTH * n) for n in (1, 2, 3)]
        window.show(*(source(w, f"A0{n}_s", names="{well}_s") for n, w in enumerate(wells, 1)))
        layer = window.model.layers[0]
        assert layer.axis_labels == ("well", "y", "x")
        assert [level.shape[0] for level in layer.data] == [3] * len(layer.data)
        assert len(layer.data) == len(wells[0].data.levels)
        assert layer.data[0][:, 0, 0].tolist() == [100, 200, 300]
        assert layer.data[-1][:, 0, 0].tolist() == [100, 200, 300]
        for removed in (1, 2):
            shutil.rmtree(tmp_path / f"{removed}.ome.zarr")
        window.model.dims.set_current_step(0, 2)
        layer.refresh()  # reads only the third image
        assert window.read_slice(layer)[0, 0] == 300

    def test_stack_without_common_levels(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """A layer of an array and a source has a single level, for arrays do not have levels."""
        image = save_image(stores, tmp_path / "a.ome.zarr", CELLS, axes="yx")
        window.show(source(image, "A01_s", names="{well}_s"))
        assert window.only.multiscale
        window.save(CELLS * 3, "A02_s", names="{well}_s")
        assert not window.only.multiscale
        assert window.only.data[:, 0, 0].tolist() == [1, 3]
        window.show(source(image, "A02_s", names="{well}_s"))
        assert window.only.multiscale
        assert window.only.data[0][:, 0, 0].tolist() == [1, 1]

    def test_later_save_replaces(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """A file that is saved again is shown again, and an array can replace it."""
        image = save_image(stores, tmp_path / "a.ome.zarr", CELLS, axes="yx")
        window.show(source(image, "a"))
        layer = window.only
        layer.contrast_limits = (3, 7)
        again = save_image(stores, tmp_path / "a.ome.zarr", CELLS + 5, axes="yx")
        window.show(source(again, "a"))
        assert window.only is layer
        assert layer.contrast_limits == [3, 7]
        assert layer.data[0][0, 0] == 6
        assert window.read_slice(layer)[0, 0] == 6
        window.save(CELLS, "a")
        assert not window.only.multiscale
        assert np.array_equal(window.pixels("a"), CELLS)

    def test_only_visible_levels_are_read(
        self,
        window: Window,
        stores: FileManager,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        """Neither thumbnail nor display range read the finest level, or more than is shown."""
        image = save_image(stores, tmp_path / "a.ome.zarr")
        item, part = source(image, "a")
        finest = tmp_path / "a.ome.zarr" / "0"
        hidden = tmp_path / "hidden"
        finest.rename(hidden)
        window.show((item, part))
        hidden.rename(finest)
        assert window.names == ["a 0", "a 1"]

    def test_single_level_is_read_by_planes(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """A volume without levels is read plane by plane. Some planes give its display range."""
        volume = np.broadcast_to(np.arange(300, dtype="u2")[:, None, None], (300, 200, 200))
        np.save(tmp_path / "v.npy", volume)
        handle = stores.open(tmp_path / "v.npy", "disk")
        window.show(source(handle, "v"))
        layer = window.only
        assert (layer.multiscale, layer.data.shape) == (False, volume.shape)
        low, high = layer.contrast_limits
        assert low < 10
        assert high > 280
        window.model.dims.set_current_step(0, 123)
        assert window.read_slice(layer)[0, 0] == 123

    def test_stored_labels_cannot_be_painted(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        """The brush cannot change a label image in a file."""
        image = save_image(stores, tmp_path / "a.ome.zarr", CELLS, axes="yx", label=True)
        window.show(source(image, "a"))
        layer = window.only
        assert (layer._type_string, layer.multiscale, layer.editable) == ("labels", True, False)
        assert np.array_equal(layer.data[0], CELLS)

    def test_large_pixels_are_refused(
        self, window: Window, stores: FileManager, tmp_path: Path
    ) -> None:
        image = save_image(stores, tmp_path / "a.ome.zarr", channels=["DNA", "ER"])
        window.show(source(image, "a"))
        assert np.array_equal(window.pixels("a"), BOTH)
        large = np.broadcast_to(CELLS, (8, SIZE, SIZE))
        np.save(tmp_path / "large.npy", large)
        handle = stores.open(tmp_path / "large.npy", "disk")
        window.show(source(handle, "large"))
        with pytest.raises(UnsupportedDataError, match="with backend 'disk'"):
            window.pixels("large")


@pytest.mark.parametrize("step", [1, 2, -1, -3])
def test_crops_match_numpy(stores: FileManager, tmp_path: Path, step: int) -> None:
    """Slices of a crop give a crop. Numbers, and conversion to an array, give pixels."""
    array = np.arange(6 * 7 * 8).reshape(6, 7, 8)
    np.save(tmp_path / "a.npy", array)
    crop: Any = Crop(stores.open(tmp_path / "a.npy", "disk"))
    for region in (np.s_[:], np.s_[1:5], np.s_[..., 2:], np.s_[::step, 1:6:2, ::step]):
        array, crop = array[region], crop[region]
        assert isinstance(crop, Crop)
        assert (crop.shape, crop.ndim, crop.size) == (array.shape, 3, array.size)
        assert np.array_equal(crop, array)
        for inner in (np.s_[0], np.s_[-1, ::step], np.s_[..., 1], np.s_[:, 0, ::step]):
            assert np.array_equal(crop[inner], array[inner])
    assert np.asarray(crop, "f4").dtype == "f4"


@pytest.mark.screen
@pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux")
@pytest.mark.timeout(300)
class TestNapari:
    """Tests in a real napari."""

    @pytest.mark.smoke
    def test_source_is_shown(
        self, stores: FileManager, viewer: RemoteViewer, tmp_path: Path
    ) -> None:
        """A source is painted and loaded, and napari lives on when the file is gone."""
        viewer.clear()
        image = save_image(stores, tmp_path / "a.ome.zarr", channels=["DNA", "ER"])
        with pipeline("napari_stream", viewer=viewer.endpoint.name, launch=False) as screen:
            screen.save(image, "a", "screen", wait="shown")
            assert screen.registry["screen"].counters.nbytes == 0
            first, second = viewer.layers()
            assert (first["name"], second["name"]) == ("a DNA", "a ER")
            assert first["shape"] == [SIZE, SIZE]
            assert first["units"] == ["micrometer"] * 2
            assert viewer.screenshot()[..., :3].any()
            assert np.array_equal(screen.load("a", "screen"), BOTH)
            found = screen.load("a", "screen", as_="image")
            assert [channel.name for channel in found.channels] == ["DNA", "ER"]
            shutil.rmtree(tmp_path / "a.ome.zarr")
            screen.save(CELLS, "b", "screen", wait="shown")
            assert len(viewer.layers()) == 3

    def test_missing_source_is_sent(
        self,
        stores: FileManager,
        viewer: RemoteViewer,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        """If napari cannot open the file, the pixels that this process can read are sent."""
        viewer.clear()
        large = np.broadcast_to(CELLS, (8, SIZE, SIZE)).copy()
        np.save(tmp_path / "v.npy", large)
        handle = stores.open(tmp_path / "v.npy", "disk")
        (tmp_path / "v.npy").unlink()
        with pipeline("napari_stream", viewer=viewer.endpoint.name, launch=False) as screen:
            with caplog.at_level("INFO", "polystore.stream"):
                screen.save(handle, "v", "screen")
            assert "the viewer cannot open it" in caplog.text
            assert np.array_equal(screen.load("v", "screen"), large)

    def test_fields_are_read_from_their_file(
        self, stores: FileManager, viewer: RemoteViewer, tmp_path: Path
    ) -> None:
        viewer.clear()
        stacked = np.zeros((2, 3000, 3000), "u2")
        np.save(tmp_path / "f.npy", stacked)
        words = ImageMetadata(axes=(Axis("field"), Axis("y"), Axis("x")))
        image = Image(stores.open(tmp_path / "f.npy", "disk"), words)
        with pipeline("napari_stream", viewer=viewer.endpoint.name, launch=False) as screen:
            screen.save(image, "f", "screen")
            assert viewer.layers()[0]["axes"] == ["field", "y", "x"]
            with pytest.raises(RejectedError, match="napari does not hold its pixels"):
                screen.load("f", "screen")
