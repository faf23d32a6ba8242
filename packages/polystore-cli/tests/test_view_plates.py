"""``polystore view`` of OME-Zarr plates and of stores."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager

from .conftest import Inbox, Run

pytest.importorskip("polystore_stream")
pytest.importorskip("polystore_zarr")

STREAM = ("--viewer", "streaming")
IMAGE = np.arange(20, dtype="<u2").reshape(4, 5)
FIELDS = ("B/02/0", "B/02/1", "B/04/0", "B/04/1", "D/03/0", "D/03/1")


@pytest.fixture
def plate(files: FileManager) -> FileManager:
    """Save three wells of two fields and two channels in ``p.ome.zarr``."""
    for number, path in enumerate(FIELDS):
        pixels = np.stack([IMAGE + number, IMAGE + number + 100])
        files.save(
            pixels, f"p.ome.zarr/{path}", backend="zarr", axes="cyx", channels=["DNA", "actin"]
        )
    return files


def _json(run: Run, *arguments: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run("view", *arguments, "--json", *STREAM).stdout)
    return found


# ── plates ───────────────────────────────────────────────────────────────────────────────


def test_plate_is_one_picture(run: Run, plate: FileManager, inbox: Inbox) -> None:
    for field in ("B/02/1", "B/04/1", "D/03/1"):
        plate.delete(f"p.ome.zarr/{field}", "zarr", recursive=True)
    result = run("view", "p.ome.zarr", *STREAM)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == (
        "note: zarr:p.ome.zarr: 3 of 6 wells are not there, and black in the picture\n"
    )
    (item,) = inbox()
    assert (item["path"], item["channels"]) == ("p.ome.zarr", ["DNA", "actin"])
    pixels = item["data"]
    assert pixels.shape == (2, 8, 15)
    np.testing.assert_array_equal(pixels[0, :4, :5], IMAGE)
    np.testing.assert_array_equal(pixels[1, 4:, 5:10], IMAGE + 104)
    assert not pixels[:, :4, 5:10].any()


def test_plate_in_json(run: Run, plate: FileManager) -> None:
    (view,) = _json(run, "p.ome.zarr")["shown"]
    assert (view["how"], view["path"]) == ("montage", "p.ome.zarr")
    assert view["fields"] == {"well": 3, "field": 2}
    assert (view["shape"], view["dtype"]) == ([2, 2, 8, 15], "<u2")
    assert [axis["name"] for axis in view["image"]["axes"]] == ["field", "c", "y", "x"]


def test_failed_picture_suggests_a_stack(run: Run, files: FileManager, inbox: Inbox) -> None:
    """Viewers have five axes. The error names an option that works."""
    for field in ("0", "1"):
        path = f"p.ome.zarr/A/1/{field}"
        files.save(np.ones((2, 2, 3, 4, 5), "u1"), path, "zarr", axes="tczyx", levels=1)
    result = run("view", "p.ome.zarr", *STREAM)
    assert result.exit_code == 1
    assert "6 axes is not an image" in result.stderr
    assert result.stderr.endswith(". --stack shows each field of the plate\n")
    assert run("view", "p.ome.zarr", "--stack", *STREAM).exit_code == 0
    assert [item["axes"] for item in inbox()] == ["tczyx"] * 2


def test_plate_is_a_stack(run: Run, plate: FileManager, inbox: Inbox) -> None:
    result = run("view", "p.ome.zarr", "--stack", *STREAM)
    assert (result.exit_code, result.output) == (0, "")
    items = inbox()
    assert len({item["layer"] for item in items}) == 1
    places = [(item["at"]["well"], item["at"]["field"]) for item in items]
    assert places == [
        ("B02", "0"),
        ("B02", "1"),
        ("B04", "0"),
        ("B04", "1"),
        ("D03", "0"),
        ("D03", "1"),
    ]
    np.testing.assert_array_equal(items[4]["data"], [IMAGE + 4, IMAGE + 104])
    assert items[4]["channels"] == ["DNA", "actin"]
    (view,) = _json(run, "p.ome.zarr", "--stack")["shown"]
    assert (view["how"], view["fields"]) == ("stack", {"well": 3, "field": 2})
    assert view["sources"] == [f"zarr:p.ome.zarr/{path}" for path in FIELDS]


def test_one_field_has_no_slider(run: Run, plate: FileManager, inbox: Inbox) -> None:
    shutil.rmtree("p.ome.zarr")
    for well in ("A/1", "A/2"):
        plate.save(IMAGE, f"p.ome.zarr/{well}/0", backend="zarr", axes="yx")
    assert run("view", "p.ome.zarr", "--stack", *STREAM).exit_code == 0
    assert [item["at"] for item in inbox()] == [{"well": "A1"}, {"well": "A2"}]


def test_level_of_a_screen_is_shown(run: Run, files: FileManager, inbox: Inbox) -> None:
    """Planes of a plate's stack fit a screen. Single images keep their size."""
    large = np.zeros((2050, 64), "u1")
    for well in ("A/1", "A/2"):
        files.save(large, f"p.ome.zarr/{well}/0", backend="zarr", axes="yx")
    assert run("view", "p.ome.zarr", "--stack", *STREAM).exit_code == 0
    assert run("view", "p.ome.zarr/A/1/0", *STREAM).exit_code == 0
    assert [item["data"].shape for item in inbox()] == [(1025, 32), (1025, 32), (2050, 64)]
    (view,) = _json(run, "p.ome.zarr", "--stack")["shown"]
    assert view["shape"] == [1025, 32]


@pytest.mark.parametrize("stack", [(), ("--stack",)])
def test_missing_fields_are_noted(
    run: Run, plate: FileManager, inbox: Inbox, stack: tuple[str, ...]
) -> None:
    shutil.rmtree("p.ome.zarr/B/02/1")
    shutil.rmtree("p.ome.zarr/D/03")
    result = run("view", "p.ome.zarr", *stack, *STREAM)
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    listed = "the plate lists it, and it is not there"
    assert f"note: skipped zarr:p.ome.zarr/B/02/1: {listed}" in lines
    assert f"note: skipped zarr:p.ome.zarr/D/03: {listed}" in lines
    assert len(inbox()) == (3 if stack else 1)


def test_fields_that_disagree_are_refused(run: Run, plate: FileManager, inbox: Inbox) -> None:
    plate.save(IMAGE, "p.ome.zarr/D/03/1", backend="zarr", axes="yx")
    result = run("view", "p.ome.zarr", "--stack", *STREAM)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == (
        "error: zarr:p.ome.zarr/D/03/1 has shape (4, 5), but zarr:p.ome.zarr/B/02/0 has "
        "(2, 4, 5): images of one stack must be alike\n"
    )
    assert inbox() == []


def test_damaged_well_is_reported(run: Run, plate: FileManager, inbox: Inbox) -> None:
    Path("p.ome.zarr/B/04/zarr.json").write_text("{")
    result = run("view", "p.ome.zarr", "--stack", *STREAM)
    assert result.exit_code == 1
    assert "error: the document of zarr:p.ome.zarr/B/04 is damaged\n" in result.stderr
    assert [item["at"]["well"] for item in inbox()] == ["B02", "B02", "D03", "D03"]


def test_damaged_field_is_reported(run: Run, plate: FileManager, inbox: Inbox) -> None:
    Path("p.ome.zarr/B/04/1/zarr.json").write_text("{")
    result = run("view", "p.ome.zarr", "--stack", *STREAM)
    assert result.exit_code == 1
    assert "p.ome.zarr/B/04/1/zarr.json' (json) is damaged" in result.stderr
    assert len(inbox()) == 5


def test_plate_without_fields_is_an_error(run: Run, plate: FileManager, inbox: Inbox) -> None:
    """It has no picture, and the error says why. The other image is shown."""
    plate.save(IMAGE, "a.npy", backend="disk")
    for path in FIELDS:
        shutil.rmtree(f"p.ome.zarr/{path}")
    for arguments in ((), ("--json",)):
        result = run("view", "p.ome.zarr", "a.npy", *arguments, *STREAM)
        assert result.exit_code == 1
        assert "error: backend 'zarr': 'p.ome.zarr'" in result.stderr
    found = json.loads(result.stdout)
    assert [view["path"] for view in found["shown"]] == ["a.npy"]
    assert [one["source"] for one in found["failed"]] == ["zarr:p.ome.zarr"]
    assert [item["path"] for item in inbox()] == ["a.npy"]


def test_plate_needs_no_names(run: Run, plate: FileManager) -> None:
    result = run("view", "p.ome.zarr", "--names", "auto", *STREAM)
    assert (result.exit_code, result.stderr) == (
        2,
        "error: zarr:p.ome.zarr is a plate: show it without --names\n",
    )


# ── stores ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def store(files: FileManager) -> FileManager:
    """Save two images in ``images.zarr``, of which one has labels, and a curve."""
    files.save(IMAGE, "images.zarr/b", backend="zarr", ome=True, axes="yx")
    files.save(IMAGE, "images.zarr/folder/a", backend="zarr")
    files.save(IMAGE % 3, "images.zarr/b/labels/nuclei", backend="zarr")
    files.save(np.arange(5.0), "images.zarr/curve", backend="zarr")
    return files


def test_images_of_a_store_are_shown(run: Run, store: FileManager, inbox: Inbox) -> None:
    result = run("view", "images.zarr", *STREAM)
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr == "note: skipped zarr:images.zarr/curve: not an image\n"
    assert [(item["path"], item["labels"]) for item in inbox()] == [
        ("images.zarr/b", False),
        ("images.zarr/b/labels/nuclei", True),
        ("images.zarr/folder/a", False),
    ]


def test_labels_of_an_image_are_shown(run: Run, store: FileManager, inbox: Inbox) -> None:
    result = run("view", "images.zarr/b", *STREAM)
    assert (result.exit_code, result.output) == (0, "")
    assert [item["labels"] for item in inbox()] == [False, True]


def test_store_is_a_stack(run: Run, store: FileManager, inbox: Inbox) -> None:
    result = run("view", "images.zarr", "--stack", *STREAM)
    assert result.exit_code == 0
    assert (
        "note: skipped zarr:images.zarr/b/labels/nuclei: a stack has no label images"
        in result.stderr.splitlines()
    )
    first, second = inbox()
    assert (first["path"], second["path"]) == ("images.zarr/b", "images.zarr/folder/a")


def test_damaged_image_hides_no_others(run: Run, store: FileManager, inbox: Inbox) -> None:
    Path("images.zarr/b/labels/nuclei/zarr.json").write_text("{")
    result = run("view", "images.zarr", *STREAM)
    assert result.exit_code == 1
    assert [item["path"] for item in inbox()] == ["images.zarr/b", "images.zarr/folder/a"]


def test_stores_in_a_folder_are_shown(run: Run, plate: FileManager, store: FileManager) -> None:
    Path("folder").mkdir()
    for name in ("images.zarr", "p.ome.zarr"):
        shutil.move(name, "folder")
    plate.save(IMAGE, "folder/a.npy", backend="disk")
    found = _json(run, "folder")
    sources = [source for view in found["shown"] for source in view["sources"]]
    assert sorted(sources) == [
        "disk:folder/a.npy",
        "zarr:folder/images.zarr/b",
        "zarr:folder/images.zarr/folder/a",
    ]
    assert {"source": "zarr:folder/p.ome.zarr", "reason": "name a plate to show it"} in found[
        "skipped"
    ]


def test_zipped_stores_are_shown(run: Run, plate: FileManager, store: FileManager) -> None:
    """Their names open them as those of other stores do, also in a folder."""
    Path("folder").mkdir()
    plate.copy("p.ome.zarr", "p.ozx", "zarr")
    plate.save(IMAGE, "folder/a.ozx", backend="zarr")
    plate.copy("images.zarr", "folder/images.zarr.zip", "zarr")
    views = _json(run, "p.ozx", "folder/images.zarr.zip", "folder")["shown"]
    sources = [source for view in views for source in view["sources"]]
    names = ["b", "b/labels/nuclei", "folder/a"]
    inside = [f"zarr:folder/images.zarr.zip/{name}" for name in names]
    assert sources == ["zarr:p.ozx", *inside, "zarr:folder/a.ozx", inside[0], inside[2]]
    assert (views[0]["how"], views[0]["shape"]) == ("montage", [2, 2, 8, 15])


def test_store_on_disk_gets_advice(run: Run, store: FileManager) -> None:
    result = run("view", "disk:images.zarr", *STREAM)
    assert result.exit_code == 1
    assert result.stderr.endswith(" To show a Zarr store: polystore view zarr:images.zarr\n")


def test_empty_store_is_an_error(run: Run, store: FileManager) -> None:
    for name in ("b", "folder"):
        shutil.rmtree(f"images.zarr/{name}")
    result = run("view", "images.zarr", *STREAM)
    assert (result.exit_code, result.stderr) == (
        1,
        "error: zarr:images.zarr has no images: found 1 array\n",
    )


# ── large images ─────────────────────────────────────────────────────────────────────────


def test_large_image_has_its_metadata(run: Run, files: FileManager, inbox: Inbox) -> None:
    """The viewer gets a handle."""
    large = np.zeros((2, 6000, 6000), "u1")
    large[1, -1, -1] = 7
    files.save(
        large,
        "large.ome.zarr",
        backend="zarr",
        axes="cyx",
        channels=["DNA", "actin"],
        scale={"y": 0.5, "x": 0.5},
        units="um",
        levels=1,
    )
    assert run("view", "large.ome.zarr", *STREAM).exit_code == 0
    (item,) = inbox()
    assert (item["channels"], item["scale"]) == (["DNA", "actin"], (1.0, 0.5, 0.5))
    assert item["data"].shape == large.shape
    assert item["data"][1, -1, -1] == 7
