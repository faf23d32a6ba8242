"""Build a document from file names, save it and load it."""

import os
import pickle
import shutil

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import InvalidOptionError
from polystore_workspace import Reference, Workspace


@pytest.fixture
def plate(tmp_path, fm):
    for well in ("B03", "C11"):
        for site in (1, 2):
            image = np.full((2, 3, 4, 5), int(well[1:]) * site, "uint16")
            path = tmp_path / f"plate/{well[0]}/{well}_s{site}.tif"
            fm.save(image, path, "disk", axes="tzyx", scale=(None, 2, 0.5, 0.5), units="um")
    return tmp_path / "plate"


@pytest.fixture
def fm():
    return FileManager(BackendRegistry())


def test_folder_becomes_wells(plate, fm):
    workspace = Workspace.build(plate, "{well}_s{site}.tif")
    assert list(workspace.entries) == [
        "B03/B03_s1.tif",
        "B03/B03_s2.tif",
        "C11/C11_s1.tif",
        "C11/C11_s2.tif",
    ]
    assert workspace.entries["C11/C11_s2.tif"] == Reference("disk", "C/C11_s2.tif")
    assert workspace.root == str(plate)
    assert repr(workspace) == f"<Workspace of 4 paths, root={str(plate)!r}, on disk>"
    assert pickle.loads(pickle.dumps(workspace)) == workspace


def test_other_files_are_left_out(plate, fm):
    (plate / "notes.txt").write_text("a")
    (plate / "B/._B03_s1.tif").write_bytes(b"")
    (plate / "C/C11_s1.TIF").write_bytes(b"")
    workspace = Workspace.build(plate, "{well}_s{site}.tif")
    assert len(workspace.entries) == 5
    with pytest.raises(InvalidOptionError, match=r"no files in .* that end in '.png'"):
        Workspace.build(plate, "{well}_s{site}.png")
    with pytest.raises(InvalidOptionError, match=r"notes.txt"):
        Workspace.build([*fm.list_files(plate, "disk", recursive=True)], "{well}_s{site}.tif")


def test_planes_have_image_metadata(plate, fm, tmp_path):
    """``split`` makes one entry for each plane, which keeps pixel size and unit."""
    files = fm.list_files(plate, "disk", recursive=True)
    paths = "{well}/s{site}/z{z:03d}_t{t}.tif"
    seen = []
    workspace = Workspace.build(
        files, "{well}_s{site}.tif", paths=paths, split="zt", progress=lambda *n: seen.append(n)
    )
    assert seen == [(n + 1, 4) for n in range(4)]
    assert len(workspace.entries) == 4 * 3 * 2
    workspace.save(plate / "ws.json")
    fm.registry.add("ws", "virtual_workspace", file=plate / "ws.json")
    assert fm.list_dir("B03/s1", "ws")[:2] == ["z000_t0.tif", "z000_t1.tif"]
    info = fm.info("B03/s2/z002_t1.tif", "ws")
    assert (info.shape, info.dtype, info.image.names) == ((4, 5), "<u2", ("y", "x"))
    image = fm.load("B03/s2/z002_t1.tif", "ws", as_="image")
    assert image.metadata == info.image
    assert image.metadata.scale == (0.5, 0.5)
    assert image.metadata.units == ("micrometer", "micrometer")
    with fm.open("B03/s2/z002_t1.tif", "ws") as handle:
        assert handle.image == info.image
        assert (handle.shape, handle.dtype) == ((4, 5), np.dtype("uint16"))
        np.testing.assert_array_equal(handle[1:, ..., 2], np.full(3, 6))


def test_default_paths_of_planes(plate):
    workspace = Workspace.build(plate, "{well}_s{site}.tif", split="z")
    assert list(workspace.entries)[:2] == ["B03/B03_s1_z0.tif", "B03/B03_s1_z1.tif"]
    assert workspace.entries["B03/B03_s1_z1.tif"].indices == (None, 1)


def test_document_moves_with_its_plate(plate, fm, tmp_path):
    workspace = Workspace.build(plate, "{well}_s{site}.tif")
    workspace.save(plate / "ws.json")
    assert Workspace.load(plate / "ws.json") == workspace
    workspace.save(tmp_path / "elsewhere/ws.json")
    assert Workspace.load(tmp_path / "elsewhere/ws.json") == workspace
    shutil.move(plate, tmp_path / "moved")
    fm.registry.add("ws", "virtual_workspace", file=tmp_path / "moved/ws.json")
    fm.registry.add("old", "virtual_workspace", file=tmp_path / "elsewhere/ws.json")
    assert fm.load("C11/C11_s2.tif", "ws").shape == (2, 3, 4, 5)
    with pytest.raises(FileNotFoundError, match="elsewhere"):
        fm.load("C11/C11_s2.tif", "old")


def test_memory_needs_no_root(fm):
    fm.save(np.zeros((2, 3)), "run/B03_s1.npy", "memory")
    workspace = Workspace.build(
        "run", "{well}_s{site}.npy", backend="memory", registry=fm.registry
    )
    assert workspace.entries == {"B03/B03_s1.npy": Reference("memory", "run/B03_s1.npy")}
    with pytest.raises(InvalidOptionError, match="root="):
        Workspace.build("run", "*.npy", backend="memory", root="/", registry=fm.registry)


FILES = ["/p/a/B03_s1.tif", "/p/b/B03_s1.tif", "/p/b/B03_s2.tif"]
REFUSED = {
    "names that do not fit": (
        {"names": "{well}_w{channel}.tif"},
        "'a/B03_s1.tif', 'b/B03_s1.tif', 'b/B03_s2.tif' do not fit",
    ),
    "one name that does not fit": (
        {"names": "{well}_s{site}.tif", "files": [*FILES, "/p/x.tif"]},
        "'x.tif' does not fit",
    ),
    "collisions": (
        {"names": "{well}_s{site}.tif"},
        "'a/B03_s1.tif', 'b/B03_s1.tif' would all be 'B03/B03_s1.tif'",
    ),
    "an unknown field": (
        {"names": "{well}_s{site}.tif", "paths": "{plate}/{file}"},
        "{plate}",
    ),
    "an attribute": ({"names": "{well}_s{site}.tif", "paths": "{well.x}/{file}"}, "{well.x}"),
    "half a field": ({"names": "{well}_s{site}.tif", "paths": "{well/{file}"}, "paths="),
    "a number that is text": (
        {"names": "{well}_s{site}.tif", "paths": "{site:03d}.tif", "files": FILES[1:]},
        "does not fit 'B03_s1.tif'",
    ),
    "files outside of the root": (
        {"names": "{well}_s{site}.tif", "root": "/p/b"},
        "'/p/a/B03_s1.tif'",
    ),
    "a path out of the root": (
        {"names": "{well}_s{site}.tif", "paths": "../{file}", "files": FILES[1:]},
        "'../B03_s1.tif'",
    ),
    "a field and an axis": ({"names": "{well}_s{z}.tif", "split": "z"}, "{z}"),
    "one axis twice": ({"names": "{well}_s{site}.tif", "split": "zz"}, "split"),
    "no files": ({"files": []}, "no files"),
    "an invalid template": ({"names": "{well}{site"}, "template"),
}


@pytest.mark.parametrize(("arguments", "text"), REFUSED.values(), ids=REFUSED)
def test_bad_arguments_are_refused_before_reading(arguments, text):
    """No file of ``FILES`` exists."""
    arguments = {"files": FILES, **arguments}
    with pytest.raises(InvalidOptionError) as caught:
        Workspace.build(arguments.pop("files"), **arguments)
    assert text in str(caught.value)


def test_missing_axis_is_named(plate):
    with pytest.raises(InvalidOptionError, match=r"B03_s1\.tif.*'tzyx'.*'c'"):
        Workspace.build(plate, "{well}_s{site}.tif", split="zc")


def test_saved_document_has_one_entry_per_line(plate, tmp_path):
    workspace = Workspace.build(plate, "{well}_s{site}.tif")
    workspace.save(tmp_path / "ws.json")
    text = (tmp_path / "ws.json").read_text("utf-8")
    assert text.splitlines()[1] == (
        '"B03/B03_s1.tif": {"backend": "disk", "address": "B/B03_s1.tif"},'
    )
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(OSError, match=r"pipe\.json"):
        Workspace.load(tmp_path / "pipe.json")


def test_names_may_have_any_bytes(tmp_path, fm):
    name = os.fsdecode(b"B03_\xe4\xff.npy")
    for file in (name, "C11_µ.npy"):
        fm.save(np.arange(3), tmp_path / "raw" / file, "disk")
    Workspace.build(tmp_path / "raw", "{well}_{dye}.npy").save(tmp_path / "ws.json")
    assert "C11_µ" in (tmp_path / "ws.json").read_text("utf-8")
    fm.registry.add("ws", "virtual_workspace", file=tmp_path / "ws.json")
    assert fm.load(f"B03/{name}", "ws").tolist() == [0, 1, 2]
