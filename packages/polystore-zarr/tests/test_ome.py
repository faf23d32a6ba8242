"""OME-NGFF documents: what is written is valid, what is read is checked."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import string
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    UnsupportedFileError,
)
from polystore_core.model.image import SPACE_UNITS, TIME_UNITS, Axis, Channel, image_metadata
from polystore_testing.examples import examples
from polystore_zarr.ome import (
    Level,
    Well,
    add_label,
    check_well,
    image_document,
    labels_document,
    plate_with_well,
    plate_without_well,
    read_image,
    read_labels,
    read_plate,
    read_well,
    remove_label,
    well_with_field,
    well_without_field,
)

VERSIONS = ("0.5", "0.4")
AXES = ["yx", "zyx", "cyx", "tyx", "tzyx", "czyx", "tcyx", "tczyx"]
TYPES = {"t": "time", "c": "channel", "z": "space", "y": "space", "x": "space"}
READERS = (read_image, read_plate, read_well, read_labels)


def plain(document: dict[str, Any]) -> dict[str, Any]:
    """Return what comes back from a file: this also proves that it can be stored."""
    stored: dict[str, Any] = json.loads(json.dumps(document, allow_nan=False))
    return stored


def validate(document: dict[str, Any], kind: str, version: str) -> None:
    """Have ome-zarr-models judge the attributes of a group."""
    pytest.importorskip("ome_zarr_models")
    from ome_zarr_models import v04, v05
    from ome_zarr_models.common.omero import Omero
    from ome_zarr_models.v04.hcs import HCSAttrs as Plate4
    from ome_zarr_models.v04.image_label import ImageLabelAttrs as Label4
    from ome_zarr_models.v04.labels import LabelsAttrs as Labels4
    from ome_zarr_models.v04.well import WellAttrs as Well4
    from ome_zarr_models.v05.hcs import HCSAttrs as Plate5
    from ome_zarr_models.v05.image_label import ImageLabelAttrs as Label5
    from ome_zarr_models.v05.labels import LabelsAttrs as Labels5
    from ome_zarr_models.v05.well import WellAttrs as Well5

    models: dict[str, tuple[Any, Any]] = {
        "image": (v05.image.ImageAttrs, v04.image.ImageAttrs),
        "label": (Label5, Label4),
        "labels": (Labels5, Labels4),
        "plate": (Plate5, Plate4),
        "well": (Well5, Well4),
    }
    stored = plain(document)
    inner = stored["ome"] if version == "0.5" else stored
    models[kind][version == "0.4"].model_validate(inner)
    if "omero" in inner:  # the 0.5 model leaves it out
        Omero.model_validate(inner["omero"])


def levels_of(axes: str, count: int) -> list[tuple[str, tuple[float, ...]]]:
    return [
        (str(k), tuple(2.0**k if axis in "yx" else 1.0 for axis in axes)) for k in range(count)
    ]


# ── images ───────────────────────────────────────────────────────────────────────────────


@st.composite
def described(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """The axes of an image, and options that describe it."""
    axes = draw(st.sampled_from(AXES))
    positive = st.floats(1e-12, 1e12)
    options: dict[str, Any] = {"axes": draw(st.sampled_from([axes, tuple(axes)]))}
    options["scale"] = draw(
        st.none()
        | st.lists(positive, min_size=len(axes), max_size=len(axes))
        | st.dictionaries(st.sampled_from(axes), positive)
    )
    units = {a: SPACE_UNITS if TYPES[a] == "space" else TIME_UNITS for a in axes if a != "c"}
    options["units"] = draw(
        st.none()
        | st.sampled_from(SPACE_UNITS)
        | st.fixed_dictionaries({}, optional={a: st.sampled_from(u) for a, u in units.items()})
    )
    count = 3 if "c" in axes else 1
    options["channels"] = draw(
        st.none() | st.lists(st.text(max_size=5), min_size=count, max_size=count)
    )
    options["name"] = draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=9))
    return axes, options


@given(described(), st.sampled_from(VERSIONS), st.integers(1, 5))
def test_written_image_reads_back(described: Any, version: Any, count: int) -> None:
    """Every image that can be described is valid NGFF, and says on reading what was given."""
    axes, options = described
    shape = tuple(3 if axis == "c" else 64 for axis in axes)
    metadata = image_metadata(shape, np.uint16, **options)
    document = image_document(metadata, levels_of(axes, count), version=version)
    validate(document, "image", version)
    image = read_image(plain(document))
    assert image is not None
    assert (image.version, image.axes, image.channels) == (
        version,
        metadata.axes,
        metadata.channels,
    )
    assert (image.name, image.is_label) == (metadata.name, False)
    assert [level.path for level in image.levels] == [str(k) for k in range(count)]
    assert image.levels[0].scale == metadata.scale


def test_centre_shift_is_written() -> None:
    """A pixel of level 2 is four wide, so its centre lies one and a half pixels further."""
    metadata = image_metadata((5, 64, 64), "u1", scale=(2.0, 0.5, 0.25), units="um")
    image = read_image(image_document(metadata, levels_of("zyx", 3)))
    assert image is not None
    assert image.levels == (
        Level("0", (2.0, 0.5, 0.25), (0.0, 0.0, 0.0)),
        Level("1", (2.0, 1.0, 0.5), (0.0, 0.25, 0.125)),
        Level("2", (2.0, 2.0, 1.0), (0.0, 0.75, 0.375)),
    )
    assert image.axes == tuple(Axis(axis, "space", "micrometer") for axis in "zyx")


def test_unknown_version_refused() -> None:
    """Documents are written in the two versions that there are, and the error lists them."""
    with pytest.raises(InvalidOptionError, match=r"0\.5, 0\.4"):
        image_document(image_metadata((4, 4), "u2"), [("0", (1, 1))], version="0.3")  # type: ignore[arg-type]


@pytest.mark.parametrize("version", VERSIONS)
def test_label_images_point_back(version: Any) -> None:
    """A label image is valid, names its image, and says how it was downsampled."""
    metadata = image_metadata((4, 64, 64), "u4", label=True)
    document = image_document(metadata, levels_of("zyx", 2), version=version, kind="label")
    validate(document, "label", version)
    validate(document, "image", version)
    image = read_image(plain(document))
    assert image is not None
    assert image.is_label
    assert image.source == "../../"
    inner = document.get("ome", document)
    assert inner["multiscales"][0]["type"] == "nearest"
    assert "omero" not in inner


def test_description_is_plain() -> None:
    """An image describes itself in values that any program understands."""
    metadata = image_metadata((2, 4, 4), "u2", channels=["a", "b"], units="um", name="A01")
    image = read_image(image_document(metadata, levels_of("cyx", 1)))
    assert image is not None
    assert plain(image.description(3, ["nuclei"])) == {
        "ome_version": "0.5",
        "axes": ["c", "y", "x"],
        "scale": [1.0, 1.0, 1.0],
        "units": [None, "micrometer", "micrometer"],
        "channels": ["a", "b"],
        "labels": ["nuclei"],
        "name": "A01",
    }


# ── labels, plates, wells ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_are_listed_once(version: Any) -> None:
    """Adding twice lists once, removing takes it off, and other keys stay."""
    document = add_label(labels_document(["cells"], version), "nuclei", version)
    validate(document, "labels", version)
    assert read_labels(document) == ("cells", "nuclei")
    assert add_label(document, "nuclei", version) == document
    foreign = {"theirs": {"a": 1}, **document}
    removed = remove_label(foreign, "cells", version)
    assert read_labels(removed) == ("nuclei",)
    assert removed["theirs"] == {"a": 1}
    assert remove_label(removed, "cells", version) == removed


wells = st.tuples(
    st.text(string.ascii_uppercase, min_size=1, max_size=2),
    st.text(string.digits, min_size=1, max_size=3),
)


@given(st.lists(wells, min_size=1, max_size=12), st.sampled_from(VERSIONS), st.randoms())
def test_plate_ignores_order(places: list[tuple[str, str]], version: Any, random: Any) -> None:
    """Wells added in any order, some twice, make the same valid plate."""
    shuffled = [*places, *places[:3]]
    random.shuffle(shuffled)
    documents = []
    for sequence in (places, shuffled):
        attributes: dict[str, Any] = {}
        for row, column in sequence:
            before = copy.deepcopy(attributes)
            after = plate_with_well(attributes, row, column, name="p", version=version)
            assert attributes == before
            attributes = after
        documents.append(attributes)
    assert documents[0] == documents[1]
    validate(documents[0], "plate", version)
    plate = read_plate(plain(documents[0]))
    assert plate is not None
    assert set(plate.wells) == {f"{row}/{column}" for row, column in places}
    inner = documents[0].get("ome", documents[0])["plate"]
    for well in inner["wells"]:
        indices = plate.rows[well["rowIndex"]], plate.columns[well["columnIndex"]]
        assert "/".join(indices) == well["path"]


def test_rows_and_columns_sorted() -> None:
    """Rows go A to Z, then AA; columns by number; all as they were written."""
    attributes: dict[str, Any] = {}
    for row, column in (("AA", "10"), ("B", "9"), ("Z", "02"), ("A", "100")):
        attributes = plate_with_well(attributes, row, column)
    plate = read_plate(attributes)
    assert plate is not None
    assert plate.rows == ("A", "B", "Z", "AA")
    assert plate.columns == ("02", "9", "10", "100")
    assert plate.wells == ("A/100", "B/9", "Z/02", "AA/10")


def test_foreign_plate_keys_stay() -> None:
    """What others wrote into a plate is still there, and an older plate stays as old."""
    foreign = {
        "their": 1,
        "plate": {
            "version": "0.4",
            "acquisitions": [{"id": 0}],
            "rows": [{"name": "B", "colour": "red"}, {"name": "A"}],
            "columns": [{"name": "1"}],
            "wells": [{"path": "B/1", "rowIndex": 0, "columnIndex": 0, "note": "x"}],
            "field_count": 2,
        },
    }
    before = copy.deepcopy(foreign)
    document = plate_with_well(foreign, "A", "2", name="new", version="0.5", field_count=3)
    assert foreign == before
    assert "ome" not in document
    validate(document, "plate", "0.4")
    assert document["their"] == 1
    assert document["plate"]["acquisitions"] == [{"id": 0}]
    assert document["plate"]["rows"] == [{"name": "A"}, {"name": "B", "colour": "red"}]
    assert document["plate"]["wells"] == [
        {"path": "A/2", "rowIndex": 0, "columnIndex": 1},
        {"path": "B/1", "rowIndex": 1, "columnIndex": 0, "note": "x"},
    ]
    assert (document["plate"]["name"], document["plate"]["field_count"]) == ("new", 3)
    assert plate_with_well(document, "A", "2", name="other", field_count=1) == document


@pytest.mark.parametrize("version", VERSIONS)
def test_removed_well_leaves_plate(version: Any) -> None:
    """A well goes, its row and column stay, and removing it again changes nothing."""
    attributes = plate_with_well({}, "A", "1", version=version)
    document = plate_without_well(
        plate_with_well(attributes, "B", "2", version=version), "B", "2", version=version
    )
    validate(document, "plate", version)
    plate = read_plate(document)
    assert plate is not None
    assert (plate.rows, plate.columns, plate.wells) == (("A", "B"), ("1", "2"), ("A/1",))
    assert plate_without_well(document, "B", "2", version=version) == document


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_are_listed_once(version: Any) -> None:
    """Fields stand in their order, each once, and removing one leaves the others."""
    attributes: dict[str, Any] = {}
    for field in ("10", "2", "0", "2"):
        attributes = well_with_field(attributes, field, version)
    validate(attributes, "well", version)
    well = read_well(plain(attributes))
    assert well is not None
    assert well.fields == ("0", "2", "10")
    attributes = well_without_field(attributes, "2", version)
    assert attributes == well_without_field(attributes, "2", version)
    assert read_well(attributes) == type(well)(version=version, fields=("0", "10"))


@pytest.mark.parametrize(
    "place",
    [("b", "1", "0"), ("ABC", "1", "0"), ("", "1", "0"), ("A", "", "0"), ("A", "1000", "0"),
     ("A", "x", "0"), ("A", "\u0663", "0"), ("A", "1", ""), ("A", "1", "a/b"), ("A", "1", "f_1"),
     ("A\n", "1", "0"), ("..", "1", "0")],
)  # fmt: skip
def test_impossible_wells_refused(place: tuple[str, str, str]) -> None:
    """What is no well is refused, and the error shows one."""
    check_well("AF", "048", "f1")
    with pytest.raises(InvalidOptionError, match="'B/03/0'"):
        check_well(*place)


# ── documents of others ──────────────────────────────────────────────────────────────────


def test_old_images_are_read() -> None:
    """0.1 to 0.3 have no transformations, and few or no words on axes."""
    datasets = [{"path": "0"}, {"path": "1"}]
    old = read_image({"multiscales": [{"version": "0.1", "datasets": datasets}]})
    assert old is not None
    assert (old.version, "".join(axis.name for axis in old.axes)) == ("0.1", "tczyx")
    named = read_image(
        {"multiscales": [{"version": "0.3", "axes": ["y", "x"], "datasets": datasets}]}
    )
    assert named is not None
    assert named.axes == (Axis("y", "space"), Axis("x", "space"))
    assert named.levels[1] == Level("1", (1.0, 1.0), (0.0, 0.0))


def test_common_transformations_apply_last() -> None:
    """Those of the whole image come after those of a level."""
    metadata = image_metadata((4, 4), "u2", scale=(2, 3))
    document = image_document(metadata, [("s0/image", (1, 1)), ("s1/image", (2, 2))])
    document["ome"]["multiscales"][0]["coordinateTransformations"] = [
        {"type": "scale", "scale": [10, 10]},
        {"type": "translation", "translation": [1, 2]},
    ]
    image = read_image(document)
    assert image is not None
    assert image.levels[1] == Level("s1/image", (40.0, 60.0), (11.0, 17.0))


def test_bad_display_hints_are_dropped() -> None:
    """Malformed "omero" costs its own words, not the image."""
    document = image_document(image_metadata((4, 4), "u2"), [("0", (1, 1))])
    for omero, count in ((3, 0), ({"channels": 3}, 0), ({"channels": [3, {"label": 4}]}, 2)):
        document["ome"]["omero"] = omero
        image = read_image(document)
        assert image is not None
        assert image.channels == (Channel(label=""),) * count


def changed(place: tuple[Any, ...], value: Any) -> dict[str, Any]:
    """The document of an image of two axes in which one value is another."""
    document = plain(
        image_document(image_metadata((4, 4), "u2", scale=(2, 3)), [("0", (1, 1))])
    )
    node: Any = document["ome"]
    for key in place[:-1]:
        node = node[key]
    node[place[-1]] = value
    return document


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("multiscales",), []),
        (("multiscales",), "0"),
        (("multiscales", 0), None),
        (("multiscales", 0, "datasets"), []),
        (("multiscales", 0, "datasets"), None),
        (("multiscales", 0, "datasets", 0), "0"),
        (("multiscales", 0, "datasets", 0, "path"), None),
    ],
)
def test_malformed_levels_are_damaged(place: tuple[Any, ...], value: Any) -> None:
    """Where the way to the pixels is malformed, it is named as damage."""
    with pytest.raises(DamagedDataError) as caught:
        read_image(changed(place, value))
    assert caught.value.format == "ome-zarr"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *((("version",), version)
          for version in ("0.6", "0.6-dev1", "0.6.dev2", "1.0", 6, ["0.5"])),
        *((("multiscales", 0, "datasets", 0, "path"), path)
          for path in ("", ".", "..", "../0", "a/../../b", "/0", "a//b", "a\\b", "a\0", "\ud800")),
    ],
)  # fmt: skip
def test_later_and_outside_is_unsupported(place: tuple[Any, ...], value: Any) -> None:
    """Later versions, and levels outside the image, are whole for another program."""
    with pytest.raises(UnsupportedFileError):
        read_image(changed(place, value))


@pytest.mark.parametrize("version", ["0.4-dev-spatialdata", "0.5-dev", "0.5.1", 0.4, "0.5+x"])
def test_dialects_of_versions_are_read(version: Any) -> None:
    """A suffix, or a number instead of text, closes nothing."""
    image = read_image(changed(("version",), version))
    assert image is not None
    assert image.version == str(version)
    assert image.levels[0].scale == (2, 3)


AFFINE = {"type": "affine", "affine": [[1.0, 0.1, 0.0], [0.1, 1.0, 0.0]]}


@pytest.mark.parametrize(
    "steps",
    [3, {"type": "scale"}, [3], [{}], [AFFINE], [{"type": "scale"}], [{"type": ["scale"]}],
     [{"type": "scale", "path": "s"}], [{"type": "scale", "scale": [1]}],
     [{"type": "scale", "scale": [1, "2"]}, {"type": "identity"}],
     [{"type": "scale", "scale": [1, 0]}], [{"type": "scale", "scale": [1, True]}],
     [{"type": "scale", "scale": [1, 10**400]}], [{"type": "scale", "scale": [1, math.nan]}],
     [{"type": "sequence", "transformations": [AFFINE]}], [{"type": "rotation"}]],
)  # fmt: skip
@pytest.mark.parametrize("common", [False, True])
def test_unknown_transformation_gives_no_scale(steps: Any, common: bool) -> None:
    """The image is read. No scale is invented, and the transformation is handed on."""
    place: tuple[Any, ...] = ("multiscales", 0, "datasets", 0, "coordinateTransformations")
    document = changed((*place[:2], place[-1]) if common else place, steps)
    image = read_image(document)
    assert image is not None
    assert [axis.name for axis in image.axes] == ["y", "x"]
    said = image.description(2)
    assert said["scale"] is None
    assert said["transformations"][-1] == (steps[-1] if isinstance(steps, list) else steps)


@pytest.mark.parametrize(
    "axes",
    [3, "yx", [], [3, 4], [{"type": "space"}, {"name": "x"}], [{"name": "y"}, {"name": "y"}],
     [{"name": "x"}], [{"name": name} for name in "abcdefg"]],
)  # fmt: skip
def test_axes_that_do_not_fit_are_left_out(axes: Any) -> None:
    image = read_image(changed(("multiscales", 0, "axes"), axes))
    assert image is not None
    said = image.description(2)
    assert (said["axes"], said["scale"], said["units"]) == (None, None, None)


def test_axes_of_unknown_types_are_read() -> None:
    """A type or unit that nobody knows is handed on, or left out where it is not text."""
    axes = [
        {"name": "angle", "type": "wonder", "unit": "u"},
        {"name": "x", "type": 3, "unit": []},
    ]
    image = read_image(changed(("multiscales", 0, "axes"), axes))
    assert image is not None
    assert image.axes == (Axis("angle", "wonder", "u"), Axis("x", "space"))
    assert image.levels[0].scale == (2, 3)


def test_names_of_other_programs_are_nothing() -> None:
    """An attribute "plate" or "well" need not be OME's."""
    for value in ("P1", 3, ["A"], {"barcode": "x"}, {}):
        assert read_plate({"plate": value}) is None
        assert read_well({"well": value}) is None
    with pytest.raises(DamagedDataError):
        read_plate({"ome": {"version": "0.5", "plate": {"barcode": "x"}}})


def test_entries_of_others_stay_in_lists() -> None:
    """What a plate, a well or a list of labels has besides ours is there after a change."""
    odd = [{"acquisition": 3}, {"path": "0", "acquisition": 1}, {"path": "0", "acquisition": 2}]
    well = {"well": {"images": odd, "version": "0.4"}}
    assert read_well(well) == Well(version="0.4", fields=("0", "0"))
    assert well_with_field(well, "1")["well"]["images"] == [*odd[1:], {"path": "1"}, odd[0]]
    assert well_without_field(well, "0")["well"]["images"] == odd[:1]
    plate = {"plate": {
        "columns": [{"name": 2}, {"colour": 1}], "wells": [{"path": "A/2", "mine": 1}, {"x": 1}],
        "version": "0.4", "field_count": "many", "acquisitions": None,
    }}  # fmt: skip
    found = read_plate(plate)
    assert found is not None
    assert (found.columns, found.wells, found.field_count) == (("2",), ("A/2",), None)
    added = plate_with_well(plate, "A", "1", field_count=3)["plate"]
    assert added["columns"] == [{"name": "1"}, {"name": 2}, {"colour": 1}]
    assert added["wells"] == [
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
        {"path": "A/2", "mine": 1, "rowIndex": 0, "columnIndex": 1}, {"x": 1},
    ]  # fmt: skip
    assert (added["field_count"], added["acquisitions"]) == ("many", None)
    labels = {"labels": ["a", 3, "../b", {"x": 1}, "a"]}
    assert read_labels(labels) == ("a", "a")
    assert add_label(labels, "n")["labels"] == ["a", 3, "../b", {"x": 1}, "n"]
    assert remove_label(labels, "a")["labels"] == [3, "../b", {"x": 1}]
    with pytest.raises(UnsupportedFileError, match="'labels'"):
        add_label({"labels": {"1": "cat"}}, "n")
    assert read_labels({"labels": {"1": "cat"}}) == ()


def test_other_groups_are_nothing() -> None:
    """Attributes without a description are none, whatever else they hold."""
    for attributes in ({}, {"a": 1}, {"ome": 3}, {"ome": {"version": "0.5"}}, {"ome": None}):
        assert [read(attributes) for read in READERS] == [None, None, None, ()]


KEYS = [
    "ome", "version", "multiscales", "axes", "datasets", "path", "name", "type", "unit", "scale",
    "translation", "coordinateTransformations", "omero", "channels", "window", "label", "color",
    "image-label", "source", "image", "plate", "rows", "columns", "wells", "field_count", "well",
    "images", "labels",
]  # fmt: skip
words = st.sampled_from(
    ["", "..", "/", "0", "A/1", "0.4", "0.5", "y", "x", "scale", "translation", "\ud800"]
)
hostile = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | words | st.just(10**400),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=5)
    ),
    max_leaves=25,
)


@st.composite
def tampered(draw: st.DrawFn) -> Any:
    """A good document in which a few values were replaced by others."""
    metadata = image_metadata((2, 4, 4), "u2", channels=["a", "b"], units="um")
    kind: Any = draw(st.sampled_from(["image", "label"]))
    version: Any = draw(st.sampled_from(VERSIONS))
    document = image_document(metadata, levels_of("cyx", 2), version=version, kind=kind)
    document = plate_with_well(document, "A", "1", version=version, field_count=2)
    document = well_with_field(document, "0", version)
    document = plain(add_label(document, "nuclei", version))
    for _ in range(draw(st.integers(1, 3))):
        node: Any = document
        while isinstance(node, dict | list) and node:
            keys = sorted(node) if isinstance(node, dict) else range(len(node))
            key = draw(st.sampled_from(keys))
            if draw(st.integers(0, 3)) == 0 or not isinstance(node[key], dict | list):
                node[key] = draw(hostile)
                break
            node = node[key]
    return document


@settings(max_examples=examples(300))
@given(hostile | tampered())
def test_hostile_documents_are_contained(attributes: Any) -> None:
    """Anything in a file gives a value or an error of ours, to readers and editors."""
    for use in (
        *READERS,
        lambda a: add_label(a, "n"),
        lambda a: remove_label(a, "n"),
        lambda a: plate_with_well(a, "A", "2", name="n", field_count=4),
        lambda a: plate_without_well(a, "A", "1"),
        lambda a: well_with_field(a, "1"),
        lambda a: well_without_field(a, "0"),
    ):
        with contextlib.suppress(DataError):
            use(attributes)


def test_deep_documents_are_contained() -> None:
    """A value nested deeper than Python recurses is an error like any other, or left out."""
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for attributes in (
        {"multiscales": deep},
        {"multiscales": [{"version": deep, "axes": ["y", "x"], "datasets": [{"path": "0"}]}]},
        {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": deep}]}]},
        {"multiscales": [{"axes": deep, "datasets": deep}]},
    ):
        with pytest.raises(DataError):
            read_image(attributes)
    for read, key in ((read_plate, "plate"), (read_well, "well")):
        with pytest.raises(DataError):
            read({"ome": {"version": "0.5", key: deep}})
    assert read_labels({"ome": {"version": "0.5", "labels": deep}}) == ()
    steps = {"multiscales": [{"axes": ["y", "x"], "datasets": [{"path": "0",
             "coordinateTransformations": deep}]}]}  # fmt: skip
    assert read_image(steps) is not None
