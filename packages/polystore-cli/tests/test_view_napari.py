"""``polystore view`` with a real napari, on a private screen."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_testing.display import Display, private_display
from polystore_testing.processes import becomes, runs

from .conftest import Run

polystore_napari = pytest.importorskip("polystore_napari")
pytest.importorskip("napari")
pytest.importorskip("polystore_zarr")

DATA = Path(__file__).parents[4] / "shared" / "data"
SETTINGS = """
application:
  window_size: [640, 420]
  confirm_close_window: false
"""


@pytest.fixture(scope="module")
def display() -> Iterator[Display]:
    try:
        with private_display() as display:
            yield display
    except FileNotFoundError:
        pytest.skip("system: Xvfb is not installed")


@pytest.fixture
def viewer(display: Display, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the command start a napari on the private screen, and end it."""
    # The name of a socket is limited, so this one is short.
    folder = Path(tempfile.mkdtemp(prefix="ps"))
    settings = folder / "napari.yaml"
    settings.write_text(SETTINGS)
    monkeypatch.setenv("DISPLAY", display.name)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(folder / "polystore"))
    monkeypatch.setenv("NAPARI_CONFIG", str(settings))
    for name in ("QT_QPA_PLATFORM", "WAYLAND_DISPLAY", "XAUTHORITY"):
        monkeypatch.delenv(name, raising=False)
    yield
    with polystore_napari.connect() as viewer:
        pid = viewer.endpoint.pid
        viewer.quit()
    assert becomes(lambda: not runs(pid))
    shutil.rmtree(folder)


@pytest.mark.skipif(not DATA.exists(), reason=f"data: {DATA} is absent")
def test_folder_is_shown(run: Run, viewer: None, tmp_path: Path) -> None:
    """One line shows two wells in two colours."""
    result = run("view", DATA / "worms-imagexpress", "--names", "auto")
    assert (result.exit_code, result.stdout) == (0, "")
    with polystore_napari.connect() as napari:
        layers = {layer["name"]: layer for layer in napari.layers()}
        assert sorted(layers) == ["channel 1", "channel 2"]
        assert [layer["axes"] for layer in layers.values()] == [["well", "y", "x"]] * 2
        assert layers["channel 1"]["coordinates"][0] == ["C01", "C20"]
        picture = napari.screenshot(canvas_only=False)
    keep(picture, tmp_path, "view-folder")
    assert np.ptp(picture[..., :3].astype(int).max(axis=-1)) > 100


def test_demo_is_shown(run: Run, viewer: None, tmp_path: Path) -> None:
    """The demo finds the screen, and shows the nuclei over both channels."""
    result = run("demo", "--folder", tmp_path / "demo")
    assert result.exit_code == 0, result.output
    assert "show images and nuclei" in result.stdout
    with polystore_napari.connect() as napari:
        layers = {layer["name"]: layer for layer in napari.layers()}
        assert sorted(layers) == ["images DNA", "images actin", "nuclei labels"]
        assert [layer["axes"][:2] for layer in layers.values()] == [["well", "field"]] * 3
        assert layers["images DNA"]["coordinates"][0] == [
            "A01",
            "A02",
            "A03",
            "B01",
            "B02",
            "B03",
        ]
        picture = napari.screenshot(canvas_only=False)
    keep(picture, tmp_path, "demo")
    assert np.ptp(picture[..., :3].astype(int).max(axis=-1)) > 100


def test_plate_is_shown(
    run: Run, viewer: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A plate is one picture of its wells, and with --stack one stack of them."""
    monkeypatch.chdir(tmp_path)
    with BackendRegistry() as registry:
        files = FileManager(registry)
        for number, well in enumerate(("B/2", "B/3", "C/2"), 1):
            pixels = np.full((2, 32, 32), 50 * number, "u1")
            pixels[:, 8:24, 8:24] = 250
            files.save(
                pixels,
                f"p.ome.zarr/{well}/0",
                backend="zarr",
                axes="cyx",
                channels=["DNA", "actin"],
            )
    assert run("view", "p.ome.zarr").exit_code == 0
    with polystore_napari.connect() as napari:
        layers = napari.layers()
        assert [layer["shape"][-2:] for layer in layers] == [[64, 64]] * 2
        keep(napari.screenshot(canvas_only=False), tmp_path, "view-plate")
        napari.clear()
        assert run("view", "p.ome.zarr", "--stack").exit_code == 0
        layers = napari.layers()
        assert [layer["axes"] for layer in layers] == [["well", "y", "x"]] * 2
        assert layers[0]["coordinates"][0] == ["B2", "B3", "C2"]
        keep(napari.screenshot(canvas_only=False), tmp_path, "view-plate-stack")


def keep(picture: np.ndarray, folder: Path, name: str) -> None:
    """Save a picture to the folder of pictures."""
    pictures = Path(os.environ.get("POLYSTORE_PICTURES", folder))
    with BackendRegistry() as registry:
        FileManager(registry).save(picture, pictures / f"{name}.png", backend="disk")
