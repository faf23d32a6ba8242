"""Large plates are decoded and encoded in pieces, with the same results as in one piece."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_zarr.ome import plate_with_wells, plate_without_wells, read_plate
from polystore_zarr.store.documents import decode_document, encode_document
from polystore_zarr.store.local import local_path
from polystore_zarr.store.pieces import Known, decode_again, encode_again

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[dict[str, Any]], object]

PATH = local_path("plate.ome.zarr/zarr.json")
WELLS = [(row, str(column)) for row in "ABCDEFGH" for column in range(1, 13)]


def document(attributes: dict[str, Any]) -> dict[str, Any]:
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def make_known(fields: dict[str, Any]) -> Known:
    """Return a document with many wells, as if this process had written it."""
    text, pieces, _ = encode_again(fields, None)
    assert pieces is not None
    return Known(text, fields, pieces)


def plate_of(fields: dict[str, Any]) -> dict[str, Any]:
    plate: dict[str, Any] = fields["attributes"]["ome"]["plate"]
    return plate


@pytest.fixture
def known() -> Known:
    return make_known(document(plate_with_wells({}, WELLS[:80], name="p")))


@pytest.mark.parametrize("seed", range(8))
def test_changed_plates_decode_equally_in_pieces(seed: int) -> None:
    rng = random.Random(seed)
    wells = rng.sample(WELLS, len(WELLS))
    attributes = plate_with_wells({}, wells[:70])
    known, there, left = make_known(document(attributes)), wells[:70], wells[70:]
    plate = read_plate(attributes)
    followed = 0
    while left:
        count = rng.randint(1, 3)
        attributes = plate_with_wells(attributes, left[:count])
        there, left = there + left[:count], left[count:]
        if rng.random() < 0.3:
            gone = there.pop(rng.randrange(len(there)))
            attributes = plate_without_wells(attributes, [gone])
        text = encode_document(document(attributes))
        found = decode_again(text, PATH, known)
        assert found is not None
        fields, pieces, splice = found
        assert fields == decode_document(text, PATH)
        assert text[pieces.start : pieces.stop] == b"}, {".join(pieces.texts)
        assert plate is not None
        after = None if splice is None else plate.follow(*splice)
        followed += after is not None
        assert after in (None, read_plate(attributes))
        known, plate = Known(text, fields, pieces), after or read_plate(attributes)
    assert followed > 2


@pytest.mark.parametrize("seed", range(8))
def test_plates_encode_equally_in_pieces(seed: int) -> None:
    rng = random.Random(seed)
    wells = rng.sample(WELLS, len(WELLS))
    attributes: dict[str, Any] = {"mine": "é \ud800 [{}, {}]"}
    known, plate = None, None
    for at in range(0, len(wells), 2):
        attributes = plate_with_wells(attributes, wells[at : at + 2], name="p")
        if rng.random() < 0.2:
            attributes = plate_without_wells(attributes, [wells[at]])
        fields = document(attributes)
        text, pieces, splice = encode_again(fields, known)
        assert text == encode_document(fields)
        if plate is not None and splice is not None:
            assert plate.follow(*splice) == read_plate(attributes)
        known = None if pieces is None else Known(text, fields, pieces)
        plate = read_plate(attributes)


def test_wells_in_known_rows_and_columns_are_put_in_order() -> None:
    rng = random.Random(1)
    attributes = plate_with_wells({}, WELLS[11:85])
    for well in rng.sample(WELLS, len(WELLS)):
        known = read_plate(attributes)
        assert known is not None
        assert known.in_order
        sorted_again = plate_with_wells(
            attributes, [well], known=replace(known, in_order=False)
        )
        attributes = plate_with_wells(attributes, [well], known=known)
        assert attributes == sorted_again


DISORDER: dict[str, Edit] = {
    "an index": lambda plate: plate["wells"][3].update(columnIndex=0),
    "a negative index": lambda plate: plate["wells"][11].update(columnIndex=-1),
    "a missing index": lambda plate: plate["wells"][3].pop("rowIndex"),
    "an index as text": lambda plate: plate["wells"][3].update(rowIndex="0"),
    "two wells exchanged": lambda plate: plate["wells"].reverse(),
    "rows exchanged": lambda plate: plate["rows"].reverse(),
    "a row twice": lambda plate: plate["rows"].append({"name": "H"}),
    "a row without a name": lambda plate: plate["rows"].append({}),
    "a well elsewhere": lambda plate: plate["wells"].append({"path": "elsewhere"}),
    "a well that is not an object": lambda plate: plate["wells"].append(5),
    "a row without letters": lambda plate: plate["rows"].append({"name": ""}),
    "no version": lambda plate: plate.pop("version"),
}


@pytest.mark.parametrize("edit", DISORDER.values(), ids=DISORDER)
def test_disordered_plates_are_repaired(edit: Edit) -> None:
    attributes = json.loads(json.dumps(plate_with_wells({}, WELLS[:-1])))
    edit(attributes["ome"]["plate"])
    known = read_plate(attributes)
    assert known is not None
    assert not known.in_order
    mended = plate_with_wells(attributes, WELLS[-1:], known=known)
    named = [well for well in mended["ome"]["plate"]["wells"] if isinstance(well, dict)]
    rows = [row.get("name") for row in mended["ome"]["plate"]["rows"]]
    assert [row for row in rows if row][:8] == list("ABCDEFGH")
    places = [(well["rowIndex"], well["columnIndex"]) for well in named if "rowIndex" in well]
    assert places == [(rows.index(row), column) for row in "ABCDEFGH" for column in range(12)]
    assert mended["ome"]["plate"]["version"] == "0.5"


def append(text: str) -> Edit:
    return lambda plate: plate["wells"].append(json.loads(text))


OTHERS: dict[str, Edit] = {
    "well with objects": append('{"path": "H/1", "x": [{"a": 1}, {"b": 2}], "y": {}}'),
    "empty well": append("{}"),
    "not an object": append("5"),
    "text like ours": append('{"path": "}, {", "x": "}]"}'),
    "no wells": lambda plate: plate["wells"].clear(),
    "other wells": lambda plate: plate.update(wells=[{"path": f"Z/{n}"} for n in range(99)]),
    "wells before": lambda plate: plate.update(
        {"acquisitions": [{"wells": [{"path": "A/1"}]}], "wells": plate.pop("wells")}
    ),
    "name": lambda plate: plate.update(name='"wells": [{'),
}


@pytest.mark.parametrize("edit", OTHERS.values(), ids=OTHERS)
@pytest.mark.parametrize("indent", [None, 2])
def test_any_foreign_document_decodes_equally_in_pieces(
    known: Known, edit: Edit, indent: int | None
) -> None:
    fields = json.loads(known.text)
    edit(plate_of(fields))
    text = json.dumps(fields, indent=indent).encode()
    found = decode_again(text, PATH, known)
    assert found is None or found[0] == fields
    again, pieces, _ = encode_again(fields, known)
    assert again == encode_document(fields)
    if pieces is not None:
        fields["attributes"]["ome"]["plate"]["name"] = "other"
        text = encode_document(fields)
        found = decode_again(text, PATH, Known(again, json.loads(again), pieces))
        assert found is None or found[0] == fields


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"path": "C/1"', b'"path": "C/1'),
        (b'"path": "C/1"', b'"path": "C/1", "path": "C/2"'),
        (b'{"path": "C/1"', b'{"path": "C/1"}, {"x": {"path": "C/1"'),
        (b'"rowIndex": 2}, {', b'"rowIndex": 2}, 5, {'),
        (b'"C/1"', b'"\xff"'),
        (b"}]", b"}"),
        (b"}]", b"}]]"),
        (b'"zarr_format": 3', b'"zarr_format": 3, "zarr_format": 3'),
        (b'"wells": [{', b'"wells": [0], "wells": [{'),
        (b'"wells": [{', b'"other": {"wells": [0]}, "wells": [{'),
    ],
)
def test_damage_is_never_decoded_in_pieces(known: Known, old: bytes, new: bytes) -> None:
    text = known.text.replace(old, new)
    try:
        whole = json.loads(text, object_pairs_hook=_pairs)
    except ValueError:
        whole = None
    found = decode_again(text, PATH, known)
    assert found is None or found[0] == whole


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError
    return dict(pairs)


def test_saves_keep_changes_that_others_make_in_between(tmp_path: Path) -> None:
    manager, plate = FileManager(BackendRegistry()), tmp_path / "plate.ome.zarr"
    paths = [f"{plate}/{row}/{column}/0" for row, column in WELLS]
    pixels = np.zeros((4, 4), "u1")
    manager.save_batch([pixels] * 80, paths[:80], backend="zarr")
    name = plate / "zarr.json"
    for number, path in enumerate(paths[80:]):
        fields = json.loads(name.read_bytes())
        others = [("J", str(number)), ("A", str(number + 20))]
        fields["attributes"] = plate_with_wells(fields["attributes"], others)
        plate_of(fields)["mine"] = number
        name.write_bytes(encode_document(fields))
        manager.save(pixels, path, backend="zarr")
        expected = plate_with_wells(fields["attributes"], [WELLS[80 + number]])
        assert json.loads(name.read_bytes()) == {**fields, "attributes": expected}
