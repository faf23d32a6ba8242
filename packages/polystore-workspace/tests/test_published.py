"""Load the files in ``data/published.zip``, which polystore 0.6.3 from PyPI wrote.

There are two wells of two sites, with two channels and three planes each.
``ZarrStorageBackend().save_batch(planes, paths, chunk_name=well, batch_layout=layout, row=…,
col=…)`` saved them twice, into ``plate/images/`` and into ``plate/run.zarr/``. The site is an
axis with the role HCS_IMAGE. ``AtomicMetadataWriter().merge_subdirectory_metadata`` wrote both
documents. The mapping of ``mapped/`` comes from
``SourcePixelRef("disk", …).to_workspace_mapping()``, and tifffile wrote its images.
"""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import BatchError, DamagedDataError, InvalidOptionError
from polystore_workspace import Reference, Workspace

DATA = Path(__file__).parent / "data/published.zip"
NAMES = [
    f"{well}_s{site}_w{channel}_z{z}.tif"
    for well in ("B03", "C11")
    for site in (1, 2)
    for channel in (1, 2)
    for z in (1, 2, 3)
]


def plane(name):
    """Return the plane that was saved under a name."""
    well, site, channel, z = (part.lstrip("swz") for part in name[: -len(".tif")].split("_"))
    first = 1000 * "BC".index(well[0]) + 100 * int(site) + 10 * (int(z) - 1)
    first += 500 * (int(channel) - 1)
    return np.arange(first, first + 12, dtype="uint16").reshape(3, 4)


@pytest.fixture
def folder(tmp_path):
    with zipfile.ZipFile(DATA) as archive:
        archive.extractall(tmp_path)
    return tmp_path


@pytest.fixture
def open_workspace():
    def make_manager(file):
        registry = BackendRegistry()
        registry.add("ws", "virtual_workspace", file=file)
        return FileManager(registry)

    return make_manager


def check_plate(fm, top):
    paths = [f"{top}{name}" for name in NAMES]
    assert fm.list_files(top or ".", "ws") == paths
    for path, value in zip(paths, fm.load_batch(paths, "ws"), strict=True):
        np.testing.assert_array_equal(value, plane(path.rpartition("/")[2]))
    np.testing.assert_array_equal(fm.load(paths[7], "ws"), plane(NAMES[7]))
    info = fm.info(paths[7], "ws")
    assert (info.shape, info.dtype, info.image.names) == ((3, 4), "<u2", ("y", "x"))
    with fm.open(paths[7], "ws") as handle:
        np.testing.assert_array_equal(handle[1:], plane(NAMES[7])[1:])


@pytest.mark.parametrize("store", ["images", "run.zarr"])
def test_zarr_plate_loads_by_file_names(folder, open_workspace, store):
    """The document names zarr and has no mapping: each file name is a virtual path."""
    check_plate(open_workspace(folder / "plate"), f"{store}/")


@pytest.mark.parametrize("store", ["images", "run.zarr"])
def test_workspace_of_zarr_plate(folder, open_workspace, store):
    names = "{well}_s{site}_w{channel}_z{z}.tif"
    workspace = Workspace.build(folder / "plate" / store, names, paths="{file}", backend="zarr")
    workspace.save(folder / "ws.json")
    check_plate(open_workspace(folder / "ws.json"), "")
    some = Workspace.build(folder / "plate" / store, names, backend="zarr", pattern="C11_s2*")
    assert len(some.entries) == 6
    assert next(iter(some.entries)) == "C11/C11_s2_w1_z1.tif"
    with pytest.raises(InvalidOptionError, match="split="):
        Workspace.build(folder / "plate" / store, names, split="t", backend="zarr")


def test_mappings_of_subdirectories_are_merged(folder, open_workspace):
    fm = open_workspace(folder / "mapped/polystore_metadata.json")
    paths = [f"B03_s1_w1_z{z}.tif" for z in (1, 2, 3)]
    assert fm.list_files(".", "ws", recursive=True) == [*paths, "TimePoint_1/C11.tif"]
    for path, value in zip(paths, fm.load_batch(paths, "ws"), strict=True):
        np.testing.assert_array_equal(value, plane(path))
    np.testing.assert_array_equal(
        fm.load("TimePoint_1/C11.tif", "ws"), plane("C11_s2_w1_z1.tif")
    )


def test_zarr_plate_stays_inside(folder, open_workspace):
    """The root is also enforced for a folder whose name is not that of a store."""
    (folder / "plate/images").rename(folder / "outside")
    (folder / "plate/images").symlink_to(folder / "outside")
    entry = Reference("zarr", "images/B/03/0", (0, 0))
    Workspace({"a.tif": entry}).save(folder / "plate/ws.json")
    with pytest.raises(DamagedDataError, match="out of the root"):
        open_workspace(folder / "plate/ws.json").load("a.tif", "ws")
    with pytest.raises(Exception, match="images"):
        open_workspace(folder / "plate").list_dir(".", "ws")


def change(file, path, value):
    document = json.loads(file.read_text())
    *keys, last = path
    inner = document
    for key in keys:
        inner = inner[key]
    inner[last] = value
    file.write_text(json.dumps(document))


MAPPING = ("subdirectories", ".", "workspace_mapping")
OLD = {"B.tif": "raw/C11.tif"}


def test_old_mappings_mean_disk(folder, open_workspace):
    """Before version 0.6 a source was the path of a file, and often an absolute one."""
    file = folder / "mapped/polystore_metadata.json"
    absolute = str(folder / "mapped/raw/C11.tif")
    change(file, MAPPING, {"a.tif": "raw/C11.tif", "b\\c.tif": absolute})
    fm = open_workspace(file.parent)
    for path in ("a.tif", "b/c.tif"):
        np.testing.assert_array_equal(fm.load(path, "ws"), plane("C11_s2_w1_z1.tif"))


@pytest.mark.parametrize(
    ("path", "value", "text"),
    [
        (("subdirectories",), [], "subdirectories"),
        ((*MAPPING[:2],), 1, "subdirectories.."),
        (MAPPING, [], "workspace_mapping"),
        ((*MAPPING[:2], "available_backends"), ["zarr"], "available_backends"),
        (("subdirectories",), {"x": {}}, "no subdirectory"),
    ],
)
def test_bad_documents_are_named(folder, open_workspace, path, value, text):
    file = folder / "mapped/polystore_metadata.json"
    change(file, path, value)
    with pytest.raises(DamagedDataError) as caught:
        open_workspace(file).list_dir(".", "ws")
    assert (text in str(caught.value), caught.value.path) == (True, str(file))


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("a.tif", 3, "got 3"),
        ("a.tif", {"backend": "disk"}, "source_axis_indices"),
        ("TimePoint_1/C11.tif", "raw/other.tif", "two subdirectories"),
    ],
)
def test_bad_entry_raises_where_it_is_used(folder, open_workspace, name, value, text):
    file = folder / "mapped/polystore_metadata.json"
    change(file, (*MAPPING, name), value)
    change(file, (*MAPPING, "B03_s1_w1_z1.tif", "note"), "of a later version")
    fm = open_workspace(file)
    assert fm.exists(name, "ws")
    np.testing.assert_array_equal(fm.load("B03_s1_w1_z1.tif", "ws"), plane("B03_s1_w1_z1.tif"))
    with pytest.raises(DamagedDataError, match=text) as caught:
        fm.load(name, "ws")
    assert (caught.value.path, str(file) in str(caught.value)) == (name, True)


def test_duplicate_keys_are_reported(folder, open_workspace):
    file = folder / "mapped/polystore_metadata.json"
    text = file.read_text()
    file.write_text(
        text.replace('"workspace_mapping": {', '"workspace_mapping": {"x": 1, "x": 2,')
    )
    fm = open_workspace(file)
    assert fm.load("B03_s1_w1_z1.tif", "ws").shape == (3, 4)
    with pytest.raises(DamagedDataError, match="twice"):
        fm.load("x", "ws")
    file.write_text('{"subdirectories": {}, ' + text.lstrip()[1:])
    with pytest.raises(DamagedDataError, match="'subdirectories' twice"):
        fm.list_dir(".", "ws")


@pytest.mark.parametrize("wells", [[1], [{"name": "B"}], [{"path": 3}]])
def test_damaged_plate_is_named(folder, open_workspace, wells):
    change(folder / "plate/images/.zattrs", ("plate", "wells"), wells)
    with pytest.raises(DamagedDataError, match="'images'"):
        open_workspace(folder / "plate").list_dir(".", "ws")


def test_missing_array_is_named(folder, open_workspace):
    fm = open_workspace(folder / "plate")
    fm.exists("images/B03_s1_w1_z1.tif", "ws")
    (folder / "plate/images/B/03/0/0/.zarray").unlink()
    with pytest.raises(BatchError, match=r"B03_s1_w1_z1\.tif.*polystore_metadata\.json"):
        fm.load_batch(["images/B03_s1_w1_z1.tif", "images/B03_s2_w1_z1.tif"], "ws")
