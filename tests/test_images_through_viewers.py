"""Images keep their metadata on the way through real viewers: napari on a screen, and ImageJ."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore import BackendRegistry, FileManager, Image
from polystore.errors import ReceiverUnavailableError, UnsupportedDataError
from polystore_core import Axis, Channel, ImageMetadata
from polystore_testing.display import private_display
from polystore_testing.processes import becomes, runs

from .image_places import IMAGES, assert_same
from .test_images_travel import DATA, real_channels, real_time_lapse

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
    pytest.mark.timeout(300),
]

NAPARI = ("napari", "scan", {})
FIJI = ("fiji", "scan", {})
WAY = [
    ("disk", "scan.tif", {}),
    ("zarr", "scan.ome.zarr", {}),
    NAPARI,
    ("memory", "scan", {}),
    ("disk", "scan.ome.tif", {}),
    FIJI,
    ("disk", "scan-imagej.tif", {"imagej": True}),
]
"""Backend, path and options of each stage, from the first save to the last."""
FILES = {
    "TIFF": ("disk", "scan.tif", {}),
    "ImageJ TIFF": ("disk", "scan-imagej.tif", {"imagej": True}),
    "OME-TIFF": ("disk", "scan.ome.tif", {}),
    "OME-Zarr 0.5": ("zarr", "scan.ome.zarr", {}),
    "OME-Zarr 0.4": ("zarr", "old.ome.zarr", {"zarr_format": 2}),
    "Zarr array": ("zarr", "run.zarr/scan", {}),
}
VIEWERS = {"napari": NAPARI, "Fiji": FIJI}


# ── viewers ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def private_screen() -> Iterator[Path]:
    """Open viewers on a private screen, with their settings in a private folder."""
    # The kernel limits the names of sockets, so this one is short.
    folder = Path(tempfile.mkdtemp(prefix="ps"))
    (folder / "napari.yaml").write_text("application:\n  confirm_close_window: false\n")
    # Without -UsePerfData, a killed Java leaves a file in /tmp.
    java = f"-Duser.home={folder} -Djava.io.tmpdir={folder} -XX:-UsePerfData"
    try:
        with private_display() as display, pytest.MonkeyPatch.context() as patch:
            patch.setenv("DISPLAY", display.name)
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            patch.setenv("POLYSTORE_RUNTIME_DIR", str(folder / "polystore"))
            patch.setenv("NAPARI_CONFIG", str(folder / "napari.yaml"))
            patch.setenv("JAVA_TOOL_OPTIONS", java)
            for name in ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "XAUTHORITY", "POLYSTORE_FIJI"):
                patch.delenv(name, raising=False)
            yield folder
    except FileNotFoundError:
        pytest.skip("Xvfb is not installed: apt-get install xvfb libgl1-mesa-dri libglx-mesa0")
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def fm(private_screen: Path) -> Iterator[FileManager]:
    """Give a file manager whose backends "napari" and "fiji" are private viewers."""
    pytest.importorskip("napari", reason="napari is not installed")
    with BackendRegistry() as registry:
        registry.add("napari", "napari_stream", viewer="travel")
        registry.add("fiji", "fiji_stream", viewer="travel", headless=True)
        viewers = []
        try:
            for backend in ("napari", "fiji"):
                viewers.append(registry[backend].connect())  # type: ignore[union-attr]
            yield FileManager(registry)
        except ReceiverUnavailableError as error:
            pytest.skip(str(error))
        finally:
            for viewer in viewers:
                viewer.quit()
    assert becomes(lambda: not any(runs(viewer.endpoint.pid) for viewer in viewers))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(autouse=True)
def empty_viewers(fm: FileManager) -> None:
    for backend in ("napari", "fiji"):
        with fm.registry[backend].connect() as viewer:  # type: ignore[union-attr]
            viewer.clear()


# ── the way of an image ───────────────────────────────────────────────────────────────────


def two_channels(fm: FileManager) -> Image:
    """Return a small time lapse of two channels, which needs no data folder."""
    pixels = (np.arange(3 * 2 * 32 * 48) % 4096).reshape(3, 2, 32, 48).astype(np.uint16)
    return Image.of(
        pixels,
        axes="tcyx",
        scale=(30, None, 0.325, 0.325),
        units={"t": "s", "y": "um", "x": "um"},
        channels=[
            {"name": "DAPI", "color": "blue", "limits": (100, 3000), "excitation_nm": 405},
            {"name": "GFP", "color": "green", "limits": (50, 900), "emission_nm": 509},
        ],
        name="embryo",
    )


def load_real(fm: FileManager, made: Any) -> Image:
    if made is not two_channels and not DATA.is_dir():
        pytest.skip(f"data: {DATA} is absent")
    image: Image = made(fm)
    return image


MADE = [two_channels, real_time_lapse, real_channels]


@pytest.mark.smoke
@pytest.mark.parametrize("made", MADE)
def test_saves_keep_all_metadata(fm: FileManager, made: Any) -> None:
    """Metadata is given at the first save. Each other stage is loaded and saved again."""
    image = load_real(fm, made)
    (backend, path, _), *others = WAY
    fm.save(image, path, backend)
    for stage in others:
        loaded = fm.load(path, backend, as_="image")
        assert_same(loaded, image)
        backend, path, options = stage
        fm.save(loaded, path, backend, **options)
    assert_same(fm.load(path, backend, as_="image"), image)


@pytest.mark.parametrize("made", MADE)
def test_transfers_keep_all_metadata(fm: FileManager, made: Any) -> None:
    image = load_real(fm, made)
    (backend, path, _), *others = WAY
    fm.save(image, path, backend)
    for stage in others:
        move(fm, (backend, path), stage)
        backend, path, _ = stage
        assert_same(fm.load(path, backend, as_="image"), image)


def move(fm: FileManager, one: tuple[Any, ...], two: tuple[Any, ...]) -> None:
    """Transfer from one place to another, and compare all pixels there."""
    routes: Any = {"source_backend": one[0], "target_backend": two[0]}
    done = fm.transfer(one[1], two[1], **routes, verify="values", **two[2])
    assert (list(done), done.lost, done.skipped) == ([two[1]], {}, {})


@pytest.mark.parametrize("made", IMAGES)
@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("viewer", VIEWERS)
def test_each_file_goes_to_each_viewer(
    fm: FileManager, viewer: str, file: str, made: Any
) -> None:
    """Move an image from each file to each viewer, and back to the same kind of file."""
    image = made()
    place = FILES[file]
    fm.save(image, place[1], place[0], **place[2])
    move(fm, place, VIEWERS[viewer])
    fm.delete(place[1], place[0], recursive=place[0] == "zarr")
    move(fm, VIEWERS[viewer], place)
    assert_same(fm.load(place[1], place[0], as_="image"), image)


@pytest.mark.parametrize("made", IMAGES)
def test_images_go_from_viewer_to_viewer(fm: FileManager, made: Any) -> None:
    image = made()
    fm.save(image, "scan", "memory")
    for one, two in ((("memory", "scan"), NAPARI), (NAPARI, FIJI), (FIJI, NAPARI)):
        move(fm, one, two)
        assert_same(fm.load("scan", two[0], as_="image"), image)


@pytest.mark.parametrize("viewer", VIEWERS)
def test_unknown_axes_come_back(fm: FileManager, viewer: str) -> None:
    """A viewer shows an unknown axis as another one."""
    y, x = (Axis(name, "space", "micrometer", 0.5) for name in "yx")
    image = Image(
        np.arange(24, dtype="u2").reshape(2, 3, 4), ImageMetadata(axes=(Axis("q"), y, x))
    )
    fm.save(image, "scan.tif", "disk")
    move(fm, FILES["TIFF"], VIEWERS[viewer])
    move(fm, VIEWERS[viewer], FILES["TIFF"])
    assert_same(fm.load("scan.tif", "disk", as_="image"), image)


# ── element types ────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("dtype", ["?", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "f2", "f8"])
@pytest.mark.parametrize("viewer", VIEWERS)
def test_types_come_back(fm: FileManager, viewer: str, dtype: str) -> None:
    """ImageJ shows some types as others, but they come back as they were saved."""
    pixels = np.arange(12).reshape(3, 4).astype(dtype)
    fm.save(Image.of(pixels, scale=(0.5, 0.5), units="um"), "scan", "memory")
    move(fm, ("memory", "scan"), VIEWERS[viewer])
    move(fm, VIEWERS[viewer], ("zarr", "scan.ome.zarr", {}))
    found = fm.load("scan.ome.zarr", "zarr", as_="image")
    assert (found.dtype, found.scale) == (pixels.dtype, (0.5, 0.5))


def test_inexact_pixels_are_refused(fm: FileManager) -> None:
    """ImageJ has no type for such integers, so it shows nothing."""
    fm.save(np.full((3, 4), 2**53 + 1), "scan", "memory")
    with pytest.raises(UnsupportedDataError, match="32-bit float"):
        move(fm, ("memory", "scan"), FIJI)
    with fm.registry["fiji"].connect() as viewer:  # type: ignore[union-attr]
        assert viewer.layers() == []


# ── batches ──────────────────────────────────────────────────────────────────────────────


def test_batch_of_images_comes_back(fm: FileManager) -> None:
    """Each plane of a stack is loaded by its own path."""
    images = [
        Image(
            np.full((4, 5), n, "u2"),
            ImageMetadata(
                axes=tuple(Axis(name, "space", "micrometer", 0.5) for name in "yx"),
                channels=(Channel(name="GFP"),),
            ),
        )
        for n in (1, 2)
    ]
    paths = ["s_1", "s_2"]
    for backend in ("napari", "fiji"):
        fm.save_batch(images, paths, backend)
        for found, image in zip(fm.load_batch(paths, backend), images, strict=True):
            np.testing.assert_array_equal(found, image.data)
        for found, image in zip(
            fm.load_batch(paths, backend, as_="image"), images, strict=True
        ):
            assert_same(found, image)
