"""``polystore view --follow`` shows images while another program writes them."""

import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager, Image

from .conftest import Inbox, Run

pytest.importorskip("polystore_stream")
pytest.importorskip("tifffile")
pytestmark = pytest.mark.timeout(120)

FOLLOW = ("--follow", "--viewer", "streaming", "--timeout")
IMAGE = np.arange(20, dtype="<u2").reshape(4, 5)


def test_new_files_are_shown(run: Run, files: FileManager, inbox: Inbox) -> None:
    for n in (0, 1):
        files.save(IMAGE + n, f"run/A01_t{n}.tif", backend="disk")
    Path("run/log.json").write_text("{}")
    Path("run/damaged.tif").write_bytes(b"II*\0")

    def write() -> None:
        for n in range(2, 6):
            time.sleep(0.2)
            files.save(IMAGE + n, f"run/A01_t{n}.tif", backend="disk")

    writer = threading.Thread(target=write)
    writer.start()
    result = run("view", "run", *FOLLOW, "5")
    writer.join()
    assert result.exit_code == 1
    damaged, note = sorted(result.stderr.splitlines())
    assert note == "note: disk:run/log.json is not an image"
    assert damaged.startswith("error: backend 'disk': 'run/damaged.tif'")
    items = inbox()
    assert [dict(item["at"]) for item in items] == [{"image": f"A01_t{n}"} for n in range(6)]
    assert len({item["layer"] for item in items}) == 1
    for n, item in enumerate(items):
        np.testing.assert_array_equal(item["data"], IMAGE + n)


def test_names_arrange_files(run: Run, files: FileManager, inbox: Inbox) -> None:
    for n in (0, 1):
        files.save(IMAGE + n, f"run/A01_t{n}.tif", backend="disk")
    result = run("view", "run", "--names", "{well}_t{t}.tif", *FOLLOW, "0")
    assert (result.exit_code, result.stderr) == (0, "")
    assert [dict(item["at"]) for item in inbox()] == [
        {"well": "A01", "t": "0"},
        {"well": "A01", "t": "1"},
    ]


def test_frames_of_an_array_are_shown(run: Run, files: FileManager, inbox: Inbox) -> None:
    pytest.importorskip("polystore_zarr")
    movie = np.arange(3 * 20, dtype="<u2").reshape(3, 4, 5)
    image = Image.of(movie, axes="tyx", scale={"y": 0.5, "x": 0.5}, units="um")
    files.save(image, "run.ome.zarr", backend="zarr")
    result = run("view", "run.ome.zarr", *FOLLOW, "0")
    assert (result.exit_code, result.stderr) == (0, "")
    items = inbox()
    assert [dict(item["at"]) for item in items] == [{"t": "0"}, {"t": "1"}, {"t": "2"}]
    assert len({item["layer"] for item in items}) == 1
    assert items[2]["scale"] == (0.5, 0.5)
    np.testing.assert_array_equal(items[2]["data"], movie[2])
    result = run("view", "run.ome.zarr", "--names", "{t}", *FOLLOW, "0")
    assert "--names arranges the files of a folder, and zarr:run.ome.zarr is an array" in (
        result.stderr
    )


@pytest.mark.parametrize(
    ("more", "option"),
    [
        (("b",), "several paths"),
        (("--dry-run",), "--dry-run and --json"),
        (("--json",), "--dry-run and --json"),
        (("--stack",), "--stack"),
        (("--names", "auto"), "--names auto"),
    ],
)
def test_options_that_need_all_images_are_refused(run: Run, more: Any, option: str) -> None:
    result = run("view", "a", *more, *FOLLOW, "0")
    assert result.exit_code == 1
    assert f"--follow shows images before all of them are there, so it refuses {option}" in (
        result.stderr
    )
