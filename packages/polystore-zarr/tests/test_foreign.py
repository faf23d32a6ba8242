"""OME-Zarr stores of other programs. They are recognized by their content, not by their name.

The layouts are those of IDR and ome-zarr-py (one image), iohub ("A/1/0"), Fractal ("B/03/0", tables
and wavelengths) and bioformats2raw (series "0", "1" and "OME"), in NGFF 0.4 and 0.5.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from polystore_core import FileManager
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    NotADirectoryInPathError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedOperationError,
)
from polystore_testing import Bound

VERSIONS = ("0.4", "0.5")
STACK = np.random.default_rng(5).integers(1, 4000, (2, 64, 48), dtype="u2")
MASK = (STACK[0] > 2000).astype("u1")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bound:
    monkeypatch.chdir(tmp_path)
    return Bound(FileManager(), "zarr")


@pytest.fixture(params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# ── stores of other programs ─────────────────────────────────────────────────────────────


def make_group(path: str, version: str, **ome: Any) -> None:
    group = zarr.open_group(path, mode="a", zarr_format=2 if version == "0.4" else 3)
    if version == "0.4":
        group.attrs.update(ome)
    elif ome:
        group.attrs["ome"] = {"version": version, **ome}


def make_image(
    path: str, version: str, levels: tuple[str, ...] = ("0", "1"), **more: Any
) -> None:
    """Write an image of two channels, with the metadata that Fractal writes."""
    scale = [1.0, 0.5, 0.25]
    datasets = []
    for number, name in enumerate(levels):
        factor = 2**number
        moved = [{"type": "translation", "translation": [0.0, 10.0, 20.0]}]
        datasets.append(
            {
                "path": name,
                "coordinateTransformations": [
                    {
                        "type": "scale",
                        "scale": [scale[0], scale[1] * factor, scale[2] * factor],
                    },
                    *moved,
                ],
            }
        )
    channels = [
        {
            "label": label,
            "color": color,
            "wavelength_id": f"A0{number}_C01",
            "active": True,
            "window": {"min": 0, "max": 65535, "start": 7, "end": 999},
        }
        for number, (label, color) in enumerate([("DAPI", "0000FF"), ("GFP", "00FF00")])
    ]
    space = {"type": "space", "unit": "micrometer"}
    multiscale = {
        "axes": [{"name": "c", "type": "channel"}, {"name": "y", **space}, {"name": "x", **space}],
        "datasets": datasets, "name": "theirs", "_note": "precious",
        **({"version": "0.4"} if version == "0.4" else {}),
    }  # fmt: skip
    make_group(
        path,
        version,
        multiscales=[multiscale],
        omero={"id": 77, "channels": channels, "rdefs": {"model": "color"}},
        **more,
    )
    for number, name in enumerate(levels):
        level = STACK[:, :: 2**number, :: 2**number]
        array = zarr.create_array(
            f"{path}/{name}", shape=level.shape, dtype=level.dtype, chunks=(1, 32, 32),
            zarr_format=2 if version == "0.4" else 3,
        )  # fmt: skip
        array[:] = level


def make_plate(
    path: str, version: str, row: str, column: str, fields: tuple[str, ...], **more: Any
) -> None:
    make_group(
        path,
        version,
        plate={
            "rows": [{"name": row}],
            "columns": [{"name": column}],
            "wells": [{"path": f"{row}/{column}", "rowIndex": 0, "columnIndex": 0}],
            **more,
            **({"version": "0.4"} if version == "0.4" else {}),
        },
    )
    images = [{"path": field, "acquisition": 3} for field in fields]
    make_group(f"{path}/{row}/{column}", version, well={"images": images})
    for field in fields:
        make_image(f"{path}/{row}/{column}/{field}", version)


def document(path: str) -> dict[str, Any]:
    """Return the OME metadata of a group, read as a file."""
    if Path(path, "zarr.json").exists():
        found: dict[str, Any] = json.loads(Path(path, "zarr.json").read_text())["attributes"]
        return found.get("ome", {})  # type: ignore[no-any-return]
    attributes = Path(path, ".zattrs")
    return json.loads(attributes.read_text()) if attributes.exists() else {}  # type: ignore[no-any-return]


def wells(path: str) -> list[str]:
    return [well["path"] for well in document(path)["plate"]["wells"]]


def fields(path: str) -> list[str]:
    return [image["path"] for image in document(path)["well"]["images"]]


def files(path: str) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in Path(path).rglob("*") if p.is_file()}


# ── labels ───────────────────────────────────────────────────────────────────────────────


def test_label_is_found(store: Bound, version: str) -> None:
    make_image("6001240.zarr", version)
    store.save(MASK, "6001240.zarr/labels/nuclei")
    assert store.info("6001240.zarr").metadata["labels"] == ["nuclei"]
    info = store.info("6001240.zarr/labels/nuclei")
    assert (info.format, info.metadata["ome_version"]) == ("ome-zarr", version)
    assert len(info.metadata["levels"]) == 2
    assert "image-label" in document("6001240.zarr/labels/nuclei")
    np.testing.assert_array_equal(store.load("6001240.zarr/labels/nuclei"), MASK)
    store.delete("6001240.zarr/labels/nuclei")
    assert store.info("6001240.zarr").metadata["labels"] == []


@pytest.mark.parametrize("path", ["deep/inside/image", "A/1/0", "0"])
def test_label_of_image_anywhere(store: Bound, version: str, path: str) -> None:
    make_image(f"x.zarr/{path}", version)
    store.save(MASK, f"x.zarr/{path}/labels/n")
    assert store.info(f"x.zarr/{path}").metadata["labels"] == ["n"]
    store.save(STACK + 1, f"x.zarr/{path}")
    assert store.info(f"x.zarr/{path}").metadata["labels"] == ["n"]
    np.testing.assert_array_equal(store.load(f"x.zarr/{path}"), STACK + 1)


@pytest.mark.parametrize("path", ["labels", "labels/a/b"])
def test_labels_hold_labels_only(store: Bound, version: str, path: str) -> None:
    make_image("x.zarr", version)
    before = files("x.zarr")
    with pytest.raises(InvalidOptionError, match="labels/NAME"):
        store.save(MASK, f"x.zarr/{path}")
    with pytest.raises(PolystoreError):
        store.save(MASK.astype("f4"), "x.zarr/labels/n")
    with pytest.raises(NotADirectoryInPathError):
        store.save(MASK, "x.zarr/table")
    assert files("x.zarr") == before


# ── plates ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("row", "column", "names"),
    [("A", "1", ("0",)), ("B", "03", ("0", "1")), ("Row_1", "Col-2", ("000001",))],
)
def test_field_joins_plate(
    store: Bound, version: str, row: str, column: str, names: tuple[str, ...]
) -> None:
    make_plate("plate.zarr", version, row, column, names, acquisitions=[{"id": 3}])
    old = document(f"plate.zarr/{row}/{column}")["well"]["images"]
    store.save(STACK, f"plate.zarr/{row}/{column}/7")
    assert fields(f"plate.zarr/{row}/{column}") == sorted([*names, "7"], key=int)
    found = document(f"plate.zarr/{row}/{column}")["well"]["images"]
    assert [image for image in found if image["path"] != "7"] == old
    store.save(STACK, f"plate.zarr/{row}/12/0")
    assert wells("plate.zarr") == [f"{row}/12", f"{row}/{column}"] or wells("plate.zarr") == [
        f"{row}/{column}",
        f"{row}/12",
    ]
    assert document("plate.zarr")["plate"]["acquisitions"] == [{"id": 3}]
    info = store.info(f"plate.zarr/{row}/12/0")
    assert info.metadata["ome_version"] == version
    store.delete(f"plate.zarr/{row}/12", recursive=True)
    assert wells("plate.zarr") == [f"{row}/{column}"]


def test_plate_below_other_groups(store: Bound, version: str) -> None:
    make_group("screens.zarr", version)
    make_plate("screens.zarr/first", version, "A", "1", ("0",), field_count=1)
    store.save(STACK, "screens.zarr/first/C/2/0")
    store.save(STACK, "screens.zarr/first/A/1/1")
    assert wells("screens.zarr/first") == ["A/1", "C/2"]
    assert document("screens.zarr/first")["plate"]["field_count"] == 2
    assert "plate" not in document("screens.zarr")
    store.move("screens.zarr/first/C", "screens.zarr/first/D")
    assert wells("screens.zarr/first") == ["A/1", "D/2"]


def test_well_without_row(store: Bound, version: str) -> None:
    """A well that is not in a row and a column keeps its place in the plate."""
    make_plate("p.zarr", version, "A", "1", ("0",))
    plate = document("p.zarr")["plate"]
    plate["wells"].append({"path": "extra"})
    make_group("p.zarr", version, plate=plate)
    make_group("p.zarr/extra", version, well={"images": [{"path": "0"}]})
    make_image("p.zarr/extra/0", version)
    store.save(STACK + 1, "p.zarr/extra/0")
    store.save(STACK, "p.zarr/extra/1")
    assert fields("p.zarr/extra") == ["0", "1"]
    store.save(STACK, "p.zarr/B/1/0")
    assert wells("p.zarr") == ["A/1", "B/1", "extra"]


@pytest.mark.parametrize("path", ["image", "B/2", "B/2/a-b", "b c/2/0"])
def test_plate_holds_fields_only(store: Bound, version: str, path: str) -> None:
    make_plate("plate.zarr", version, "A", "1", ("0",))
    before = files("plate.zarr")
    with pytest.raises(InvalidOptionError) as caught:
        store.save(STACK, f"plate.zarr/{path}")
    assert "pass ome=False to save a plain array" in caught.value.__notes__
    assert files("plate.zarr") == before
    store.save(STACK, "plate.zarr/table", ome=False)
    assert store.info("plate.zarr/table").format == "zarr"
    assert wells("plate.zarr") == ["A/1"]


def test_groups_of_tables_hold_arrays(store: Bound, version: str) -> None:
    """In a foreign group without image metadata, an array is plain."""
    make_plate("plate.zarr", version, "A", "1", ("0",))
    make_group("plate.zarr/tables", version)
    store.save(STACK[0], "plate.zarr/tables/x")
    store.save(STACK[0], "plate.zarr/tables/sub/group/x")
    for path in ("x", "sub/group/x"):
        assert store.info(f"plate.zarr/tables/{path}").format == "zarr"
    store.save(STACK[1], "plate.zarr/tables/x")
    np.testing.assert_array_equal(store.load("plate.zarr/tables/x"), STACK[1])
    assert wells("plate.zarr") == ["A/1"]


@pytest.mark.parametrize("key", ["plate", "well"])
def test_damaged_plate_is_reported_before_writing(store: Bound, version: str, key: str) -> None:
    make_plate("plate.zarr", version, "A", "1", ("0",))
    place = "plate.zarr" if key == "plate" else "plate.zarr/A/1"
    make_group(place, version, **{key: {"wells": 3, "images": [3]}})
    before = files("plate.zarr")
    for path in ("plate.zarr/A/1/0", "plate.zarr/A/1/1"):
        with pytest.raises(DamagedDataError):
            store.save(STACK, path)
    assert files("plate.zarr") == before


def test_plain_stores_stay_plain(store: Bound) -> None:
    """Names such as A/1/0 and labels/x do not make a plate where arrays are plain."""
    for path in ("A/1/0", "labels/x"):
        store.save(STACK, f"run.zarr/{path}")
        store.save(STACK, f"run.zarr/{path}")
        store.copy(f"run.zarr/{path}", f"run.zarr/{path}2")
        store.delete(f"run.zarr/{path}2")
    documents = [json.loads(p.read_text()) for p in Path("run.zarr").rglob("zarr.json")]
    groups = [d for d in documents if d["node_type"] == "group"]
    assert len(groups) == 4
    assert all(group["attributes"] == {} for group in groups)


# ── collections of images ────────────────────────────────────────────────────────────────


def test_series_joins_collection(store: Bound, version: str) -> None:
    """bioformats2raw lists its series in the group OME."""
    make_group("scan.zarr", version, **{"bioformats2raw.layout": 3})
    make_group("scan.zarr/OME", version, series=["0", "1"])
    Path("scan.zarr/OME/METADATA.ome.xml").write_text("<OME/>")
    for name in "01":
        make_image(f"scan.zarr/{name}", version)
    store.save(STACK, "scan.zarr/2")
    assert store.info("scan.zarr/2").metadata["ome_version"] == version
    assert document("scan.zarr/OME")["series"] == ["0", "1", "2"]
    store.save(STACK + 1, "scan.zarr/1")
    store.save(MASK, "scan.zarr/2/labels/n")
    assert document("scan.zarr/OME")["series"] == ["0", "1", "2"]
    store.delete("scan.zarr/2")
    assert document("scan.zarr/OME")["series"] == ["0", "1"]
    store.save(STACK[0, 0], "scan.zarr/OME/table")
    assert store.info("scan.zarr/OME/table").format == "zarr"
    assert Path("scan.zarr/OME/METADATA.ome.xml").read_text() == "<OME/>"


# ── saving again ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("levels", [("0", "1"), ("s0", "s1"), ("scale0/image", "scale1/image")])
def test_image_stays_image(store: Bound, version: str, levels: tuple[str, ...]) -> None:
    """Axes, pixel size, position, units, channels and all unknown keys stay."""
    make_image("x.zarr", version, levels, _more={"of": "theirs"})
    make_group("x.zarr", version)
    old, before = document("x.zarr"), store.info("x.zarr").metadata
    store.save(STACK + 1, "x.zarr")
    new, after = document("x.zarr"), store.info("x.zarr").metadata
    for key in ("ome_version", "axes", "scale", "units", "channels", "name", "levels"):
        assert after[key] == before[key], key
    assert new["omero"] == old["omero"]
    assert new["_more"] == {"of": "theirs"}
    assert new["multiscales"][0]["_note"] == "precious"
    first = new["multiscales"][0]["datasets"][0]["coordinateTransformations"]
    assert first[1]["translation"] == [0.0, 10.0, 20.0]
    np.testing.assert_array_equal(store.load("x.zarr"), STACK + 1)
    assert store.load("x.zarr", level=1).shape == (2, 32, 24)


def test_options_override(store: Bound, version: str) -> None:
    make_image("x.zarr", version)
    store.save(
        STACK,
        "x.zarr",
        axes="zyx",
        scale=(3, 2, 1),
        units="nm",
        levels=1,
        attributes={"mine": 1},
    )
    found = store.info("x.zarr").metadata
    assert found["axes"] == ["z", "y", "x"]
    assert found["scale"] == [3, 2, 1]
    assert found["units"] == ["nanometer"] * 3
    assert found["channels"] == []
    assert len(found["levels"]) == 1


def test_other_pixels_keep_fitting_metadata(store: Bound, version: str) -> None:
    make_image("x.zarr", version)
    store.save(STACK[:, :20, :20].astype("f4"), "x.zarr")
    omero = document("x.zarr")["omero"]
    assert [c["wavelength_id"] for c in omero["channels"]] == ["A00_C01", "A01_C01"]
    assert omero["channels"][0]["window"]["end"] != 999  # that range belongs to the old pixels
    store.save(STACK[0], "x.zarr")
    found = store.info("x.zarr").metadata
    assert (found["axes"], found["scale"]) == (["y", "x"], [0.5, 0.25])
    assert found["channels"] == []


def test_labels_and_tables_stay(store: Bound, version: str) -> None:
    make_image("p.zarr/image", version)
    store.save(MASK, "p.zarr/image/labels/nuclei")
    labels = Path("p.zarr/image/labels/nuclei")
    if version == "0.5":
        text = json.loads((labels / "zarr.json").read_text())
        inner = text["attributes"]["ome"]
    else:
        inner = text = json.loads((labels / ".zattrs").read_text())
    inner["image-label"]["colors"] = [{"label-value": 1, "rgba": [1, 2, 3, 4]}]
    (labels / ("zarr.json" if version == "0.5" else ".zattrs")).write_text(json.dumps(text))
    os.mkdir("p.zarr/image/tables")
    Path("p.zarr/image/tables/notes.txt").write_text("precious")
    for levels in (None, 1, 3):
        store.save(STACK + 1, "p.zarr/image", levels=levels)
        info = store.info("p.zarr/image").metadata
        assert info["labels"] == ["nuclei"]
        label = store.info("p.zarr/image/labels/nuclei").metadata
        assert len(label["levels"]) == len(info["levels"]) == (levels or 2)
        np.testing.assert_array_equal(store.load("p.zarr/image/labels/nuclei"), MASK)
        found = document("p.zarr/image/labels/nuclei")["image-label"]
        assert found["colors"] == [{"label-value": 1, "rgba": [1, 2, 3, 4]}]
    assert Path("p.zarr/image/tables/notes.txt").read_text() == "precious"


def test_label_stays_label(store: Bound, version: str) -> None:
    """A label that is saved again keeps its colours."""
    make_image("x.zarr", version)
    store.save(MASK, "x.zarr/labels/n", scale=(0.5, 0.25))
    before = document("x.zarr/labels/n")
    store.save(MASK * 2, "x.zarr/labels/n")
    assert document("x.zarr/labels/n") == before
    with pytest.raises(UnsupportedDataError, match="integers"):
        store.save(MASK.astype("f4"), "x.zarr/labels/n")


def test_labels_that_do_not_fit_are_refused(store: Bound, version: str) -> None:
    make_image("x.zarr", version)
    store.save(MASK, "x.zarr/labels/n")
    before = files("x.zarr")
    with pytest.raises(UnsupportedDataError, match=r"labels 'n'.*delete '.*x\.zarr/labels'"):
        store.save(STACK[:, :20], "x.zarr")
    with pytest.raises(InvalidOptionError, match="delete the image first"):
        store.save(STACK, "x.zarr", ome=False)
    with pytest.raises(InvalidOptionError, match="delete the image first"):
        store.save(STACK, "x.zarr", ome="0.5" if version == "0.4" else "0.4")
    with pytest.raises(UnsupportedOperationError, match="this path is for an image"):
        store.create("x.zarr", shape=(3,), dtype="u1", if_exists="replace")
    assert files("x.zarr") == before
    store.save(STACK[:, :20], "x.zarr", if_exists="skip")
    assert files("x.zarr") == before
    store.delete("x.zarr/labels", recursive=True)
    store.save(STACK[:, :20], "x.zarr")
    assert store.load("x.zarr").shape == (2, 20, 48)
    store.save(STACK, "x.zarr", ome=False)
    assert store.info("x.zarr").format == "zarr"


def test_unknown_axes_are_refused(store: Bound, version: str) -> None:
    make_image("x.zarr", version)
    old = document("x.zarr")
    old["multiscales"][0]["axes"][0]["name"] = "angle"
    make_group("x.zarr", version, **{k: v for k, v in old.items() if k != "version"})
    with pytest.raises(InvalidOptionError, match="axes") as caught:
        store.save(STACK, "x.zarr")
    assert "axes was taken from the image at this path: pass axes= to replace it" in str(
        caught.value.__notes__
    )
    store.save(STACK, "x.zarr", axes="cyx")
    assert store.info("x.zarr").metadata["channels"] == []


def test_two_images_in_one_group_are_refused(store: Bound, version: str) -> None:
    make_image("x.zarr", version)
    old = document("x.zarr")
    old["multiscales"] *= 2
    make_group("x.zarr", version, **{k: v for k, v in old.items() if k != "version"})
    before = files("x.zarr")
    with pytest.raises(UnsupportedDataError, match="2 images in one group"):
        store.save(STACK, "x.zarr")
    assert files("x.zarr") == before


def test_arrays_stay_arrays(store: Bound) -> None:
    """A plain array stays plain and keeps its format, for any name of its store."""
    store.save(STACK, "y.ome.zarr", ome=False)
    store.save(STACK + 1, "y.ome.zarr")
    assert store.info("y.ome.zarr").format == "zarr"
    store.save(STACK, "old.zarr", zarr_format=2)
    store.save(STACK + 1, "old.zarr")
    assert store.info("old.zarr").metadata["zarr_format"] == 2
    store.save(STACK, "old.zarr", zarr_format=3)
    assert store.info("old.zarr").metadata["zarr_format"] == 3


def test_version_of_store_is_kept(store: Bound) -> None:
    """``ome=True`` writes the NGFF version that matches the store."""
    store.save(STACK, "old.zarr/a", zarr_format=2)
    store.save(STACK, "old.zarr/image", ome=True)
    assert store.info("old.zarr/image").metadata["ome_version"] == "0.4"
    with pytest.raises(InvalidOptionError, match="is a group of Zarr 2"):
        store.save(STACK, "old.zarr/other", ome="0.5")


@pytest.mark.slow
def test_stores_of_ome_zarr_stay_valid(store: Bound, version: str) -> None:
    """A store that ome-zarr wrote, with any name, can be filled and stays valid."""
    writer = pytest.importorskip("ome_zarr.writer", reason="ome-zarr is not installed")
    formats = pytest.importorskip("ome_zarr.format", reason="ome-zarr is not installed")
    models = pytest.importorskip(
        f"ome_zarr_models.v{version.replace('.', '')}",
        reason="ome-zarr-models is not installed",
    )
    fmt = formats.FormatV04() if version == "0.4" else formats.FormatV05()
    root = zarr.open_group("plate.zarr", mode="w", zarr_format=fmt.zarr_format)
    writer.write_plate_metadata(root, ["A"], ["1"], ["A/1"], fmt=fmt)
    well = root.require_group("A").require_group("1")
    writer.write_well_metadata(well, ["0"], fmt=fmt)
    writer.write_image(STACK, well.require_group("0"), axes="cyx", fmt=fmt)
    store.save(STACK, "plate.zarr/A/1/0")
    store.save(STACK, "plate.zarr/A/1/1")
    store.save(STACK, "plate.zarr/C/12/0")
    store.save(MASK, "plate.zarr/A/1/0/labels/nuclei")
    found = models.HCS.from_zarr(zarr.open_group("plate.zarr", mode="r"))
    listed = (found.attributes if version == "0.4" else found.attributes.ome).plate.wells
    assert [entry.path for entry in listed] == ["A/1", "C/12"]
    labels = zarr.open_group("plate.zarr/A/1/0/labels", mode="r")
    models.Labels.from_zarr(labels)
    models.Image.from_zarr(zarr.open_group("plate.zarr/A/1/0", mode="r"))
