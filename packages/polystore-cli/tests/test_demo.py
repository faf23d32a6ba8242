"""Run ``polystore demo`` in its own process, as people do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_cli.synthetic import draw_plate, find_nuclei, measure_nuclei
from polystore_core import FileManager

from .conftest import Process

ALONE = "napari_stream,fiji_stream,zarr,ome.tif,png"
"""Parts that ``pip install polystore polystore-cli`` does not install."""
WELLS = ["A01", "A02", "A03", "B01", "B02", "B03"]
PATIENCE = 60.0


def run_demo(process: Process, *options: str, **variables: str) -> dict[str, Any]:
    done = process("demo", "--json", *options, **variables)
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.parametrize("disabled", ["", ALONE], ids=["all formats", "alone"])
def test_results_fit_the_images(
    process: Process, files: FileManager, tmp_path: Path, disabled: str
) -> None:
    """The labels on disk fit the images, and the printed code finds them too."""
    report = run_demo(process, "--no-viewer", POLYSTORE_DISABLE=disabled)
    suffix = ".npy" if disabled else ".ome.tif"
    rows = files.load("polystore-demo/nuclei.csv", "disk")
    assert report["nuclei"] == {well: int((rows["well"] == well).sum()) for well in WELLS}
    found = dict.fromkeys(WELLS, 0)
    for well, field, pixels in draw_plate():
        name = f"{well}_f{field}{suffix}"
        assert np.array_equal(files.load(f"polystore-demo/images/{name}", "disk"), pixels)
        labels = files.load(f"polystore-demo/labels/{name}", "disk")
        assert np.array_equal(labels, find_nuclei(pixels[0]))
        found[well] += int(labels.max())
        if not disabled:
            path = f"polystore-demo/plate.ome.zarr/{well[0]}/{well[1:]}/{field}"
            image = files.load(path, "zarr", as_="image")
            assert np.array_equal(image.data, pixels)
            assert image.metadata.axes[1].scale == 0.65
            assert np.array_equal(files.load(f"{path}/labels/nuclei", "zarr"), labels)
    assert report["nuclei"] == found
    picture = "overview.npy" if disabled else "overview.png"
    assert files.load(f"polystore-demo/{picture}", "disk").shape == (520, 1560, 3)
    assert any("pip install" in note for note in report["notes"]) == bool(disabled)

    code = [sys.executable, "-c", report["code"]]
    subprocess.run(code, check=True, cwd=tmp_path)
    again = files.list_files("polystore-demo/again", backend="disk")
    first = files.list_files("polystore-demo/labels", backend="disk")
    assert len(again) == len(first) == 12
    for one, other in zip(again, first, strict=True):
        assert np.array_equal(files.load(one, "disk"), files.load(other, "disk"))


def test_labels_are_the_drawn_cells() -> None:
    """Cells do not touch, so each is one object. Columns have 30 to 35, 20 to 25, 10 to 15."""
    for well, _, pixels in draw_plate():
        labels = find_nuclei(pixels[0])
        column = int(well[1:])
        assert labels.max() in range(40 - 10 * column, 46 - 10 * column)
        assert np.array_equal(np.unique(labels), np.arange(labels.max() + 1))


def test_objects_that_touch_are_one() -> None:
    """A ring needs many rounds until its number reaches each pixel."""
    plane = np.zeros((40, 40), np.uint16)
    plane[2:30, 2:30] = 1000
    plane[4:28, 4:28] = 0
    plane[34:38, 5:35] = 1000  # a bar, apart from the ring
    plane[10, 10] = 1000  # too small
    labels = find_nuclei(plane)
    plane[10, 10] = 0
    assert np.array_equal(labels > 0, plane > 0)
    assert labels[2, 2] == labels[29, 29] != labels[34, 5] == labels[37, 34]
    rows = measure_nuclei(np.stack([plane, plane // 2]), labels, 0.5)
    assert [row[0] for row in rows] == [1, 2]
    bar = rows[labels[34, 5] - 1]
    assert bar[1:] == (35.5 * 0.5, 19.5 * 0.5, 120 * 0.25, 1000, 500)


def test_second_run_replaces_the_first(
    process: Process, files: FileManager, tmp_path: Path
) -> None:
    folder = tmp_path / "polystore-demo"
    first = run_demo(process, "--no-viewer")
    before = {name: (folder / name).read_bytes() for name in ("nuclei.csv", "overview.png")}
    (folder / "nuclei.csv").write_text("damaged")
    again = run_demo(process, "--no-viewer")
    assert again["nuclei"] == first["nuclei"]
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert (
        len(files.list_files("polystore-demo", backend="disk", recursive=True)) >= 12 + 12 + 3
    )


def test_folder_with_other_files_stays(process: Process, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "overview.png").write_text("my picture")
    done = process("demo", "--folder", "mine", "--no-viewer")
    assert (done.returncode, done.stdout) == (1, "")
    assert "'overview.png'" in done.stderr
    assert "--folder" in done.stderr
    assert [(path.name, path.read_text()) for path in mine.iterdir()] == [
        ("overview.png", "my picture")
    ]


def test_unwritable_folder_is_refused(process: Process, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = process("demo", "--folder", "file/demo", "--no-viewer")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert "file/demo" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_viewers_exclude_no_viewer(process: Process, tmp_path: Path) -> None:
    assert process("demo", "--viewer", "napari", "--no-viewer").returncode == 2
    assert not list(tmp_path.glob("*demo*"))


def test_missing_viewer_is_an_error(process: Process, tmp_path: Path) -> None:
    """A named viewer is required, but the results are on disk anyway."""
    done = process("demo", "--viewer", "nonesuch")
    assert done.returncode == 1
    assert "'nonesuch'" in done.stderr
    assert (tmp_path / "polystore-demo/nuclei.csv").exists()


def test_missing_screen_is_explained(process: Process, tmp_path: Path) -> None:
    pytest.importorskip("polystore_napari")
    variables = {
        "DISPLAY": "",
        "WAYLAND_DISPLAY": "",
        "POLYSTORE_DISABLE": "fiji_stream",
        "POLYSTORE_RUNTIME_DIR": os.fspath(tmp_path / "run"),
    }
    done = process("demo", **variables)
    assert done.returncode == 0
    [note] = [line for line in done.stderr.splitlines() if line.startswith("note: no viewer")]
    assert "DISPLAY" in note
    assert (tmp_path / "polystore-demo/overview.png").exists()
    assert "Overview of all images: polystore-demo/overview.png\n" in done.stdout


@pytest.mark.skipif(sys.platform != "linux", reason="system: pipes of a known size are Linux's")
def test_folder_of_an_interrupted_demo_is_used_again(process: Process, tmp_path: Path) -> None:
    """The pipe is full, so the first line of the demo waits until it is interrupted."""
    import fcntl

    reader, writer = os.pipe()
    size = fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    os.write(writer, b"." * size)
    command = [sys.executable, "-m", "polystore_cli", "demo", "--no-viewer"]
    with subprocess.Popen(
        command, stdout=writer, stderr=subprocess.PIPE, cwd=tmp_path, text=True
    ) as demo:
        os.close(writer)
        last = tmp_path / "polystore-demo/images/B03_f2.ome.tif"
        patience = time.monotonic() + PATIENCE
        while not last.exists():
            assert time.monotonic() < patience
            time.sleep(0.02)
        demo.send_signal(signal.SIGINT)
        with open(reader, "rb") as printed:
            printed.read()  # the demo can print its last lines
        assert demo.stderr is not None
        errors = demo.stderr.read()
        assert demo.wait(PATIENCE) == 130
    assert "Traceback" not in errors
    assert not (tmp_path / "polystore-demo/labels").exists()
    assert run_demo(process, "--no-viewer")["nuclei"].keys() == set(WELLS)
