"""Files of earlier versions load with the same values, types and shapes."""

import json
import runpy
import shutil
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystore import AtomicMetadataWriter, BackendRegistry, FileManager
from polystore.rois import ROI

GOLDEN = Path(__file__).parent / "golden"
pytestmark = pytest.mark.filterwarnings("ignore::zarr.errors.UnstableSpecificationWarning")
MADE = runpy.run_path(str(GOLDEN / "cases.py"))
CASES = [
    pytest.param(
        backend,
        case,
        id="-".join([backend, case.path, *case.load]),
        marks=pytest.mark.frameworks if case.path.endswith((".pt", ".pth")) else (),
    )
    for backend, cases in MADE["CASES"].items()
    for case in cases
]


ARCHIVES = sorted(GOLDEN.glob("*.zip"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.stem)
def folder(request, tmp_path_factory):
    """Give a folder to tests that only read."""
    path = tmp_path_factory.mktemp("golden")
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(path)
    return path


@pytest.fixture
def own_folder(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def fm():
    return FileManager(BackendRegistry())


def assert_same(found, expected):
    """Assert the same types and bits. NaN equals NaN, and -0.0 differs from 0.0."""
    assert type(found) is type(expected)
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        assert_same(list(found.values()), list(expected.values()))
    elif isinstance(expected, list | tuple):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif isinstance(expected, np.ndarray):
        assert found.dtype == expected.dtype
        assert found.shape == expected.shape
        assert found.tobytes() == expected.tobytes()
    elif type(expected).__module__.partition(".")[0] == "torch":
        import torch

        torch.testing.assert_close(found, expected, rtol=0, atol=0)
    elif type(expected).__module__.partition(".")[0] == "pandas":
        import pandas as pd

        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    else:
        assert found == expected


# zarr 3.4 warns about each structured array of an older zarr, and reads it correctly.
@pytest.mark.filterwarnings("ignore:Missing 'endian' for structured dtype:UserWarning")
@pytest.mark.parametrize(("backend", "case"), CASES)
def test_loads_as_it_was_saved(fm, folder, backend, case):
    path = str(folder / case.path)
    assert_same(fm.load(path, backend=backend, **case.load), case.value())
    metadata = fm.info(path, backend=backend).metadata
    assert {name: metadata[name] for name in case.info} == dict(case.info)


def test_rois_of_documents_load(fm, folder):
    content = fm.load(str(folder / "rois.json"), backend="disk")
    assert [ROI.from_dict(item) for item in content] == MADE["ROIS"]


def test_metadata_can_be_updated(own_folder):
    path = own_folder / "metadata.json"
    assert json.loads(path.read_text("utf-8")) == {"subdirectories": MADE["SUBDIRECTORIES"]}
    AtomicMetadataWriter().merge_subdirectory_metadata(
        path, {"TimePoint_2": {"channels": {"3": "RFP"}}}
    )
    merged = json.loads(path.read_text("utf-8"))["subdirectories"]
    assert merged["TimePoint_1"] == MADE["SUBDIRECTORIES"]["TimePoint_1"]
    assert merged["TimePoint_2"]["channels"] == {"1": "DAPI", "2": "GFP", "3": "RFP"}
    assert json.loads((own_folder / "settings.json").read_text("utf-8")) == MADE["SETTINGS"]


@pytest.mark.parametrize(("store", "wells"), [("plate", ["A/1", "B/03"]), ("scan", ["A/01"])])
def test_fields_can_be_added_to_plates(fm, own_folder, store, wells):
    plate = own_folder / f"{store}.ome.zarr"
    image = MADE["ramp"](9, 8)
    fm.save(image, f"{plate}/C/2/0", backend="zarr")
    document = json.loads((plate / "zarr.json").read_text("utf-8"))
    listed = [well["path"] for well in document["attributes"]["ome"]["plate"]["wells"]]
    assert listed == [*wells, "C/2"]
    assert_same(fm.load(f"{plate}/C/2/0", backend="zarr"), image)


def test_images_keep_their_metadata(fm, own_folder):
    """New pixels in an old image keep its axes, pixel size and channels."""
    path = str(own_folder / "image.ome.zarr")
    before = fm.info(path, backend="zarr").metadata
    fm.save(MADE["plain"](2) + 1, path, backend="zarr")
    assert fm.info(path, backend="zarr").metadata == before


NEW = {
    "btf",
    "lsm",
    "ome.btf",
    "ome.tf8",
    "ome.tif",
    "ome.tiff",
    "qptiff",
    "safetensors",
    "stk",
    "svs",
    "tf8",
}
"""Suffixes that are newer than the archive. The next archive has files of them."""


def test_every_format_has_a_file():
    packages = tomllib.loads((GOLDEN.parent.parent / "packages.toml").read_text("utf-8"))
    suffixes = packages["packages"]["polystore-formats"]["formats"]
    names = [case.path for case in MADE["DISK"]]
    assert set(suffixes) >= NEW
    for suffix in set(suffixes) - NEW:
        assert any(name.endswith(f".{suffix}") for name in names), suffix


def test_each_file_has_a_case(folder):
    paths = [case.path for cases in MADE["CASES"].values() for case in cases]
    known = {path.partition("/")[0] for path in paths} | {"metadata.json", "settings.json"}
    assert {path.name for path in folder.iterdir()} == known
