"""A plate as one lazy image. The plates are written by us, or by hand as other programs do."""

from __future__ import annotations

import json
import pickle
import shutil
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    StorageError,
    UnsupportedFileError,
    UnsupportedOperationError,
)

VERSIONS = ("0.4", "0.5")
RNG = np.random.default_rng(3)
SIDE = (301, 398)
FIELDS = {
    path: RNG.integers(1, 4000, (2, *SIDE), dtype="u2")
    for path in ("B/02/0", "B/02/1", "B/04/0", "D/03/0", "D/03/1")
}
"""Row C has no well. Field 1 of B/04 is missing."""
WORDS: dict[str, Any] = {
    "axes": "cyx", "scale": {"y": 0.5, "x": 0.5}, "units": "um", "channels": ["DNA", "Actin"],
}  # fmt: skip


@pytest.fixture
def fm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileManager:
    monkeypatch.chdir(tmp_path)
    registry = BackendRegistry()
    registry.add("scratch", "zarr", store="memory")
    registry.add("rooted", "zarr", root=str(tmp_path))
    registry.add("file", "zip", file="archive.zip")
    registry.add("zipped", "zarr", store="file")
    return FileManager(registry)


def save(
    fm: FileManager, plate: str = "p.ome.zarr", backend: str = "zarr", **more: Any
) -> None:
    paths = [f"{plate}/{path}" for path in FIELDS]
    fm.save_batch(list(FIELDS.values()), paths, backend, **WORDS, **more)


def picture(fields: dict[str, np.ndarray], rows: str = "BD") -> np.ndarray:
    """Put the image of the plate together by hand."""
    *planes, height, width = next(iter(fields.values())).shape
    found = np.zeros((2, *planes, len(rows) * height, 3 * width), "u2")
    for path, pixels in fields.items():
        row, column, field = path.split("/")
        y, x = rows.index(row) * height, (int(column) - 2) * width
        found[int(field), ..., y : y + height, x : x + width] = pixels
    return found


REGIONS = [
    np.s_[...],
    np.s_[1],
    np.s_[-1, 0, 300:302, 397:399],
    np.s_[0, :, ::-7, 3:1100:11],
    np.s_[..., 5, 5],
    np.s_[0, 0, 310, 400],
    np.s_[:, :, 10:10],
    np.s_[0, 1, 0:600:450],
]


# ── pixels ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("ome", VERSIONS)
def test_wells_are_where_the_plate_has_them(fm: FileManager, ome: str) -> None:
    save(fm, ome=ome)
    plate, expected = fm.open("p.ome.zarr", "zarr"), picture(FIELDS)
    assert (plate.shape, plate.dtype) == (expected.shape, expected.dtype)
    for region in REGIONS:
        np.testing.assert_array_equal(plate[region], expected[region], strict=True)


@pytest.mark.parametrize("ome", VERSIONS)
def test_levels_show_levels_of_fields(fm: FileManager, ome: str) -> None:
    save(fm, ome=ome, levels=3)
    levels = fm.open("p.ome.zarr", "zarr").levels
    for number, level in enumerate(levels):
        fields = {path: fm.load(f"p.ome.zarr/{path}", "zarr", level=number) for path in FIELDS}
        expected = picture(fields)
        assert level.shape == expected.shape
        assert level.image.scale == (None, None, 0.5 * 2**number, 0.5 * 2**number)
        for region in (..., np.s_[1, 0, ::-3, 5:200:7]):
            np.testing.assert_array_equal(level[region], expected[region])
        again = fm.open("p.ome.zarr", "zarr", level=number)
        np.testing.assert_array_equal(again[0], expected[0])
    assert len(levels) == 3
    assert fm.open("p.ome.zarr", "zarr", level=-1).level == 2
    with pytest.raises(InvalidOptionError, match="level"):
        fm.open("p.ome.zarr", "zarr", level=3)


@pytest.mark.parametrize("backend", ["scratch", "rooted", "zipped"])
def test_plates_in_every_store(fm: FileManager, backend: str) -> None:
    if backend == "zipped":  # this store refuses to list fields in a plate
        save(fm, "scratch.ome.zarr", "zarr")
        root = Path("scratch.ome.zarr")
        archive = fm.registry["file"].store
        for file in filter(Path.is_file, root.rglob("*")):
            archive.put(f"p.ome.zarr/{file.relative_to(root)}", file.read_bytes())
    else:
        save(fm, backend=backend)
    plate, expected = fm.open("p.ome.zarr", backend), picture(FIELDS)
    np.testing.assert_array_equal(plate[...], expected)
    assert [level.shape for level in plate.levels] == [(2, 2, 602, 1194), (2, 2, 302, 597)]
    assert fm.info("p.ome.zarr", backend).metadata["plate"]["missing"] == []


def test_plate_in_zipped_store(fm: FileManager) -> None:
    save(fm)
    fm.copy("p.ome.zarr", "p.ozx", backend="zarr")
    plate = fm.open("p.ozx", "zarr")
    np.testing.assert_array_equal(plate[...], picture(FIELDS))
    assert fm.info("p.ozx", "zarr").metadata["plate"]["wells"] == ["B/02", "B/04", "D/03"]


def test_one_field_has_no_axis(fm: FileManager) -> None:
    image = RNG.integers(0, 255, (40, 30, 3), dtype="u1")
    fm.save_batch([image, image // 2], ["p.ome.zarr/A/1/0", "p.ome.zarr/B/2/0"], "zarr")
    plate = fm.open("p.ome.zarr", "zarr")
    assert plate.shape == (80, 60, 3)
    assert plate.image.names == ("y", "x", "s")
    expected = np.zeros((80, 60, 3), "u1")
    expected[:40, :30], expected[40:, 30:] = image, image // 2
    np.testing.assert_array_equal(plate[...], expected)
    np.testing.assert_array_equal(plate[30:50, ::-1, 1], expected[30:50, ::-1, 1])


def test_pickles_and_dask(fm: FileManager, monkeypatch: pytest.MonkeyPatch) -> None:
    import dask.array as da

    save(fm)
    plate, expected = fm.open("p.ome.zarr", "zarr"), picture(FIELDS)
    monkeypatch.chdir("p.ome.zarr")
    again = pickle.loads(pickle.dumps(plate.levels))
    np.testing.assert_array_equal(again[0][...], expected)
    lazy = da.from_array(plate)
    np.testing.assert_array_equal(lazy[0, 1].compute(scheduler="synchronous"), expected[0, 1])


def test_chunks_do_not_cross_wells(fm: FileManager) -> None:
    image = np.ones((256, 100), "u2")
    fm.save(image, "p.ome.zarr/A/1/0", "zarr", chunks=(64, 64), shards=False)
    fm.save(image, "p.ome.zarr/B/2/0", "zarr", chunks=(64, 64), shards=False)
    plate = fm.open("p.ome.zarr", "zarr")
    assert (plate.shape, plate.chunks) == ((512, 200), (64, 100))


# ── metadata ─────────────────────────────────────────────────────────────────────────────


def test_metadata_is_that_of_first_field(fm: FileManager) -> None:
    save(fm)
    plate = fm.open("p.ome.zarr", "zarr")
    words, first = plate.image, fm.open("p.ome.zarr/B/02/0", "zarr").image
    assert words.names == ("field", "c", "y", "x")
    assert words.axes[1:] == first.axes
    assert words.channels == first.channels
    assert (words.name, words.position) == ("p", None)
    words.check(plate.shape)
    assert fm.load("p.ome.zarr/B/02/0", "zarr", as_="image").metadata == first
    for part in ("p.ome.zarr", "3 wells on a grid of 2 x 3", "5 fields", "(2, 2, 602, "):
        assert part in repr(plate)
    image = fm.open("p.ome.zarr", "zarr", as_="image")
    assert image.metadata == words


# ── plates of other programs ─────────────────────────────────────────────────────────────


def make_group(path: str, version: str, **ome: Any) -> None:
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    group.attrs.update(ome if version == "0.4" else {"ome": {"version": version, **ome}})


def make_field(path: str, version: str, value: int, *, side: int = 8) -> None:
    axes = [{"name": name, "type": "space"} for name in "yx"]
    steps = [{"type": "scale", "scale": [2.0, 2.0]},
             {"type": "translation", "translation": [50.0, 50.0]}]  # fmt: skip
    level = {"path": "s0", "coordinateTransformations": steps}
    make_group(path, version, multiscales=[{"axes": axes, "datasets": [level]}])
    zarr_format: Any = 2 if version == "0.4" else 3
    array = zarr.create_array(
        f"{path}/s0", shape=(side, side), dtype="i4", chunks=(4, 4), zarr_format=zarr_format,
    )  # fmt: skip
    array[:8, :8] = value


def make_plate(path: str, version: str, wells: dict[str, list[str]]) -> None:
    """Make a plate of 16 x 24 wells, with a document for each of ``wells``."""
    rows, columns = [chr(65 + n) for n in range(16)], [str(n + 1) for n in range(24)]
    places = [well.split("/") for well in wells]
    make_group(
        path,
        version,
        plate={
            "rows": [{"name": name} for name in rows],
            "columns": [{"name": name} for name in columns],
            "wells": [
                {
                    "path": f"{r}/{c}",
                    "rowIndex": rows.index(r),
                    "columnIndex": columns.index(c) if c in columns else 99,
                }
                for r, c in places
            ],
        },
    )
    for well, fields in wells.items():
        make_group(f"{path}/{well}", version, well={"images": [{"path": f} for f in fields]})


@pytest.mark.parametrize("version", VERSIONS)
def test_box_of_wells(fm: FileManager, version: str) -> None:
    make_plate("x.zarr", version, {"C/5": ["a"], "D/7": ["a"]})
    make_field("x.zarr/C/5/a", version, 1)
    make_field("x.zarr/D/7/a", version, 2)
    plate = fm.open("x.zarr", "zarr")
    assert plate.shape == (16, 24)  # two rows and three columns
    np.testing.assert_array_equal(plate[::8, ::8], [[1, 0, 0], [0, 0, 2]])
    found = fm.info("x.zarr", "zarr")
    assert found.kind == "directory"
    assert (found.shape, found.dtype, found.image) == ((16, 24), "<i4", plate.image)
    assert found.metadata["plate"]["rows"] == ["C", "D"]
    assert found.metadata["plate"]["columns"] == ["5", "6", "7"]
    assert [axis.origin for axis in plate.image.axes] == [
        None,
        None,
    ]  # an origin belongs to one field
    assert plate.image.scale == (2.0, 2.0)


@pytest.mark.parametrize("version", VERSIONS)
def test_info_lists_missing_fields(fm: FileManager, version: str) -> None:
    wells = {"A/1": ["0", "10"], "A/2": ["0", "2"], "B/1": [], "B/2": ["0"], "Q/1": ["0"]}
    make_plate("x.zarr", version, {w: f for w, f in wells.items() if w != "Q/1"})
    for number, path in enumerate(["A/1/0", "A/1/10", "A/2/2", "A/2/3", "C/4/0"]):
        make_field(f"x.zarr/{path}", version, number + 1)
    shutil.rmtree("x.zarr/B/2")
    plate = fm.open("x.zarr", "zarr")
    np.testing.assert_array_equal(plate[:, 0, ::8], [[1, 0], [0, 3], [2, 0]])
    np.testing.assert_array_equal(plate[:, 8:], 0)
    assert fm.info("x.zarr", "zarr").metadata["plate"] == {
        "rows": ["A", "B"],
        "columns": ["1", "2"],
        "wells": ["A/1", "A/2", "B/1"],
        "fields": ["0", "2", "10"],
        "empty": ["A/1/2", "A/2/10", "B/1/0", "B/1/2", "B/1/10"],
        "missing": ["A/2/0", "B/2"],
        "unlisted": ["A/2/3", "C/4/0"],
        "damaged": [],
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_well_without_position_is_missing(fm: FileManager, version: str) -> None:
    make_plate("x.zarr", version, {"A/1": ["0"], "A/99": ["0"]})
    make_field("x.zarr/A/1/0", version, 1)
    make_field("x.zarr/A/99/0", version, 2)
    assert fm.open("x.zarr", "zarr").shape == (8, 8)
    assert fm.info("x.zarr", "zarr").metadata["plate"]["missing"] == ["A/99"]
    make_plate("y.zarr", version, {"A/99": ["0"]})
    make_field("y.zarr/A/99/0", version, 2)
    with pytest.raises(UnsupportedFileError, match=r"'A/99' is listed.* its row or column"):
        fm.open("y.zarr", "zarr")


@pytest.mark.parametrize("version", VERSIONS)
def test_first_existing_field_is_used(fm: FileManager, version: str) -> None:
    make_plate("x.zarr", version, {"A/1": ["0"], "A/2": ["0"]})
    with pytest.raises(UnsupportedFileError, match=r"'x.zarr'.*no field.*'A/1/0' is listed"):
        fm.open("x.zarr", "zarr")
    assert fm.info("x.zarr", "zarr").shape is None
    make_field("x.zarr/A/2/0", version, 7)
    np.testing.assert_array_equal(fm.open("x.zarr", "zarr")[0, ::8], [0, 7])


# ── different fields, and damage ─────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("value", "options", "match"),
    [
        (np.ones((2, 40, 30), "u2"), {"axes": "cyx"}, r"shape \(2, 40, 30\)"),
        (np.ones((2, *SIDE), "u1"), {"axes": "cyx"}, "type uint8"),
        (np.ones((2, *SIDE), "u2"), {"axes": "zyx"}, "axes z, y, x"),
    ],
)
def test_different_fields_raise(
    fm: FileManager, value: np.ndarray, options: dict[str, Any], match: str
) -> None:
    save(fm)
    fm.save(value, "p.ome.zarr/D/03/1", "zarr", **options)
    plate = fm.open("p.ome.zarr", "zarr")
    np.testing.assert_array_equal(plate[0], picture(FIELDS)[0])
    with pytest.raises(UnsupportedFileError, match=match) as caught:
        plate[1]
    assert "p.ome.zarr/D/03/1" in str(caught.value)
    assert "'B/02/0' has shape (2, 301, 398), type uint16 and axes c, y, x" in str(caught.value)


def test_field_with_fewer_levels(fm: FileManager) -> None:
    save(fm, levels=2)
    fm.save(FIELDS["D/03/1"], "p.ome.zarr/D/03/1", "zarr", levels=1)
    plate = fm.open("p.ome.zarr", "zarr")
    np.testing.assert_array_equal(plate[1], picture(FIELDS)[1])
    with pytest.raises(UnsupportedFileError, match=r"D/03/1'.*has no level 1"):
        plate.levels[1][1]


def test_only_the_first_field_is_opened(fm: FileManager) -> None:
    save(fm)
    for path in list(FIELDS)[1:]:
        Path(f"p.ome.zarr/{path}/zarr.json").write_text("{")
    plate = fm.open("p.ome.zarr", "zarr")
    np.testing.assert_array_equal(plate[0, :, :301, :398], FIELDS["B/02/0"])
    with pytest.raises(DamagedDataError, match=r"p.ome.zarr/B/04/0"):
        plate[0]
    Path("p.ome.zarr/B/02/0/zarr.json").write_text("{")
    with pytest.raises(DamagedDataError, match=r"p.ome.zarr/B/02/0"):
        fm.open("p.ome.zarr", "zarr")


def test_damaged_well(fm: FileManager) -> None:
    save(fm)
    Path("p.ome.zarr/D/03/zarr.json").write_text("{")
    with pytest.raises(DamagedDataError, match=r"p.ome.zarr/D/03"):
        fm.open("p.ome.zarr", "zarr")
    found = fm.info("p.ome.zarr", "zarr").metadata["plate"]
    assert (found["wells"], found["damaged"]) == (["B/02", "B/04"], ["D/03"])


def test_damaged_plate(fm: FileManager) -> None:
    save(fm)
    document = json.loads(Path("p.ome.zarr/zarr.json").read_text())
    document["attributes"]["ome"]["plate"]["wells"] = 7
    Path("p.ome.zarr/zarr.json").write_text(json.dumps(document))
    assert fm.info("p.ome.zarr", "zarr").metadata == {}
    with pytest.raises(DamagedDataError, match="wells is of type int"):
        fm.open("p.ome.zarr", "zarr")


# ── changes while a handle is open ───────────────────────────────────────────────────────


def test_deleted_field_is_empty_and_deleted_plate_raises(fm: FileManager) -> None:
    save(fm)
    plate = fm.open("p.ome.zarr", "zarr")
    np.testing.assert_array_equal(plate[...], picture(FIELDS))
    fm.delete("p.ome.zarr/D/03/1", "zarr")
    left = {path: pixels for path, pixels in FIELDS.items() if path != "D/03/1"}
    np.testing.assert_array_equal(plate[...], picture(left))
    fm.delete_all("p.ome.zarr", "zarr")
    with pytest.raises(NotFoundError, match="moved or deleted since it was opened"):
        plate[0]


def test_field_that_is_saved_again(fm: FileManager) -> None:
    save(fm)
    plate = fm.open("p.ome.zarr", "zarr")
    np.testing.assert_array_equal(plate[...], picture(FIELDS))
    fields = FIELDS | {"B/04/0": FIELDS["B/04/0"] + 1}
    fm.save(fields["B/04/0"], "p.ome.zarr/B/04/0", "zarr")
    for handle in (plate, pickle.loads(pickle.dumps(plate))):
        np.testing.assert_array_equal(handle[...], picture(fields))
    fm.save(np.ones((2, 9, 9), "u2"), "p.ome.zarr/B/04/0", "zarr", axes="cyx")
    with pytest.raises(UnsupportedFileError, match=r"shape \(2, 9, 9\)"):
        plate[0]


@pytest.mark.timeout(60)
def test_field_is_never_a_mixture(fm: FileManager) -> None:
    for well in ("A/1", "A/2"):
        fm.save(np.zeros((64, 64), "u2"), f"p.ome.zarr/{well}/0", "zarr", chunks=(8, 8))
    plate, stop = fm.open("p.ome.zarr", "zarr"), threading.Event()

    def change() -> None:
        value = 0
        while not stop.is_set():
            value += 1
            image = np.full((64, 64), value, "u2")
            fm.save(image, "p.ome.zarr/A/2/0", "zarr", chunks=(8, 8))

    writer = threading.Thread(target=change)
    writer.start()
    try:
        for _ in range(100):
            found = plate[...]
            assert not found[:, :64].any()
            assert found[:, 64:].min() == found[:, 64:].max()
    finally:
        stop.set()
        writer.join()


# ── refused calls ────────────────────────────────────────────────────────────────────────


def test_plate_is_not_loaded(fm: FileManager) -> None:
    save(fm)
    with pytest.raises(NotAFileError, match=r"it is a plate: open\(\)"):
        fm.load("p.ome.zarr", "zarr")
    with pytest.raises(NotAFileError, match="Is a directory"):
        fm.open("p.ome.zarr/B", "zarr")
    with pytest.raises(NotAFileError, match="it is a well: name one of its fields") as caught:
        fm.open("p.ome.zarr/B/02/", "zarr")
    fm.open(str(caught.value).rpartition("such as ")[2].strip("'"), "zarr")


def test_plate_is_read_only(fm: FileManager) -> None:
    save(fm)
    with pytest.raises(UnsupportedOperationError, match="save its fields"):
        fm.open("p.ome.zarr", "zarr", mode="r+")
    with pytest.raises(TypeError, match="read-only"):
        fm.open("p.ome.zarr", "zarr")[0, 0, 0, 0] = 1


def test_picture_larger_than_memory(fm: FileManager) -> None:
    make_plate("x.zarr", "0.5", {"A/1": ["0"], "P/24": ["0"]})
    for well in ("A/1", "P/24"):
        make_field(f"x.zarr/{well}/0", "0.5", 5, side=2**20)
    plate = fm.open("x.zarr", "zarr")
    assert plate.shape == (16 * 2**20, 24 * 2**20)
    assert plate[0, 0] == plate[-(2**20), -(2**20)] == 5
    assert plate[0, -1] == 0
    with pytest.raises(StorageError, match=r"x.zarr.*do not fit into memory.*coarser"):
        plate[...]
