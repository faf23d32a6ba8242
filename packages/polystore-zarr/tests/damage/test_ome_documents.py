"""OME-Zarr documents that are garbage, and levels whose paths lead elsewhere."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import DamagedDataError, UnsupportedFileError

from .stores import VALUE, read_all_files

if TYPE_CHECKING:
    from pathlib import Path

    from polystore_zarr.backend import ZarrBackend


@pytest.mark.parametrize(
    "path",
    ["..", "../../../secret", "/etc", "", ".", "0/../../x", "\0", "a\\b", 3, None, ["0"]],
)
def test_levels_stay_inside(backend: ZarrBackend, root: Path, path: Any) -> None:
    """If the path of a level leads out of the image, nothing outside is read."""
    backend.save(VALUE, "i.ome.zarr", levels=1)
    place = root / "i.ome.zarr/zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["ome"]["multiscales"][0]["datasets"][0]["path"] = path
    place.write_text(json.dumps(document))
    expected = UnsupportedFileError if isinstance(path, str) else DamagedDataError
    for read in (backend.load, backend.info, backend.open):
        with pytest.raises(expected):
            read("i.ome.zarr")


@pytest.mark.parametrize("target", ["missing", "group", "itself"])
def test_levels_are_arrays(backend: ZarrBackend, root: Path, target: str) -> None:
    """A missing level is damage. A group, or the image itself, is not an array."""
    backend.save(VALUE, "i.ome.zarr", levels=2)
    shutil.rmtree(root / "i.ome.zarr/1")
    if target == "group":
        (root / "i.ome.zarr/1").mkdir()
        (root / "i.ome.zarr/1/zarr.json").write_text('{"zarr_format": 3, "node_type": "group"}')
    elif target == "itself":
        (root / "i.ome.zarr/1").symlink_to(".")
    with pytest.raises(DamagedDataError if target == "missing" else UnsupportedFileError):
        backend.load("i.ome.zarr", level=1)
    np.testing.assert_array_equal(backend.load("i.ome.zarr"), VALUE)


@pytest.mark.parametrize("value", ["x", 3, [], [3], {}, [{}], None, [{"datasets": 3}]], ids=str)
def test_multiscales_are_garbage(backend: ZarrBackend, root: Path, value: Any) -> None:
    """An invalid description is damage, but the image is still listed."""
    backend.save(VALUE, "i.ome.zarr", levels=1)
    place = root / "i.ome.zarr/zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["ome"]["multiscales"] = value
    place.write_text(json.dumps(document))
    with pytest.raises(DamagedDataError):
        backend.load("i.ome.zarr")
    assert backend.list_dir(".") == ["i.ome.zarr"]


@pytest.mark.parametrize("which", ["plate.ome.zarr", "plate.ome.zarr/B", "plate.ome.zarr/B/03"])
@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"zarr_format": 3}'], ids=repr)
def test_unreadable_group_stays(
    backend: ZarrBackend, root: Path, which: str, garbage: bytes
) -> None:
    """A group that cannot be read is not replaced, and nothing is written into it."""
    backend.save(VALUE, "plate.ome.zarr/B/03/0", levels=1)
    (root / which / "zarr.json").write_bytes(garbage)
    before = read_all_files(root)
    with pytest.raises(DamagedDataError) as caught:
        backend.save(VALUE + 1, "plate.ome.zarr/B/03/1", levels=1)
    assert "plate.ome.zarr" in str(caught.value)
    with pytest.raises(DamagedDataError):
        backend.save(VALUE + 1, "plate.ome.zarr/B/03/0", levels=1)
    assert read_all_files(root) == before
    np.testing.assert_array_equal(backend.load("plate.ome.zarr/B/03/0"), VALUE)


@pytest.mark.parametrize("key", ["plate", "well"])
@pytest.mark.parametrize("value", ["x", 3, [], {}, {"wells": 3}, {"images": [3]}], ids=str)
def test_invalid_plate_stays(backend: ZarrBackend, root: Path, key: str, value: Any) -> None:
    """Invalid documents of plates and wells are refused and stay unchanged."""
    backend.save(VALUE, "plate.ome.zarr/B/03/0", levels=1)
    place = root / ("plate.ome.zarr" if key == "plate" else "plate.ome.zarr/B/03") / "zarr.json"
    document = json.loads(place.read_bytes())
    document["attributes"]["ome"][key] = value
    place.write_text(json.dumps(document))
    before = place.read_bytes()
    well = "C/01" if key == "plate" else "B/03"
    with pytest.raises(DamagedDataError):
        backend.save(VALUE + 1, f"plate.ome.zarr/{well}/1", levels=1)
    assert place.read_bytes() == before
    np.testing.assert_array_equal(backend.load("plate.ome.zarr/B/03/0"), VALUE)
