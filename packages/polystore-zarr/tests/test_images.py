import json
from pathlib import Path

import numpy as np
import pytest

from polystore_core import FileManager, rois
from polystore_core.errors import (
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    UnsupportedDataError,
    UnsupportedOperationError,
)
from polystore_testing import Bound

STACK = np.random.default_rng(1).integers(0, 4000, (2, 3, 600, 500), dtype="u2")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


@pytest.mark.parametrize(("ome", "zarr_format"), [(None, 3), ("0.5", 3), ("0.4", 2)])
def test_image_round_trips(store: Bound, ome: str | None, zarr_format: int) -> None:
    store.save(
        STACK,
        "x.ome.zarr",
        ome=ome,
        scale={"z": 2.0, "y": 0.5, "x": 0.5},
        units="um",
        channels=["DAPI", {"label": "GFP", "color": "green"}],
    )
    np.testing.assert_array_equal(store.load("x.ome.zarr"), STACK)
    info = store.info("x.ome.zarr")
    assert (info.kind, info.format, info.shape, info.dtype) == (
        "file",
        "ome-zarr",
        STACK.shape,
        "<u2",
    )
    found = info.metadata
    assert found["zarr_format"] == zarr_format
    assert found["axes"] == ["c", "z", "y", "x"]
    assert found["scale"] == [1.0, 2.0, 0.5, 0.5]
    assert found["units"] == [None, "micrometer", "micrometer", "micrometer"]
    assert found["channels"] == ["DAPI", "GFP"]
    assert found["levels"] == [(2, 3, 600, 500), (2, 3, 300, 250), (2, 3, 150, 125)]


def test_levels_are_means(store: Bound) -> None:
    store.save(STACK, "x.ome.zarr", axes="czyx")
    quads = STACK.reshape(2, 3, 300, 2, 250, 2).astype("u4").sum(axis=(3, 5))
    np.testing.assert_array_equal(store.load("x.ome.zarr", level=1), (quads + 2) // 4)
    np.testing.assert_array_equal(
        store.load("x.ome.zarr/1"), store.load("x.ome.zarr", level=-2)
    )
    part = store.load("x.ome.zarr", level=2, region=np.s_[1, -1, 10:20])
    np.testing.assert_array_equal(part, store.open("x.ome.zarr", level=2)[1, -1, 10:20])


def test_number_of_levels_can_be_chosen(store: Bound) -> None:
    store.save(STACK[0, 0], "x.ome.zarr", levels=1)
    assert store.info("x.ome.zarr").metadata["levels"] == [(600, 500)]
    with pytest.raises(InvalidOptionError, match="levels"):
        store.save(STACK[0, 0], "y.ome.zarr", levels=99)
    with pytest.raises(InvalidOptionError, match="level"):
        store.load("x.ome.zarr", level=1)


def test_display_range_is_measured(store: Bound) -> None:
    image = np.zeros((2, 300, 300), "u2")
    image[1] = 7
    store.save(
        image, "x.ome.zarr", channels=["a", {"label": "b", "window": {"start": 1, "end": 5}}]
    )
    channels = json.loads(Path("x.ome.zarr/zarr.json").read_text())["attributes"]["ome"][
        "omero"
    ]["channels"]
    assert channels[0]["window"] == {"min": 0, "max": 65535, "start": 0, "end": 0}
    assert channels[1]["window"] == {"min": 0, "max": 65535, "start": 1, "end": 5}


def test_several_images_in_store(store: Bound) -> None:
    store.save_batch([STACK[0], STACK[1]], ["x.ome.zarr/first", "x.ome.zarr/second"])
    assert store.list_files("x.ome.zarr") == ["x.ome.zarr/first", "x.ome.zarr/second"]


def test_ome_on_request(store: Bound) -> None:
    store.save(STACK, "x.zarr/image", ome=True, axes="czyx")
    store.save(STACK, "y.ome.zarr", ome=False)
    assert store.info("x.zarr/image").format == "ome-zarr"
    assert store.info("y.ome.zarr").format == "zarr"
    with pytest.raises(InvalidOptionError, match="names a store"):
        store.save(STACK, "a.tif", ome=True, axes="czyx")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"axes": "czxy"}, "axes"),
        ({"axes": "qzyx"}, "axes"),
        ({"axes": "zyx"}, "axes"),
        ({"scale": [1, 2]}, "each of c, z, y, x"),
        ({"scale": [1, 1, 1, 0]}, "scale"),
        ({"scale": {"q": 1}}, "scale"),
        ({"units": "parsnip"}, "units"),
        ({"channels": ["one"]}, "channels"),
        ({"channels": ["a", {"label": "b", "color": "nocolour"}]}, "color"),
        ({"ome": "0.6"}, "0.5"),
        ({"zarr_format": 4}, "3 or 2"),
        ({"ome": "0.4", "zarr_format": 3}, "NGFF 0.4"),
        ({"ome": False, "levels": 2}, "ome=True"),
        ({"chunks": (1, 2)}, "chunks"),
        ({"compressor": "zip"}, "compressor"),
    ],
)
def test_mistakes_write_nothing(store: Bound, options: dict, match: str) -> None:
    with pytest.raises(InvalidOptionError, match=match):
        store.save(STACK, "x.ome.zarr", **{"axes": "czyx"} | options)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    "path",
    [
        "p.ome.zarr/B/x/0",
        "p.ome.zarr/b/03/0",
        "p.ome.zarr/B/03/a-b",
        "p.ome.zarr/B/03",
        "p.ome.zarr/B/03/0/1",
        "p.ome.zarr/labels",
    ],
)
def test_impossible_paths_are_refused(store: Bound, path: str) -> None:
    with pytest.raises(InvalidOptionError):
        store.save(STACK, path)
    assert list(Path().iterdir()) == []


def test_impossible_pixels_are_refused(store: Bound) -> None:
    for value in (np.array(["a"]), STACK[0, 0, 0], STACK.astype(complex)):
        with pytest.raises(UnsupportedDataError, match=r"'x\.ome\.zarr' \(ome-zarr\)"):
            store.save(value, "x.ome.zarr")


# ── labels ───────────────────────────────────────────────────────────────────────────────


def test_labels_belong_to_image(store: Bound) -> None:
    store.save(STACK, "x.ome.zarr", levels=2, axes="czyx")
    mask = (STACK[0] > 2000).astype("u1") * 200
    store.save(mask, "x.ome.zarr/labels/nuclei")
    store.save(mask, "x.ome.zarr/labels/cells")
    store.save(mask, "x.ome.zarr/labels/nuclei")
    np.testing.assert_array_equal(store.load("x.ome.zarr/labels/nuclei"), mask)
    assert store.info("x.ome.zarr").metadata["labels"] == ["nuclei", "cells"]
    assert store.list_dir("x.ome.zarr/labels") == ["cells", "nuclei"]
    info = store.info("x.ome.zarr/labels/nuclei")
    assert info.metadata["levels"] == [(3, 600, 500), (3, 300, 250)]
    assert set(np.unique(store.load("x.ome.zarr/labels/nuclei", level=1))) == {0, 200}
    store.delete("x.ome.zarr/labels/nuclei")
    assert store.info("x.ome.zarr").metadata["labels"] == ["cells"]


def test_labels_need_image(store: Bound) -> None:
    mask = np.zeros((600, 500), "u1")
    with pytest.raises(NotFoundError, match="save the image first"):
        store.save(mask, "x.ome.zarr/labels/nuclei")
    store.save(STACK[0, 0], "x.ome.zarr")
    for wrong in (mask[:10], mask.astype(float)):
        with pytest.raises(UnsupportedDataError, match="label"):
            store.save(wrong, "x.ome.zarr/labels/nuclei")
    assert store.info("x.ome.zarr").metadata["labels"] == []


# ── plates ───────────────────────────────────────────────────────────────────────────────


def plate(path: str) -> dict:
    return json.loads(Path(path, "zarr.json").read_text())["attributes"]["ome"]


def test_fields_make_plate(store: Bound) -> None:
    for place in ("B/10/0", "B/2/0", "A/10/1", "A/10/0", "AA/1/0"):
        store.save(STACK[0, 0], f"p.ome.zarr/{place}")
    found = plate("p.ome.zarr")["plate"]
    assert [row["name"] for row in found["rows"]] == ["A", "B", "AA"]
    assert [column["name"] for column in found["columns"]] == ["1", "2", "10"]
    assert [well["path"] for well in found["wells"]] == ["A/10", "B/2", "B/10", "AA/1"]
    assert plate("p.ome.zarr/A/10")["well"]["images"] == [{"path": "0"}, {"path": "1"}]
    assert store.list_files("p.ome.zarr", recursive=True)[:2] == [
        "p.ome.zarr/A/10/0",
        "p.ome.zarr/A/10/1",
    ]
    with pytest.raises(NotAFileError):
        store.save(STACK, "p.ome.zarr")
    with pytest.raises(InvalidOptionError, match="field"):
        store.save(STACK, "p.ome.zarr/image")


def test_plate_follows_changes(store: Bound) -> None:
    for place in ("A/1/0", "A/1/1", "B/2/0"):
        store.save(STACK[0, 0], f"p.ome.zarr/{place}")
    store.delete("p.ome.zarr/A/1/0")
    assert plate("p.ome.zarr/A/1")["well"]["images"] == [{"path": "1"}]
    store.move("p.ome.zarr/A/1/1", "p.ome.zarr/C/3/0")
    store.copy("p.ome.zarr/B/2/0", "p.ome.zarr/B/3/0")
    wells = [well["path"] for well in plate("p.ome.zarr")["plate"]["wells"]]
    assert {"B/2", "B/3", "C/3"} <= set(wells)
    store.delete("p.ome.zarr/B", recursive=True)
    wells = [well["path"] for well in plate("p.ome.zarr")["plate"]["wells"]]
    assert "C/3" in wells
    assert not any(well.startswith("B/") for well in wells)


def test_image_cannot_hold_a_plate(store: Bound) -> None:
    store.save(STACK, "x.ome.zarr", axes="czyx")
    with pytest.raises(NotADirectoryInPathError):
        store.save(STACK[0], "x.ome.zarr/B/03/0")


def test_regions_of_images_cannot_be_saved(store: Bound) -> None:
    store.save(STACK, "x.ome.zarr", axes="czyx")
    with pytest.raises(UnsupportedOperationError, match="pyramid"):
        store.save(STACK[:1], "x.ome.zarr", region=np.s_[:1])


# ── streaming ────────────────────────────────────────────────────────────────────────────


def test_handles_are_streamed(store: Bound) -> None:
    store.manager.save(STACK, "a.npy", backend="disk")
    seen: list[tuple[int, int]] = []
    with store.manager.open("a.npy", backend="disk") as handle:
        store.save(
            handle,
            "x.ome.zarr",
            axes="czyx",
            chunks=(1, 1, 256, 256),
            progress=lambda done, total: seen.append((done, total)),
        )
    np.testing.assert_array_equal(store.load("x.ome.zarr"), STACK)
    assert seen[-1] == (36, 36)


# ── values that are not arrays ───────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        ({"a": 1}, r"\.json"),
        ([1, 2], r"\.json"),
        ("text", r"\.json"),
        (None, r"\.json"),
        (np.array([{}], dtype=object), "objects"),
    ],
)
def test_other_values_name_a_format(store: Bound, value: object, advice: str) -> None:
    with pytest.raises(UnsupportedDataError, match=advice):
        store.save(value, "run.zarr/a")
    assert list(Path().iterdir()) == []


def test_rois_name_a_format(store: Bound) -> None:
    roi = rois.ROI(rois.Rectangle(centre=(4, 5), size=(2, 3)))
    for value in (roi, [roi], roi.shape):
        with pytest.raises(UnsupportedDataError, match=r"'disk', as \.json"):
            store.save(value, "run.zarr/a")
    store.manager.save([roi.to_dict()], "rois.json", backend="disk")


def test_tables_name_csv(store: Bound) -> None:
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    with pytest.raises(UnsupportedDataError, match=r"\.csv"):
        store.save(pandas.DataFrame({"a": [1]}), "run.zarr/a")
