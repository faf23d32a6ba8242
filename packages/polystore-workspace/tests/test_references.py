"""Entries that lead to no value, and documents that are not valid."""

import json
import os
import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from polystore_core import BackendRegistry, DataSink, DataSource, FileManager
from polystore_core.errors import (
    BatchError,
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    ReceiverUnavailableError,
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
    "a path above the root": ("disk", "raw/../../outside.npy", PathOutsideRootError),
    "a link": ("disk", "raw/link.npy", PathOutsideRootError),
    "an absolute path": ("disk", "/etc/hostname.npy", PathOutsideRootError),
    "a URL": ("disk", "s3://bucket/a.npy", InvalidOptionError),
    "a Zarr path above the root": ("zarr", "../outside.zarr/a", PathOutsideRootError),
    "a missing file": ("disk", "raw/nothing.npy", NotFoundError),
    "a folder": ("disk", "raw", Exception),
    "an unknown suffix": ("disk", "raw/a.xyz", Exception),
    "the entry itself": ("ws", PATH, type(None)),
    "a backend that only writes": ("workspace_only_writes", "a.npy", type(None)),
    "an unknown backend": ("dsik", "raw/a.npy", LookupError),
}


@pytest.mark.parametrize(("backend", "address", "cause"), BAD.values(), ids=BAD)
def test_bad_references_are_named(fm, write, tmp_path, backend, address, cause):
    """Each operation that needs the source names the virtual path, the document and the reason."""
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


@pytest.mark.parametrize("indices", [(2,), (None, 3), (0, 0, 0, 0), (None,) * 4])
def test_index_outside_is_named(fm, write, indices):
    write("disk", "raw/a.npy", *indices)
    for operation in (fm.load, fm.info, fm.open):
        with pytest.raises(DamagedDataError, match=r"B03/s1\.npy.*(index|indices).*ws\.json"):
            operation(PATH, "ws")
    with pytest.raises(BatchError) as caught:
        fm.load_batch([PATH, PATH], "ws")
    assert {type(error) for _, error in caught.value.failed.values()} == {DamagedDataError}


def test_region_outside_is_error_of_caller(fm, write):
    write("disk", "raw/a.npy", 1)
    with pytest.raises(IndexError, match=r"out of bounds|too many"):
        fm.load(PATH, "ws", region=np.s_[7])


def test_missing_source_names_the_root(fm, write, tmp_path):
    """If a document was moved without its files, the error says where the files should be."""
    write()
    os.rename(tmp_path / "plate/raw", tmp_path / "plate/other")
    with pytest.raises(NotFoundError) as caught:
        fm.load(PATH, "ws")
    assert str(caught.value).endswith(f"does not exist in {str(tmp_path / 'plate')!r}")


def test_circle_through_another_workspace_is_named(fm, write):
    write("other", PATH)
    write("ws", PATH, name="other")
    for operation in (fm.load, fm.info):
        with pytest.raises(DamagedDataError, match="circle: 'ws' → 'other' → 'ws'"):
            operation(PATH, "ws")
    write("disk", "raw/a.npy", 1, name="other")
    assert fm.load(PATH, "ws").shape == (3, 4)


@pytest.mark.parametrize(
    ("document", "text"),
    [(None, "does not exist"), ("{", "is damaged"), ('{"polystore_workspace": 1}', "entries")],
)
def test_fault_of_another_document_is_named(fm, write, tmp_path, document, text):
    """The error names both documents, and says which of them is wrong."""
    write("other", PATH)
    other = tmp_path / "plate/other.json"
    if document is not None:
        other.write_text(document)
    for operation in (fm.load, fm.info, fm.open):
        with pytest.raises((NotFoundError, DamagedDataError)) as caught:
            operation(PATH, "ws")
        assert (caught.value.backend, caught.value.path) == ("ws", PATH)
        assert str(tmp_path / "plate/ws.json") in str(caught.value)
        assert f"{str(other)!r}" in str(caught.value)
        assert text in str(caught.value).partition(str(other))[2]


class ReadsBack(DataSource):
    """A source like a viewer: its values can only be loaded, and only while it runs."""

    _backend_type = "workspace_reads_back"

    def load(self, path, /):
        if path == "gone":
            raise ReceiverUnavailableError("viewer", "viewer 'a'", "does not run", "start it")
        raise RuntimeError("a mistake of the plugin")

    def list_dir(self, path, /):
        return []

    is_file = is_dir = is_symlink = lambda self, path: False


def test_other_errors_name_the_entry(fm, write, tmp_path):
    write("workspace_reads_back", "gone")
    place = f"its entry in {str(tmp_path / 'plate/ws.json')!r} leads to "
    with pytest.raises(ReceiverUnavailableError) as caught:
        fm.load(PATH, "ws")
    assert str(caught.value) == (
        f"backend 'ws': {PATH!r}: viewer 'a' does not run; start it; {place}"
        "'gone' on backend 'workspace_reads_back'"
    )
    for operation in (fm.info, fm.open):
        with pytest.raises(UnsupportedOperationError) as refused:
            operation(PATH, "ws")
        assert repr(PATH) in str(refused.value)
        assert place in str(refused.value)
    write("workspace_reads_back", "broken")
    with pytest.raises(RuntimeError, match="mistake") as broken:
        fm.load(PATH, "ws")
    (note,) = broken.value.__notes__
    assert note == f"{PATH!r}: {place}'broken' on backend 'workspace_reads_back'"


@pytest.mark.parametrize(
    ("entries", "root", "text"),
    [
        ([(PATH, Reference("disk", "a.npy"))], ".", "a dict"),
        ({PATH: Reference("disk", "a.npy")}, 3, "root=3"),
        ({3: Reference("disk", "a.npy")}, ".", "a str"),
        ({PATH: ["disk", "a.npy"]}, ".", "a Reference"),
        ({PATH: Reference("disk", "a.npy", 5)}, ".", "must be a tuple"),
        ({PATH: Reference("disk", "a.npy", (np.int64(1),))}, ".", "an index"),
    ],
)
def test_bad_values_are_refused(entries, root, text):
    with pytest.raises(InvalidOptionError, match=text):
        Workspace(entries, root)


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
    "two roots": ('{"polystore_workspace": 1, "root": "a", "root": "b"}', "'root' twice"),
    "a root with NUL": ({"polystore_workspace": 1, "root": "\0", "entries": {}}, "root"),
    "a root that is a number": ({"polystore_workspace": 1, "root": 1, "entries": {}}, "root"),
}


@pytest.mark.parametrize(("document", "text"), DOCUMENTS.values(), ids=DOCUMENTS)
def test_bad_documents_are_named(fm, write, tmp_path, document, text):
    """An invalid document raises an error, and an earlier valid version never replaces it."""
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


GOOD = {"backend": "disk", "address": "raw/a.npy"}
BAD_ENTRIES = {
    "no address": ({"backend": "disk"}, "'disk'"),
    "a number": (3, "3"),
    "text": ("raw/a.npy", "raw/a.npy"),
    "a negative index": ({**GOOD, "indices": [-1]}, "-1"),
    "an index that is true": ({**GOOD, "indices": [True]}, "True"),
    "indices that are text": ({**GOOD, "indices": ""}, "indices"),
    "an index that is text": ({**GOOD, "indices": ["a"]}, "'a'"),
    "an index that is a list": ({**GOOD, "indices": [[0]]}, "[0]"),
    "an empty address": ({"backend": "disk", "address": ""}, "address"),
    "a backend that is a number": ({"backend": 1, "address": "a.npy"}, "backend=1"),
    "a backend that is a list": ({"backend": ["a"], "address": "a.npy"}, "['a']"),
    "two addresses": ('{"backend": "disk", "address": "a.npy", "address": "b.npy"}', "object"),
}


@pytest.mark.parametrize(("entry", "text"), BAD_ENTRIES.values(), ids=BAD_ENTRIES)
def test_bad_entry_raises_where_it_is_used(fm, tmp_path, entry, text):
    """Listings and the other entries still work."""
    file = tmp_path / "plate/ws.json"
    raw = entry if text == "object" else json.dumps(entry)
    entries = f'{{"{PATH}": {raw}, "B03/good.npy": {json.dumps(GOOD)}}}'
    file.write_text(f'{{"polystore_workspace": 1, "entries": {entries}}}')
    assert fm.list_dir("B03", "ws") == ["good.npy", "s1.npy"]
    assert fm.load("B03/good.npy", "ws").shape == (2, 3, 4)
    check_bad_entry(fm, PATH, file, text)
    workspace = Workspace.load(file)
    assert repr(workspace).startswith("<Workspace of 2 paths")
    assert (len(workspace.entries), workspace.entries["B03/good.npy"].backend) == (2, "disk")
    with pytest.raises(DamagedDataError, match=r"s1\.npy"):
        workspace.save(tmp_path / "copy.json")
    assert not (tmp_path / "copy.json").exists()


def check_bad_entry(fm, path, file, text):
    for operation in (fm.load, fm.info, fm.open):
        with pytest.raises(DamagedDataError) as caught:
            operation(path, "ws")
        assert (caught.value.backend, caught.value.path) == ("ws", path)
        assert text in str(caught.value)
        assert str(file) in str(caught.value)
    with pytest.raises(BatchError) as caught:
        fm.load_batch(["B03/good.npy", path], "ws")
    assert list(caught.value.failed) == [1]


BAD_PATHS = ("../a.npy", "/a.npy", "a//b.npy", "./a.npy", "", "a/", "~/a.npy", "s3://b/a.npy")


def test_bad_virtual_paths_are_not_listed(fm, tmp_path):
    """A copy of the workspace could write them outside of its target."""
    deep = "a/" * 200_000 + "b.npy"
    entries = dict.fromkeys((*BAD_PATHS, "x/Thumbs.db", deep, PATH), GOOD)
    file = tmp_path / "plate/ws.json"
    file.write_text(json.dumps({"polystore_workspace": 1, "entries": entries}))
    assert fm.list_files(".", "ws", recursive=True) == [PATH]
    assert fm.info(".", "ws").kind == "directory"
    assert fm.load(PATH, "ws").shape == (2, 3, 4)
    for path in BAD_PATHS:
        with pytest.raises((ValueError, OSError)):
            fm.load(path, "ws")
        with pytest.raises(InvalidOptionError, match="entry"):
            Workspace({path: Reference("disk", "raw/a.npy")})
    for path, text in {"x/Thumbs.db": "listings leave out", deep: "400,005"}.items():
        with pytest.raises(DamagedDataError, match=rf"ws\.json.*{text}"):
            fm.load(path, "ws")


@pytest.mark.parametrize("order", [1, -1])
def test_entry_that_is_also_a_folder(fm, tmp_path, order):
    entries = dict.fromkeys(("a/b", "a/b/c.npy")[::order], GOOD)
    file = tmp_path / "plate/ws.json"
    file.write_text(json.dumps({"polystore_workspace": 1, "entries": entries}))
    assert fm.list_files(".", "ws", recursive=True) == ["a/b/c.npy"]
    assert (fm.is_dir("a/b", "ws"), fm.is_file("a/b", "ws")) == (True, False)
    assert fm.load("a/b/c.npy", "ws").shape == (2, 3, 4)
    with pytest.raises(DamagedDataError, match=r"ws\.json.*folder of 'a/b/c\.npy'"):
        fm.load("a/b", "ws")
    with pytest.raises(InvalidOptionError, match=r"folder of 'a/b/c\.npy'"):
        Workspace({path: Reference("disk", "raw/a.npy") for path in entries})


def test_duplicate_path_is_reported(fm, tmp_path):
    entry = json.dumps(GOOD)
    entries = f'{{"{PATH}": {entry}, "{PATH}": {entry}, "B03/good.npy": {entry}}}'
    file = tmp_path / "plate/ws.json"
    file.write_text(f'{{"polystore_workspace": 1, "entries": {entries}}}')
    assert fm.load("B03/good.npy", "ws").shape == (2, 3, 4)
    check_bad_entry(fm, PATH, file, "twice")


def test_unknown_keys_are_ignored(fm, tmp_path):
    """Keys of a later version or of another program change no result."""
    entry = {"note": None, **GOOD, "indices": [1], "more": {"a": 1}}
    document = {"$schema": "x", "polystore_workspace": 1, "entries": {PATH: entry}}
    file = tmp_path / "plate/ws.json"
    # Editors on Windows write such a byte order mark.
    file.write_text(json.dumps(document), encoding="utf-8-sig")
    assert fm.load(PATH, "ws").shape == (3, 4)
    document["entries"] = {"backend": GOOD, "address": GOOD}
    file.write_text(json.dumps(document))
    assert fm.list_dir(".", "ws") == ["address", "backend"]


def test_change_within_a_tick_is_seen(fm, tmp_path):
    """The size, the inode and the modification time are the same."""
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
    """Until the document changes, one system call shows that it is the same."""
    write()
    backend = fm.registry["ws"]
    first = backend.workspace
    # The backend sets this itself after a moment.
    backend._read = backend._read._replace(is_settled=True)
    # This changes the time of the file, but not its bytes.
    os.chmod(tmp_path / "plate/ws.json", 0)
    os.chmod(tmp_path / "plate/ws.json", 0o644)
    assert backend.workspace is first  # The time is new, and the bytes are the same.
    write("disk", "raw/a.npy", 1)
    assert backend.workspace is not first


@pytest.mark.timeout(60)
def test_threads_see_whole_documents(fm, tmp_path):
    """While the document is replaced, each call uses either the old or the new one."""
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
