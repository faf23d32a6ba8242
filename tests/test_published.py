"""Files of the published polystore 0.6.3 load, as docs/migrating.md promises.

``published/make.py`` wrote them.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystore import AtomicMetadataWriter, BackendRegistry, FileManager
from polystore.rois import Ellipse, Points, Polygon, Polyline

FILES = Path(__file__).parent / "published/0.6.3.zip"
IMAGE = np.arange(12, dtype="uint16").reshape(3, 4)
TABLE = np.array([(1, 2.5), (2, 4.5)], dtype=[("cell", "i8"), ("area", "f8")])
CORNERS = np.array([[1.0, 1], [1, 8], [6, 8]])


@pytest.fixture
def fm(tmp_path, monkeypatch):
    with zipfile.ZipFile(FILES) as archive:
        archive.extractall(tmp_path)
    monkeypatch.chdir(tmp_path)
    with BackendRegistry() as registry:
        yield FileManager(registry)


@pytest.mark.parametrize(
    ("path", "backend", "value"),
    [
        ("a.npy", "disk", IMAGE),
        ("a.tif", "disk", IMAGE),
        ("stack.tif", "disk", np.stack([IMAGE, IMAGE + 1])),
        ("a.png", "disk", IMAGE.astype("uint8")),
        ("a.jpg", "disk", np.full((8, 8), 7, "uint8")),
        ("a.csv", "disk", TABLE),
        ("one.zarr", "zarr", IMAGE),
        ("plate.zarr/A/01/0", "zarr", np.stack([IMAGE, IMAGE + 1])),
    ],
)
def test_arrays_load(fm, path, backend, value):
    loaded = fm.load(path, backend)
    assert loaded.dtype == value.dtype
    assert np.array_equal(loaded, value)


def test_documents_load(fm):
    assert fm.load("a.json", "disk") == {"well": "B03", "sizes": [1, 2.5]}
    assert fm.load("a.txt", "disk") == "two\nlines\n"


def test_rois_load_with_their_properties(fm):
    rois = fm.load("a.roi.zip", "disk")
    assert [roi.properties["label"] for roi in rois] == [0, 1, 2, 3]
    polygon, polyline, ellipse, points = (roi.shape for roi in rois)
    assert polygon == Polygon(CORNERS - 0.5)  # ImageJ counts from the corner of a pixel
    assert polyline == Polyline(CORNERS)
    assert ellipse == Ellipse((19.5, 29.5), (9, 12))
    assert points == Points([(3, 4)])


def test_plate_is_a_workspace_of_its_file_names(fm):
    fm.registry.add("plate", "virtual_workspace", file="polystore_metadata.json")
    paths = fm.list_files(".", "plate", recursive=True)
    assert [Path(path).name for path in paths] == ["A01_w1.tif", "A01_w2.tif"]
    assert np.array_equal(fm.load(paths[1], "plate"), IMAGE + 1)


def test_metadata_can_be_updated(fm, tmp_path):
    path = tmp_path / "polystore_metadata.json"
    AtomicMetadataWriter().merge_subdirectory_metadata(path, {"new": {"channels": ["DAPI"]}})
    assert json.loads(path.read_text("utf-8"))["subdirectories"] == {
        "plate.zarr": {"available_backends": {"zarr": True}},
        "new": {"channels": ["DAPI"]},
    }
