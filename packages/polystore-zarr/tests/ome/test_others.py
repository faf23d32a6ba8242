"""Documents of other programs: older, later, unusual or hostile."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polystore_core.errors import DamagedDataError, DataError, UnsupportedFileError
from polystore_core.image import Axis, Channel, image_metadata
from polystore_testing.examples import examples
from polystore_zarr.ome import (
    Level,
    Well,
    add_label,
    image_document,
    plate_with_wells,
    plate_without_wells,
    read_image,
    read_labels,
    read_plate,
    read_well,
    remove_label,
    well_with_field,
    well_without_field,
)

from .documents import READERS, VERSIONS, change_document, levels_of, round_trip


def test_old_images_are_read() -> None:
    """Versions 0.1 to 0.3 have no transformations, and little or no metadata of axes."""
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
    """The transformations of the whole image are applied after those of a level."""
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
    """A malformed "omero" is left out, but the image is still read."""
    document = image_document(image_metadata((4, 4), "u2"), [("0", (1, 1))])
    for omero, count in ((3, 0), ({"channels": 3}, 0), ({"channels": [3, {"label": 4}]}, 2)):
        document["ome"]["omero"] = omero
        image = read_image(document)
        assert image is not None
        assert image.channels == (Channel(name=""),) * count


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
    """A malformed path to the pixels is damage, and the error names it."""
    with pytest.raises(DamagedDataError) as caught:
        read_image(change_document(place, value))
    assert caught.value.format == "ome-zarr"


@pytest.mark.parametrize(
    ("place", "value"),
    [
        *(
            (("version",), version)
            for version in ("0.6", "0.6-dev1", "0.6.dev2", "1.0", 6, ["0.5"])
        ),
        *(
            (("multiscales", 0, "datasets", 0, "path"), path)
            for path in (
                "",
                ".",
                "..",
                "../0",
                "a/../../b",
                "/0",
                "a//b",
                "a\\b",
                "a\0",
                "\ud800",
            )
        ),
    ],
)
def test_later_and_outside_is_unsupported(place: tuple[Any, ...], value: Any) -> None:
    """Later versions, and levels outside the image, are unsupported. They are not damaged."""
    with pytest.raises(UnsupportedFileError):
        read_image(change_document(place, value))


@pytest.mark.parametrize("version", ["0.4-dev-spatialdata", "0.5-dev", "0.5.1", 0.4, "0.5+x"])
def test_dialects_of_versions_are_read(version: Any) -> None:
    """A version with a suffix, or a number instead of text, is read."""
    image = read_image(change_document(("version",), version))
    assert image is not None
    assert image.version == str(version)
    assert image.levels[0].scale == (2, 3)


AFFINE = {"type": "affine", "affine": [[1.0, 0.1, 0.0], [0.1, 1.0, 0.0]]}


@pytest.mark.parametrize(
    "steps",
    [
        3,
        {"type": "scale"},
        [3],
        [{}],
        [AFFINE],
        [{"type": "scale"}],
        [{"type": ["scale"]}],
        [{"type": "scale", "path": "s"}],
        [{"type": "scale", "scale": [1]}],
        [{"type": "scale", "scale": [1, "2"]}, {"type": "identity"}],
        [{"type": "scale", "scale": [1, 0]}],
        [{"type": "scale", "scale": [1, True]}],
        [{"type": "scale", "scale": [1, 10**400]}],
        [{"type": "scale", "scale": [1, math.nan]}],
        [{"type": "sequence", "transformations": [AFFINE]}],
        [{"type": "rotation"}],
    ],
)
@pytest.mark.parametrize("common", [False, True])
def test_unknown_transformation_gives_no_scale(steps: Any, common: bool) -> None:
    """The image is read without a scale, and the transformation is passed on."""
    place: tuple[Any, ...] = ("multiscales", 0, "datasets", 0, "coordinateTransformations")
    document = change_document((*place[:2], place[-1]) if common else place, steps)
    image = read_image(document)
    assert image is not None
    assert [axis.name for axis in image.axes] == ["y", "x"]
    description = image.description(2)
    assert description["scale"] is None
    assert description["transformations"][-1] == (
        steps[-1] if isinstance(steps, list) else steps
    )


@pytest.mark.parametrize(
    "axes",
    [
        3,
        "yx",
        [],
        [3, 4],
        [{"type": "space"}, {"name": "x"}],
        [{"name": "y"}, {"name": "y"}],
        [{"name": "x"}],
        [{"name": name} for name in "abcdefg"],
    ],
)
def test_axes_that_do_not_fit_are_left_out(axes: Any) -> None:
    image = read_image(change_document(("multiscales", 0, "axes"), axes))
    assert image is not None
    description = image.description(2)
    assert (description["axes"], description["scale"], description["units"]) == (
        None,
        None,
        None,
    )


def test_axes_of_unknown_types_are_read() -> None:
    """An unknown type or unit is passed on. One that is not text is left out."""
    axes = [
        {"name": "angle", "type": "wonder", "unit": "u"},
        {"name": "x", "type": 3, "unit": []},
    ]
    image = read_image(change_document(("multiscales", 0, "axes"), axes))
    assert image is not None
    assert image.axes == (Axis("angle", "wonder", "u"), Axis("x", "space"))
    assert image.levels[0].scale == (2, 3)


def test_foreign_plate_and_well_attributes_are_ignored() -> None:
    """An attribute "plate" or "well" may belong to another program."""
    for value in ("P1", 3, ["A"], {"barcode": "x"}, {}):
        assert read_plate({"plate": value}) is None
        assert read_well({"well": value}) is None
    with pytest.raises(DamagedDataError):
        read_plate({"ome": {"version": "0.5", "plate": {"barcode": "x"}}})


def test_entries_of_others_stay_in_lists() -> None:
    """A change keeps the foreign entries of a plate, a well or a list of labels."""
    odd = [{"acquisition": 3}, {"path": "0", "acquisition": 1}, {"path": "0", "acquisition": 2}]
    well = {"well": {"images": odd, "version": "0.4"}}
    assert read_well(well) == Well(version="0.4", fields=("0", "0"))
    assert well_with_field(well, "1")["well"]["images"] == [*odd[1:], {"path": "1"}, odd[0]]
    assert well_without_field(well, "0")["well"]["images"] == odd[:1]
    plate = {
        "plate": {
            "columns": [{"name": 2}, {"colour": 1}],
            "wells": [{"path": "A/2", "mine": 1}, {"x": 1}],
            "version": "0.4",
            "field_count": "many",
            "acquisitions": None,
        }
    }
    found = read_plate(plate)
    assert found is not None
    assert (found.columns, found.wells, found.field_count) == (("2",), ("A/2",), None)
    added = plate_with_wells(plate, [("A", "1")], field_count=3)["plate"]
    assert added["columns"] == [{"name": "1"}, {"name": 2}, {"colour": 1}]
    assert added["wells"] == [
        {"path": "A/1", "rowIndex": 0, "columnIndex": 0},
        {"path": "A/2", "mine": 1, "rowIndex": 0, "columnIndex": 1},
        {"x": 1},
    ]
    assert (added["field_count"], added["acquisitions"]) == ("many", None)
    labels = {"labels": ["a", 3, "../b", {"x": 1}, "a"]}
    assert read_labels(labels) == ("a", "a")
    assert add_label(labels, "n")["labels"] == ["a", 3, "../b", {"x": 1}, "n"]
    assert remove_label(labels, "a")["labels"] == [3, "../b", {"x": 1}]
    with pytest.raises(UnsupportedFileError, match="'labels'"):
        add_label({"labels": {"1": "cat"}}, "n")
    assert read_labels({"labels": {"1": "cat"}}) == ()


def test_groups_without_ome_are_ignored() -> None:
    """Attributes without OME metadata have no description, even if they have other keys."""
    for attributes in ({}, {"a": 1}, {"ome": 3}, {"ome": {"version": "0.5"}}, {"ome": None}):
        assert [read(attributes) for read in READERS] == [None, None, None, ()]


KEYS = [
    "ome",
    "version",
    "multiscales",
    "axes",
    "datasets",
    "path",
    "name",
    "type",
    "unit",
    "scale",
    "translation",
    "coordinateTransformations",
    "omero",
    "channels",
    "window",
    "label",
    "color",
    "image-label",
    "source",
    "image",
    "plate",
    "rows",
    "columns",
    "wells",
    "field_count",
    "well",
    "images",
    "labels",
]
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
def tampered_documents(draw: st.DrawFn) -> Any:
    """Draw a valid document in which a few values are replaced."""
    metadata = image_metadata((2, 4, 4), "u2", channels=["a", "b"], units="um")
    kind: Any = draw(st.sampled_from(["image", "label"]))
    version: Any = draw(st.sampled_from(VERSIONS))
    document = image_document(metadata, levels_of("cyx", 2), version=version, kind=kind)
    document = plate_with_wells(document, [("A", "1")], version=version, field_count=2)
    document = well_with_field(document, "0", version)
    document = round_trip(add_label(document, "nuclei", version))
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
@given(hostile | tampered_documents())
def test_hostile_documents_are_contained(attributes: Any) -> None:
    """Any content of a file gives a value or an error of ours, in readers and editors."""
    for use in (
        *READERS,
        lambda a: add_label(a, "n"),
        lambda a: remove_label(a, "n"),
        lambda a: plate_with_wells(a, [("A", "2")], name="n", field_count=4),
        lambda a: plate_without_wells(a, [("A", "1")]),
        lambda a: well_with_field(a, "1"),
        lambda a: well_without_field(a, "0"),
    ):
        with contextlib.suppress(DataError):
            use(attributes)


def test_deep_documents_are_contained() -> None:
    """A value nested deeper than Python can recurse raises an ordinary error, or is left out."""
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
    steps = {
        "multiscales": [
            {"axes": ["y", "x"], "datasets": [{"path": "0", "coordinateTransformations": deep}]}
        ]
    }
    assert read_image(steps) is not None
