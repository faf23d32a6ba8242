"""OME-Zarr documents of labels, plates and wells."""

from __future__ import annotations

import copy
import string
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polystore_core.errors import InvalidOptionError
from polystore_zarr.ome import (
    add_label,
    check_well,
    labels_document,
    plate_with_wells,
    plate_without_wells,
    read_labels,
    read_plate,
    read_well,
    remove_label,
    well_with_field,
    well_without_field,
)

from .documents import VERSIONS, round_trip, validate


@pytest.mark.parametrize("version", VERSIONS)
def test_labels_are_listed_once(version: Any) -> None:
    """A label that is added twice is listed once. It can be removed, and other keys stay."""
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
            after = plate_with_wells(attributes, [(row, column)], name="p", version=version)
            assert attributes == before
            attributes = after
        documents.append(attributes)
    assert documents[0] == documents[1]
    validate(documents[0], "plate", version)
    plate = read_plate(round_trip(documents[0]))
    assert plate is not None
    assert set(plate.wells) == {f"{row}/{column}" for row, column in places}
    inner = documents[0].get("ome", documents[0])["plate"]
    for well in inner["wells"]:
        indices = plate.rows[well["rowIndex"]], plate.columns[well["columnIndex"]]
        assert "/".join(indices) == well["path"]


def test_rows_and_columns_are_sorted() -> None:
    """Rows are A to Z, then AA. Columns are ordered by their numbers. Names stay as written."""
    attributes: dict[str, Any] = {}
    for row, column in (("AA", "10"), ("B", "9"), ("Z", "02"), ("A", "100")):
        attributes = plate_with_wells(attributes, [(row, column)])
    plate = read_plate(attributes)
    assert plate is not None
    assert plate.rows == ("A", "B", "Z", "AA")
    assert plate.columns == ("02", "9", "10", "100")
    assert plate.wells == ("A/100", "B/9", "Z/02", "AA/10")


def test_foreign_plate_keys_stay() -> None:
    """Foreign keys of a plate stay, and an older plate keeps its version."""
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
    document = plate_with_wells(foreign, [("A", "2")], name="new", version="0.5", field_count=3)
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
    assert plate_with_wells(document, [("A", "2")], name="other", field_count=1) == document


@pytest.mark.parametrize("version", VERSIONS)
def test_removed_well_leaves_plate(version: Any) -> None:
    """The well is removed, its row and column stay, and a second removal changes nothing."""
    attributes = plate_with_wells({}, [("A", "1")], version=version)
    document = plate_without_wells(
        plate_with_wells(attributes, [("B", "2")], version=version),
        [("B", "2")],
        version=version,
    )
    validate(document, "plate", version)
    plate = read_plate(document)
    assert plate is not None
    assert (plate.rows, plate.columns, plate.wells) == (("A", "B"), ("1", "2"), ("A/1",))
    assert plate_without_wells(document, [("B", "2")], version=version) == document


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_are_listed_once(version: Any) -> None:
    """Fields are listed in order, each of them once. The removal of one keeps the others."""
    attributes: dict[str, Any] = {}
    for field in ("10", "2", "0", "2"):
        attributes = well_with_field(attributes, field, version)
    validate(attributes, "well", version)
    well = read_well(round_trip(attributes))
    assert well is not None
    assert well.fields == ("0", "2", "10")
    attributes = well_without_field(attributes, "2", version)
    assert attributes == well_without_field(attributes, "2", version)
    assert read_well(attributes) == type(well)(version=version, fields=("0", "10"))


@pytest.mark.parametrize(
    "place",
    [
        ("b", "1", "0"),
        ("ABC", "1", "0"),
        ("", "1", "0"),
        ("A", "", "0"),
        ("A", "1000", "0"),
        ("A", "x", "0"),
        ("A", "\u0663", "0"),
        ("A", "1", ""),
        ("A", "1", "a/b"),
        ("A", "1", "f_1"),
        ("A\n", "1", "0"),
        ("..", "1", "0"),
    ],
)
def test_impossible_wells_are_refused(place: tuple[str, str, str]) -> None:
    """A path that is not a field is refused, and the error shows an example."""
    check_well("AF", "048", "f1")
    with pytest.raises(InvalidOptionError, match="'B/03/0'"):
        check_well(*place)
