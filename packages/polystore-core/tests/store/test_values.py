"""Values of every format in stores without files, folders or links."""

import json
import pickle

import numpy as np
import pytest

from polystore_core import FileBackend, FormatRegistry
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    NotAFileError,
    NotFoundError,
    StorageError,
    UnknownOptionError,
    UnsupportedDataError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)
from polystore_testing.sibling import Pointer

from .stores import Broken, Flat, Full, Small, Versioned

# Larger than the buffer.
IMAGE = np.arange(2 * 300 * 1200, dtype=np.uint16).reshape(2, 300, 1200)
BOTH = pytest.mark.parametrize("kind", [Flat, Full])


@BOTH
@pytest.mark.parametrize(
    "path", ["a.npy", "f/g/a.tif", "./f//a.npy", "./~/x.npy", "./s3:/x.npy"]
)
def test_arrays(make_backend, kind, path):
    backend = make_backend(kind)
    backend.save(IMAGE, path)
    np.testing.assert_array_equal(backend.load(path), IMAGE)


@BOTH
def test_documents_tables_and_texts(make_backend, kind):
    backend = make_backend(kind)
    backend.save({"a": [1, 2]}, "a.json")
    backend.save("text", "f/a.txt")
    assert backend.load("a.json") == {"a": [1, 2]}
    assert backend.load("f/a.txt") == "text"
    assert json.loads(backend.store.read("a.json")) == {"a": [1, 2]}


@BOTH
@pytest.mark.parametrize("name", ["a.npy", "a.tif"])
def test_regions(make_backend, kind, name):
    backend = make_backend(kind)
    backend.save(IMAGE, name)
    region = (1, slice(10, 20), slice(None, None, 2))
    backend.store.calls.clear()
    part = backend.load(name, region=region)
    np.testing.assert_array_equal(part, IMAGE[region])
    with pytest.raises(IndexError):
        backend.load(name, region=(7,))
    backend.save({"a": 1}, "a.json")
    with pytest.raises(UnsupportedDataError, match=r"region= needs an array, got dict"):
        backend.load("a.json", region=(0,))


def test_region_reads_only_its_part(make_backend):
    backend = make_backend(Versioned)
    large = np.zeros((64, 512, 512), np.uint8)  # 16 MiB.
    backend.save(large, "a.npy")
    backend.store.calls.clear()
    assert backend.load("a.npy", region=(3,)).shape == (512, 512)
    asked = [call.split()[2:] for call in backend.store.calls]
    assert sum(int(stop) - int(start) for start, stop in asked) < 4 << 20


@BOTH
@pytest.mark.parametrize("name", ["f/a.npy", "f/a.tif"])
def test_handles_pickle(make_backend, kind, name):
    backend = make_backend(kind)
    backend.save(IMAGE, name)
    handle = backend.open(name)
    copy = pickle.loads(pickle.dumps(handle))
    assert (copy.shape, copy.dtype) == (IMAGE.shape, IMAGE.dtype)
    for each in (handle, copy):
        np.testing.assert_array_equal(each[1, 5:7], IMAGE[1, 5:7])
        each.close()


class WithPointer(FormatRegistry):
    def of(self, path, *, backend=""):
        return (
            Pointer() if str(path).endswith(".pointer") else super().of(path, backend=backend)
        )


@BOTH
def test_formats_read_siblings(make_backend, kind):
    from polystore_core import BackendRegistry

    store = make_backend(kind).store
    registry = BackendRegistry()
    registry.formats = WithPointer()
    registry.add("x", FileBackend(store))
    backend = registry["x"]
    backend.save(IMAGE, "f/g/a.npy")
    backend.save("g/a.npy", "f/a.pointer")
    np.testing.assert_array_equal(backend.load("f/a.pointer"), IMAGE)
    np.testing.assert_array_equal(backend.load("f/a.pointer", region=(1,)), IMAGE[1])
    assert backend.info("f/a.pointer").shape == IMAGE.shape
    np.testing.assert_array_equal(backend.open("f/a.pointer")[0], IMAGE[0])
    assert backend.load_batch(["f/a.pointer"])[0].shape == IMAGE.shape
    backend.save("missing.npy", "f/b.pointer")
    with pytest.raises(NotFoundError, match=r"'f/missing\.npy' does not exist"):
        backend.load("f/b.pointer")


@BOTH
def test_info(make_backend, kind):
    backend = make_backend(kind)
    backend.save(IMAGE, "f/a.npy")
    info = backend.info("f//a.npy")
    assert (info.path, info.kind, info.format) == ("f//a.npy", "file", "npy")
    assert (info.shape, info.dtype) == (IMAGE.shape, "<u2")
    assert (info.size, info.modified) == (len(backend.store.read("f/a.npy")), None)
    assert backend.info("f").kind == backend.info(".").kind == "directory"
    backend.store.put("f/b.xyz", b"123")
    assert (backend.info("f/b.xyz").size, backend.info("f/b.xyz").format) == (3, None)
    with pytest.raises(NotFoundError, match=r"'g' does not exist \(cannot describe\)"):
        backend.info("g")


@BOTH
def test_kinds_of_paths(make_backend, kind):
    backend = make_backend(kind)
    backend.save(IMAGE, "f/g/a.npy")
    for path, file, folder in [
        ("f", False, True),
        ("f/g/", False, True),
        (".", False, True),
        ("f/g/a.npy", True, False),
        ("f/./g//a.npy", True, False),
        ("f/g/a", False, False),
        ("g", False, False),
    ]:
        found = backend.is_file(path), backend.is_dir(path), backend.exists(path)
        assert found == (file, folder, file or folder), path
        assert not backend.is_symlink(path)


@BOTH
def test_lists(make_backend, kind):
    backend = make_backend(kind)
    assert backend.list_dir(".") == []
    for name in ("f/a10.npy", "f/a9.npy", "f/g/b.json", "c.json"):
        backend.save([1], name.replace(".npy", ".json"))
    assert backend.list_dir(".") == ["c.json", "f"]
    assert backend.list_dir("f") == ["a9.json", "a10.json", "g"]
    assert backend.list_files("f", recursive=True) == ["f/a9.json", "f/a10.json", "f/g/b.json"]
    assert backend.find_file_recursive(".", "b.json") == "f/g/b.json"
    assert backend.collect_dirs_and_files(".")[0] == ["f", "f/g"]
    with pytest.raises(NotFoundError, match=r"'g' does not exist \(cannot list\)"):
        backend.list_dir("g")
    with pytest.raises(NotADirectoryError, match=r"'c\.json'"):
        backend.list_dir("c.json")


@BOTH
def test_folders_are_not_values(make_backend, kind):
    backend = make_backend(kind)
    backend.save(IMAGE, "f.npy/a.npy")
    for call in (backend.load, lambda path: backend.load(path, region=(0,))):
        with pytest.raises(NotAFileError, match=r"'f\.npy': cannot load: Is a directory"):
            call("f.npy")
    backend.save(IMAGE, "f/a.npy")
    with pytest.raises(NotAFileError, match=r"'f': cannot load: Is a directory"):
        backend.load("f")


def test_value_may_be_a_folder_too(make_backend):
    backend = make_backend(Flat)
    backend.save([1], "a.json")
    backend.save([2], "a.json/b.json")
    assert backend.load("a.json") == [1]
    assert backend.load("a.json/b.json") == [2]
    assert backend.list_dir(".") == ["a.json"]
    assert backend.list_dir("a.json") == ["b.json"]
    assert backend.list_files(".", recursive=True) == ["a.json", "a.json/b.json"]
    backend.delete("a.json")
    assert backend.load("a.json/b.json") == [2]
    backend.save([1], "a.json")
    backend.delete_all("a.json")
    assert backend.store.values == {}


def test_values_below_a_value_of_another_store(make_backend):
    backend = make_backend(Full)
    backend.save([1], "a.json")
    with pytest.raises(
        NotADirectoryError, match=r"backend 'x': 'a\.json/b\.json': cannot save"
    ):
        backend.save([2], "a.json/b.json")
    assert backend.list_dir(".") == ["a.json"]


@pytest.mark.parametrize(
    ("value", "path", "error", "text"),
    [
        ({1: 2}, "a.json", UnsupportedDataError, r"'a\.json'"),
        ([1], "a", UnsupportedFormatError, r"'a' .*has no suffix"),
        ([1], "a.xyz", UnsupportedFormatError, r"ends in \.xyz"),
        ([1], "s3://b/a.json", InvalidOptionError, r"a local path, not a URL"),
        ([1], "~/a.json", InvalidOptionError, r"path='~/a\.json' is not valid"),
        ([1], "f/._a.json", InvalidOptionError, r"listings leave out"),
    ],
)
def test_bad_input_changes_nothing(make_backend, value, path, error, text):
    backend = make_backend(Flat)
    with pytest.raises(error, match=text):
        backend.save(value, path)
    assert backend.store.values == {}
    assert backend.store.calls == []


def test_options_are_checked(make_backend):
    backend = make_backend(Flat)
    with pytest.raises(UnknownOptionError, match=r"compresion.*did you mean 'compression'"):
        backend.save(IMAGE, "a.tif", compresion="zlib")
    backend.save(IMAGE, "a.tif", compression="zlib")
    with pytest.raises(UnknownOptionError, match=r"regoin"):
        backend.load("a.tif", regoin=(0,))
    with pytest.raises(InvalidOptionError, match=r"if_exists='no' is not valid"):
        backend.save(IMAGE, "a.tif", if_exists="no")


def test_durable_is_refused_without_support(make_backend):
    backend = make_backend(Flat)
    text = r"does not support durable=True: the store <Flat .*> has features\.durable = False"
    with pytest.raises(UnsupportedOperationError, match=text):
        backend.save([1], "a.json", durable=True)
    backend.save([1], "a.json", durable=False)
    with pytest.raises(Exception, match=text):
        backend.save_batch([[1]], ["b.json"], durable=True)
    assert list(backend.store.values) == ["a.json"]


def test_damaged_values(make_backend):
    backend = make_backend(Flat, **{"a.npy": b"xx", "a.tif": b"xx", "a.json": b"{"})
    for path in ("a.npy", "a.tif", "a.json"):
        with pytest.raises(DamagedDataError, match=rf"backend 'x': '{path}'"):
            backend.load(path)


def test_too_large_value(make_backend):
    backend = make_backend(Small)
    backend.save(np.zeros(5), "a.npy")
    text = r"'a\.npy': cannot save: it has 1,128 bytes, but <Small .*> holds at most 200"
    with pytest.raises(StorageError, match=text):
        backend.save(np.zeros(125), "a.npy")
    assert len(backend.load("a.npy")) == 5


def test_failing_put_keeps_the_old_value(make_backend):
    backend = make_backend(Broken, **{"a.json": b"[1]"})
    with pytest.raises(StorageError, match=r"'a\.json': cannot save: OSError: server gone"):
        backend.save([2], "a.json")
    with pytest.raises(StorageError, match=r"'b\.json': cannot copy to: OSError: server gone"):
        backend.copy("a.json", "b.json")
    with pytest.raises(StorageError, match=r"'b\.json': cannot copy to: OSError: server gone"):
        backend.move("a.json", "b.json")
    assert backend.store.values == {"a.json": b"[1]"}


class Failing(Flat):
    """Fails like a network."""

    error: OSError = OSError()

    def stat(self, key, /):
        raise self.error

    def read(self, key, start=0, stop=None, /):
        raise self.error

    def put(self, key, content, /, *, if_exists="replace"):
        raise self.error

    def scan(self, folder="", /):
        raise self.error
        yield

    def entries(self, folder, /):
        yield from ()
        raise self.error


@pytest.mark.parametrize(
    ("error", "kind", "text"),
    [
        (FileNotFoundError("f/a.json"), FileNotFoundError, r"'f/a\.json' does not exist"),
        (PermissionError(), PermissionError, r"Permission denied; check the owner"),
        (PermissionError("token expired"), PermissionError, r"PermissionError: token expired"),
        (OSError("server gone"), OSError, r"cannot \w+: OSError: server gone"),
        (OSError(), OSError, r"cannot \w+: OSError"),
        (ConnectionError("reset"), OSError, r"cannot \w+: ConnectionError: reset"),
        (ConnectionRefusedError(111, "Connection refused"), OSError, r"Connection refused"),
        (TimeoutError(), OSError, r"timed out"),
        (TimeoutError("no answer in 5 s"), OSError, r"TimeoutError: no answer in 5 s"),
        (FileExistsError("f/a.json"), FileExistsError, r"'f/a\.json': cannot \w+: File exists"),
    ],
)
def test_errors_of_stores_have_backend_path_and_operation(make_backend, error, kind, text):
    backend = make_backend(Failing)
    backend.store.error = error
    calls = [
        (lambda: backend.load("f/a.json"), "load"),
        (lambda: backend.load("f/a.json", region=(0,)), "load"),
        (lambda: backend.save([1], "f/a.json"), "save"),
        (lambda: backend.list_dir("f/a.json"), "list"),
        (lambda: backend.info("f/a.json"), "describe"),
        (lambda: backend.delete("f/a.json"), "delete"),
        (lambda: backend.copy("f/a.json", "b.json"), "copy"),
        (lambda: backend.move("f/a.json", "b.json"), "move"),
    ]
    for call, operation in calls:
        with pytest.raises(StorageError, match=text) as raised:
            call()
        assert isinstance(raised.value, kind)
        assert raised.value.backend == "x"
        assert (raised.value.path, raised.value.operation) == ("f/a.json", operation)
        assert raised.value.__cause__ is error
        assert pickle.loads(pickle.dumps(raised.value)).describe() == str(raised.value)


class Racing(Versioned):
    """Another writer replaces the value while its parts are read."""

    def read(self, key, start=0, stop=None, /):
        found = super().read(key, start, stop)
        if stop is not None and len(self.calls) == 1:
            self.values[key] = self.values["next"]
        return found


def test_region_is_of_one_version(make_backend):
    backend = make_backend(Racing)
    backend.save(IMAGE, "a.npy")
    backend.save(IMAGE + 1, "b.npy")
    backend.store.values["next"] = backend.store.values.pop("b.npy")
    backend.store.calls.clear()
    np.testing.assert_array_equal(backend.load("a.npy", region=(1,)), IMAGE[1] + 1)
