import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_cli.address import Address
from polystore_cli.arranging import Arrangement
from polystore_cli.showing import Show
from polystore_cli.sources import find_images
from polystore_core import (
    BackendRegistry,
    DataSink,
    FileManager,
    Image,
    image_metadata,
    metadata_document,
)

from .conftest import Inbox, Run

pytest.importorskip("polystore_stream")
pytest.importorskip("polystore_zarr")
pytest.importorskip("tifffile")

IMAGE = np.arange(20, dtype="<u2").reshape(4, 5)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileManager:
    """Make a current folder with a TIFF, NumPy and OME-Zarr image and a folder ``plate``."""
    monkeypatch.chdir(tmp_path)
    files = FileManager(BackendRegistry())
    files.save(IMAGE, "a.npy", backend="disk")
    files.save(IMAGE + 1, "plate/B03_z1.npy", backend="disk")
    files.save(IMAGE + 2, "plate/B03_z2.npy", backend="disk")
    files.save(
        IMAGE, "a.tif", backend="disk", imagej=True, resolution=(4, 2), resolution_unit="um"
    )
    files.save(
        np.stack([IMAGE, IMAGE + 1]),
        "p.ome.zarr/B/03/0",
        backend="zarr",
        axes="cyx",
        scale={"y": 0.5, "x": 0.25},
        units="um",
        channels=["DAPI", "GFP"],
    )
    return files


STREAM = ("--viewer", "streaming")


# ── shown images ──────────────────────────────────────────────────────────────────────────


def test_bare_paths_are_shown(run: Run, here: FileManager, inbox: Inbox) -> None:
    result = run("view", "a.npy", "disk:plate/B03_z1.npy", "p.ome.zarr/B/03/0", *STREAM)
    assert (result.exit_code, result.output) == (0, "")
    first, second, third = inbox()
    assert [first["path"], second["path"], third["path"]] == [
        "a.npy",
        "plate/B03_z1.npy",
        "p.ome.zarr/B/03/0",
    ]
    np.testing.assert_array_equal(first["data"], IMAGE)
    np.testing.assert_array_equal(second["data"], IMAGE + 1)
    np.testing.assert_array_equal(third["data"], [IMAGE, IMAGE + 1])


@pytest.mark.parametrize(
    ("text", "backend"),
    [
        ("none.tif", "disk"),
        ("none.zarr", "zarr"),
        ("none.OME.ZARR/x", "zarr"),
        ("a.zarr.tif", "disk"),
        (".zarr/a.tif", "disk"),
        ("folder/none:2.tif", "disk"),
    ],
)
def test_suffix_names_backend(
    run: Run, here: FileManager, inbox: Inbox, text: str, backend: str
) -> None:
    result = run("view", text, *STREAM)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: backend '{backend}': {text!r} does not exist")


def test_axes_of_zarr_are_sent(run: Run, here: FileManager, inbox: Inbox) -> None:
    run("view", "p.ome.zarr/B/03/0", *STREAM)
    (image,) = inbox()
    assert (image["axes"], image["scale"]) == ("cyx", (1.0, 0.5, 0.25))
    assert image["units"] == (None, "micrometer", "micrometer")
    assert image["channels"] == ["DAPI", "GFP"]


def test_pixel_size_of_tiff_is_sent(run: Run, here: FileManager, inbox: Inbox) -> None:
    run("view", "a.tif", *STREAM)
    (image,) = inbox()
    assert (image["axes"], image["scale"]) == ("yx", (0.5, 0.25))
    assert image["units"] == ("micrometer", "micrometer")


def test_hyperstack_is_put_in_order(run: Run, here: FileManager, inbox: Inbox) -> None:
    stack = np.arange(2 * 3 * 20, dtype="<u2").reshape(2, 3, 4, 5)
    here.save(stack, "h.tif", backend="disk", imagej=True, axes="ZCYX")
    run("view", "h.tif", *STREAM)
    (image,) = inbox()
    assert image["axes"] == "czyx"
    np.testing.assert_array_equal(image["data"], stack.swapaxes(0, 1))


def test_options_replace_metadata(run: Run, here: FileManager, inbox: Inbox) -> None:
    stack = np.zeros((2, 3, 4, 5), "<u2")
    here.save(
        stack,
        "h.tif",
        backend="disk",
        imagej=True,
        axes="ZCYX",
        resolution=(4, 4),
        resolution_unit="um",
    )
    run("view", "h.tif", "-o", "axes=tzyx", "-o", 'scale={"x": 7}', *STREAM)
    (image,) = inbox()
    assert (image["axes"], image["scale"]) == ("tzyx", (1.0, 1.0, 0.25, 7.0))
    assert image["data"].shape == stack.shape


def test_labels_are_sent_as_labels(run: Run, here: FileManager, inbox: Inbox) -> None:
    run("view", "p.ome.zarr/B/03/0", "--labels", *STREAM)
    (image,) = inbox()
    assert image["labels"]
    assert image["channels"] == []  # labels have none


@pytest.mark.parametrize(
    ("arguments", "slider"),
    [(("--stack",), "image"), (("--names", "{well}_z{z}.npy"), "z")],
)
def test_series_is_one_layer(
    run: Run, here: FileManager, inbox: Inbox, arguments: tuple[str, ...], slider: str
) -> None:
    paths = ("plate/B03_z1.npy", "plate/B03_z2.npy")
    result = run("view", *paths, *arguments, *STREAM)
    assert (result.exit_code, result.output) == (0, "")
    first, second = inbox()
    assert first["layer"] == second["layer"]
    assert second["at"][slider].endswith("2")
    np.testing.assert_array_equal(second["data"], IMAGE + 2)


def test_json_shows_nothing(run: Run, here: FileManager, inbox: Inbox) -> None:
    result = run("view", "a.tif", "plate/B03_z1.npy", "none.npy", "--json", *STREAM)
    found = json.loads(result.stdout)
    assert (result.exit_code, inbox()) == (1, [])
    assert found["shown"][0] == {
        "how": "image",
        "viewer": "streaming",
        "path": "a.tif",
        "sources": ["disk:a.tif"],
        "template": None,
        "proposal": None,
        "fields": {},
        "shape": [4, 5],
        "dtype": "<u2",
        "options": {},
        "image": {
            "axes": [
                {"name": "y", "unit": "micrometer", "scale": 0.5},
                {"name": "x", "unit": "micrometer", "scale": 0.25},
            ]
        },
    }
    assert found["shown"][1]["sources"] == ["disk:plate/B03_z1.npy"]
    assert found["skipped"] == []
    ((source, error),) = [tuple(one.values()) for one in found["failed"]]
    assert source == "disk:none.npy"
    assert "does not exist" in error


def test_dry_run_shows_nothing(run: Run, here: FileManager, inbox: Inbox) -> None:
    result = run("view", "a.tif", "plate", "--dry-run", *STREAM)
    assert result.stdout.splitlines() == [
        "image disk:a.tif: 4 x 5 uint16",
        "stack of 2 images disk:plate: 4 x 5 uint16",
    ]
    assert inbox() == []


# ── errors ────────────────────────────────────────────────────────────────────────────────


def test_others_are_shown_if_one_fails(
    run: Run, here: FileManager, inbox: Inbox, tmp_path: Path
) -> None:
    (tmp_path / "bad.npy").write_bytes(b"no array")
    result = run("view", "bad.npy", "none.npy", "a.npy", *STREAM)
    assert result.exit_code == 1
    assert [line.partition(": ")[0] for line in result.stderr.splitlines()] == ["error"] * 2
    assert [image["path"] for image in inbox()] == ["a.npy"]


def test_missing_file_sends_no_series(run: Run, here: FileManager, inbox: Inbox) -> None:
    result = run("view", "a.npy", "none.npy", "--stack", *STREAM)
    assert (result.exit_code, result.stderr.count("\n")) == (1, 1)
    assert "'none.npy' does not exist" in result.stderr
    assert inbox() == []


@pytest.mark.parametrize(
    ("arguments", "exit_code", "trouble"),
    [
        ("notes.md --viewer streaming", 1, "no installed format has that suffix"),
        ("a.npy --viewer disk", 2, "'disk' is not a viewer: it stores data, see polystore cp"),
        ("a.npy --viewer disk:", 2, "'disk' is not a viewer"),
        ("a.npy --viewer nothing", 1, "no backend is called 'nothing'"),
        ("nothing:a.npy --viewer streaming", 1, "no backend is called 'nothing'"),
        ("a.npy --viewer streaming --name b", 1, "has no option 'viewer'"),
        ("a.npy --viewer streaming -o colour=red", 1, "has no option 'colour'"),
        ("a.npy --viewer streaming -o colour", 2, "write -o NAME=VALUE"),
        ("a.npy --viewer streaming -o axes=qq", 1, "axes='qq' is not valid"),
        ("a.npy --viewer streaming --names {z}.npy", 1, "a name that fits '{z}.npy'"),
    ],
)
def test_refusal_is_one_line(
    run: Run,
    here: FileManager,
    inbox: Inbox,
    arguments: str,
    exit_code: int,
    trouble: str,
) -> None:
    Path("notes.md").write_text("no image")
    result = run("view", *arguments.split())
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert trouble in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert inbox() == []


def test_missing_receiver_is_reported(
    run: Run, here: FileManager, runtime_directory: None
) -> None:
    result = run("view", "a.npy", "a.tif", *STREAM)
    assert result.exit_code == 1
    assert result.stderr.startswith("error: backend 'streaming': channel 'default' has no ")
    assert result.stderr.count("\n") == 1


class Painter(DataSink):
    """A viewer with few options. Several of them can run under different names."""

    _backend_type = "painter_stream"
    paintings: list[tuple[str, str, dict[str, Any]]] = []

    def __init__(self, *, viewer: str = "default") -> None:
        self.viewer = viewer

    def save(self, data: Any, path: Any, /, *, scale: Any = None, labels: bool = False) -> None:
        self.paintings.append((self.viewer, data.shape, {"scale": scale, "labels": labels}))


@pytest.fixture
def paintings() -> list[tuple[str, str, dict[str, Any]]]:
    Painter.paintings.clear()
    return Painter.paintings


def test_viewer_has_a_name(
    run: Run, here: FileManager, paintings: list[tuple[str, str, dict[str, Any]]]
) -> None:
    for arguments in ((), ("--name", "left")):
        assert run("view", "a.npy", "--viewer", "painter", *arguments).exit_code == 0
    assert [viewer for viewer, _, _ in paintings] == ["default", "left"]


def test_viewer_without_axes_gets_arrays(
    run: Run, here: FileManager, paintings: list[tuple[str, str, dict[str, Any]]]
) -> None:
    """The axes are not put in order for it."""
    here.save(np.zeros((2, 3, 4, 5), "<u2"), "h.tif", backend="disk", imagej=True, axes="ZCYX")
    run("view", "a.tif", "h.tif", "--labels", "--viewer", "painter")
    assert paintings == [
        ("default", (4, 5), {"scale": None, "labels": True}),
        ("default", (2, 3, 4, 5), {"scale": None, "labels": True}),
    ]


def test_images_carry_their_metadata(inbox: Inbox, capsys: pytest.CaptureFixture[str]) -> None:
    """An image is sent with all of its metadata, in the order of viewers. A guess is reported."""
    words = replace(
        image_metadata((2, 3, 4, 5), "<u2", scale={"z": 2, "x": 0.5}, channels=["DAPI", "GFP"]),
        guessed=frozenset({"axes"}),
    )
    stack = np.arange(120, dtype="<u2").reshape(2, 3, 4, 5)
    image = Image(stack, words).transpose("zcyx")
    with BackendRegistry() as registry:
        files = FileManager(registry)
        files.save(image, "a", "memory")
        arrangement = Arrangement()
        arrangement.add(files, [find_images(files, Address("memory", "a"))])
        show = Show(files, "streaming", {})
        assert show.send(arrangement.views) == []
        (document,) = map(show.document, arrangement.views)
    assert document["image"] == metadata_document(image.metadata)
    (item,) = inbox()
    assert (item["axes"], item["scale"]) == ("czyx", (1.0, 2.0, 1.0, 0.5))
    assert item["channels"] == ["DAPI", "GFP"]
    np.testing.assert_array_equal(item["data"], stack)
    assert "memory:a does not name its axes: guessed z, c, y, x" in capsys.readouterr().err


def test_missing_viewer_is_named(process: Callable[..., Any], tmp_path: Path) -> None:
    """If a viewer is missing or disabled, one line names its package."""
    np.save(tmp_path / "a.npy", IMAGE)
    done = process("view", "a.npy", POLYSTORE_DISABLE="polystore-napari")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert "polystore-napari" in done.stderr


@pytest.mark.parametrize("name", [(), ("--name", "left")])
def test_json_needs_no_viewer(
    process: Callable[..., Any], tmp_path: Path, name: tuple[str, ...]
) -> None:
    np.save(tmp_path / "a.npy", IMAGE)
    off = {"POLYSTORE_DISABLE": "polystore-napari"}
    done = process("view", "a.npy", "--json", *name, **off)
    (view,) = json.loads(done.stdout)["shown"]
    assert (done.returncode, view["viewer"], view["shape"]) == (0, "napari_stream", [4, 5])
    assert done.stderr.startswith("note: backend 'napari_stream'")
    done = process("view", "a.npy", "--json", "--viewer", "napary", **off)
    assert (done.returncode, done.stdout) == (1, "")
    assert "no backend is called 'napary'" in done.stderr
