"""Entries that lead somewhere else than to a value, and documents that are not valid."""

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from polystore_core import BackendRegistry, DataSink, FileManager
from polystore_core.errors import (
    BatchError,
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    UnsupportedFileError,
    UnsupportedOperationError,
)
from polystore_workspace import Reference, VirtualWorkspaceBackend, Workspace

PATH = "B03/s1.npy"


class OnlyWrites(DataSink):
    _backend_type = "workspace_only_writes"

    def save(self, data, path, /):
        pass


@pytest.fixture
def fm(tmp_path):
    registry = BackendRegistry()
    for name in ("ws", "other"):
        registry.add(name, "virtual_workspace", file=tmp_path / f"plate/{name}.json")
    files = FileManager(registry)
    files.save(np.arange(24).reshape(2, 3, 4), tmp_path / "plate/raw/a.npy", "disk")
    files.save(np.zeros(3), tmp_path / "outside.npy", "disk")
    os.symlink(tmp_path / "outside.npy", tmp_path / "plate/raw/link.npy")
    return files


@pytest.fixture
def write(tmp_path):
    def write(backend="disk", address="raw/a.npy", *indices, name="ws"):
        entry = Reference(backend, address, indices)
        Workspace({PATH: entry}).save(tmp_path / f"plate/{name}.json")

    return write


BAD = {
    "above": ("disk", "raw/../../outside.npy", PathOutsideRootError),
    "a link": ("disk", "raw/link.npy", PathOutsideRootError),
    "absolute": ("disk", "/etc/hostname.npy", PathOutsideRootError),
    "a URL": ("disk", "s3://bucket/a.npy", InvalidOptionError),
    "zarr above": ("zarr", "../outside.zarr/a", PathOutsideRootError),
    "nothing": ("disk", "raw/nothing.npy", NotFoundError),
    "a folder": ("disk", "raw", Exception),
    "an unknown suffix": ("disk", "raw/a.xyz", Exception),
    "itself": ("ws", PATH, type(None)),
    "a backend that only writes": ("workspace_only_writes", "a.npy", type(None)),
    "an unknown backend": ("dsik", "raw/a.npy", LookupError),
}


@pytest.mark.parametrize(("backend", "address", "cause"), BAD.values(), ids=BAD)
def test_bad_references_are_named(fm, write, tmp_path, backend, address, cause):
    """Each operation that needs the source names the virtual path, the document and why."""
    write(backend, address)
    assert fm.list_files(".", "ws", recursive=True) == [PATH]
    assert fm.is_file(PATH, "ws")
    for operation in (fm.load, fm.info, fm.open):
        with pytest.raises(
            (DamagedDataError, NotFoundError, NotAFileError, OSError, UnsupportedFileError)
        ) as caught:
            operation(PATH, "ws")
        assert (caught.value.backend, caught.value.path) == ("ws", PATH)
        assert str(tmp_path / "plate/ws.json") in str(caught.value)
        assert repr(address) in str(caught.value)
        assert backend in str(caught.value)
        assert isinstance(caught.value.__cause__, cause)
        pickle.loads(pickle.dumps(caught.value))
    with pytest.raises(BatchError, match=r"ws\.json"):
        fm.load_batch([PATH, PATH], "ws")


@pytest.mark.parametrize("indices", [(2,), (None, 3), (0, 0, 0, 0)])
def test_index_outside_is_named(fm, write, indices):
    write("disk", "raw/a.npy", *indices)
    for operation in (fm.load, fm.info, fm.open):
        with pytest.raises(DamagedDataError, match=r"B03/s1\.npy.*(index|indices).*ws\.json"):
            operation(PATH, "ws")
    with pytest.raises(BatchError) as caught:
        fm.load_batch([PATH, PATH], "ws")
    assert {type(error) for _, error in caught.value.failed.values()} == {DamagedDataError}


def test_region_outside_is_the_callers(fm, write):
    write("disk", "raw/a.npy", 1)
    with pytest.raises(IndexError, match=r"out of bounds|too many"):
        fm.load(PATH, "ws", region=np.s_[7])


def test_circle_through_another_is_named(fm, write):
    write("other", PATH)
    write("ws", PATH, name="other")
    for operation in (fm.load, fm.info):
        with pytest.raises(DamagedDataError, match="circle: 'ws' → 'other' → 'ws'"):
            operation(PATH, "ws")
    write("disk", "raw/a.npy", 1, name="other")
    assert fm.load(PATH, "ws").shape == (3, 4)


def test_paths_of_callers_stay_inside(fm, write):
    write()
    assert fm.load("./B03/../B03//s1.npy", "ws").shape == (2, 3, 4)
    for path in ("../plate/raw/a.npy", "/B03/s1.npy"):
        with pytest.raises(PathOutsideRootError):
            fm.load(path, "ws")
    with pytest.raises(NotAFileError):
        fm.load("B03", "ws")
    with pytest.raises(UnsupportedOperationError):
        fm.save(np.zeros(3), "new.npy", "ws")


DOCUMENTS = {
    "not JSON": ("{", "column"),
    "a list": ([], "polystore_workspace"),
    "a newer version": ({"polystore_workspace": 2, "entries": {}}, "version"),
    "no entries": ({"polystore_workspace": 1}, "entries"),
    "another key": ({"polystore_workspace": 1, "entries": {}, "rot": "."}, "'rot'"),
    "a root that is a number": ({"polystore_workspace": 1, "root": 1, "entries": {}}, "root"),
}
ENTRIES = {
    "no address": ({"backend": "disk"}, "B03"),
    "another key": ({"backend": "disk", "address": "a.npy", "index": 1}, "B03"),
    "a negative index": ({"backend": "disk", "address": "a.npy", "indices": [-1]}, "-1"),
    "an index that is true": ({"backend": "disk", "address": "a.npy", "indices": [True]}, "T"),
    "an index that is text": ({"backend": "disk", "address": "a.npy", "indices": "12"}, "'1'"),
    "an empty address": ({"backend": "disk", "address": ""}, "B03"),
    "a backend that is a number": ({"backend": 1, "address": "a.npy"}, "B03"),
}
for name, (entry, text) in ENTRIES.items():
    DOCUMENTS[f"entry: {name}"] = (
        {"polystore_workspace": 1, "entries": {PATH: entry}},
        text,
    )
GOOD = {"backend": "disk", "address": "raw/a.npy"}
for path in ("../a.npy", "/a.npy", "a//b.npy", "./a.npy", "", "a/", "~/a.npy", "s3://b/a.npy"):
    DOCUMENTS[f"path {path!r}"] = (
        {"polystore_workspace": 1, "entries": {path: GOOD}},
        repr(path),
    )
DOCUMENTS["a file that is a folder"] = (
    {"polystore_workspace": 1, "entries": {"a/b": GOOD, "a/b/c.npy": GOOD}},
    "'a/b/c.npy'",
)


@pytest.mark.parametrize(("document", "text"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_bad_documents_are_named(fm, write, tmp_path, document, text):
    """A document that was good before is never used in place of one that is not valid."""
    write()
    assert fm.exists(PATH, "ws")
    file = tmp_path / "plate/ws.json"
    file.write_text(document if isinstance(document, str) else json.dumps(document))
    for operation in (fm.load, fm.exists, fm.list_dir):
        with pytest.raises(DamagedDataError) as caught:
            operation("B03", "ws")
        assert (caught.value.backend, caught.value.path) == ("ws", str(file))
        assert text in str(caught.value)
    write()
    assert fm.exists(PATH, "ws")
    file.unlink()
    with pytest.raises(NotFoundError, match=r"ws\.json"):
        fm.exists(PATH, "ws")


def test_change_within_a_tick_is_seen(fm, tmp_path):
    """Same size, same inode, and the same time of modification."""
    file = tmp_path / "plate/ws.json"
    documents = []
    for index in (0, 1):
        Workspace({PATH: Reference("disk", "raw/a.npy", (index,))}).save(file)
        documents.append(file.read_bytes())
    assert len(documents[0]) == len(documents[1])
    for turn in range(200):
        file.write_bytes(documents[turn % 2])
        os.utime(file, ns=(1, 1))
        assert fm.load(PATH, "ws")[0, 0] == 12 * (turn % 2)


def test_settled_document_is_not_read_again(fm, write, tmp_path):
    """Until it changes, one system call tells that it is the same."""
    write()
    backend = fm.registry["ws"]
    first = backend.workspace
    backend._read = backend._read._replace(is_settled=True)  # as a moment later
    os.chmod(tmp_path / "plate/ws.json", 0)  # root may read it all the same
    os.chmod(tmp_path / "plate/ws.json", 0o644)
    assert backend.workspace is first  # another stamp, the same bytes
    write("disk", "raw/a.npy", 1)
    assert backend.workspace is not first


@pytest.mark.timeout(60)
def test_threads_see_whole_documents(fm, tmp_path):
    """While the document is replaced, each call works with the old one or the new one."""
    file, seen = tmp_path / "plate/ws.json", set()
    workspaces = [
        Workspace({f"{n}.npy": Reference("disk", "raw/a.npy", (n,)) for n in range(count)})
        for count in (1, 2)
    ]
    workspaces[0].save(file)

    def read(_):
        names = fm.list_dir(".", "ws")
        values = fm.load_batch(["0.npy", "0.npy"], "ws")
        return len(names), values[1][0, 0]

    with ThreadPoolExecutor(4) as pool:
        for turn in range(100):
            done = [pool.submit(read, turn) for _ in range(4)]
            workspaces[turn % 2].save(file)
            seen |= {future.result() for future in done}
    assert seen == {(1, 0), (2, 0)}


def test_pickles_as_its_file(fm, write, tmp_path):
    write("disk", "raw/a.npy", 1)
    other = pickle.loads(pickle.dumps(fm))
    assert other.load(PATH, "ws").shape == (3, 4)
    registry = BackendRegistry()
    registry.add("mine", VirtualWorkspaceBackend(file=tmp_path / "plate/ws.json"))
    files = pickle.loads(pickle.dumps(FileManager(registry)))
    assert files.load(PATH, "mine").shape == (3, 4)
    handle = pickle.loads(pickle.dumps(files.open(PATH, "mine")))
    assert handle[1].tolist() == [16, 17, 18, 19]
