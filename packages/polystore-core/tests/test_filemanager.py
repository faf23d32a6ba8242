import inspect
import io
import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, DataSink, DataSource, FileManager, StorageBackend
from polystore_core.errors import (
    AlreadyExistsError,
    BackendRequiredError,
    BatchError,
    BatchLengthError,
    DamagedDataError,
    InvalidOptionError,
    NotAPathError,
    NotFoundError,
    PolystoreError,
    UnknownOptionError,
    UnknownPluginError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

Python = Callable[..., subprocess.CompletedProcess[str]]
Require = Callable[[str], ModuleType]

ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "save": (1, "a"),
    "load": ("a",),
    "save_batch": ([1], ["a"]),
    "load_batch": (["a"],),
    "open": ("a",),
    "info": ("a",),
    "exists": ("a",),
    "is_file": ("a",),
    "is_dir": ("a",),
    "is_symlink": ("a",),
    "list_files": ("a",),
    "list_image_files": ("a",),
    "list_dir": ("a",),
    "find_file_recursive": ("a", "b"),
    "collect_dirs_and_files": ("a",),
    "create": ("a",),
    "ensure_directory": ("a",),
    "delete": ("a",),
    "delete_all": ("a",),
    "copy": ("a", "b"),
    "move": ("a", "b"),
    "create_symlink": ("a", "b"),
    "mirror_directory_with_symlinks": ("a", "b"),
    "transfer": ("a", "b"),
}
KEYWORDS: dict[str, dict[str, Any]] = {"create": {"shape": (2,), "dtype": "u1"}}
OPERATIONS = [name for name in ARGUMENTS if name != "transfer"]
ON_FOLDERS = {name for name in ARGUMENTS if re.search("^list_|recursive|collect|mirror", name)}


class Place(str, Enum):  # noqa: UP042 - StrEnum formats as its value
    """Formats as "Place.ONE"."""

    ONE = "one"
    TWO = "two"
    MISSPELT = "on"


class Screen(DataSink):
    """Only writes, as a viewer does."""

    _backend_type = "test-screen"

    def save(self, data: Any, path: Any, /, *, colour: str = "grey") -> None:
        if data is None:
            raise UnsupportedDataError("nothing to show")


class Camera(DataSource):
    """Only reads."""

    _backend_type = "test-camera"

    def load(self, path: Any, /, *, exposure: float = 1) -> Any:
        if path == "dark":
            raise NotFoundError(self.name, path, "load")
        return np.full((2, 3), exposure, dtype="u1")


class MyBackend(StorageBackend):
    """The README's, which takes every option."""

    _backend_type = "test-mine"

    def __init__(self) -> None:
        self.got: list[Any] = []

    def save(self, data: Any, file_path: Any, **kwargs: Any) -> None:
        self.got.append((data, file_path, kwargs))

    def load(self, file_path: Any, **kwargs: Any) -> Any:
        return file_path, kwargs


@pytest.fixture
def fm() -> FileManager:
    return FileManager()


@pytest.fixture
def memory(require: Require) -> FileManager:
    """Two trees in memory, called "one" and "two"."""
    require("polystore_memory")
    registry = BackendRegistry()
    registry.add("one", "memory")
    registry.add("two", "memory")
    return FileManager(registry)


# ── routing ──────────────────────────────────────────────────────────────────────────────


def test_every_method_is_tried() -> None:
    public = {name for name in vars(FileManager) if not name.startswith("_")}
    assert public == set(ARGUMENTS)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_only_backend_follows_paths(operation: str) -> None:
    """Options can be added and reordered, because no call gives them by position."""
    parameters = list(inspect.signature(getattr(FileManager, operation)).parameters.values())
    positional = [p.name for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert positional.index("backend") == len(positional) - 1 == len(ARGUMENTS[operation]) + 1
    assert not [p.name for p in parameters if p.kind is p.VAR_POSITIONAL]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "name", ["two", Place.TWO, np.str_("two")], ids=["str", "enum", "numpy"]
)
def test_position_is_keyword(memory: FileManager, operation: str, name: str) -> None:
    """Both calls return the same and leave the same, in two trees of the same content."""
    method = getattr(memory, operation)
    for tree in ("one", "two"):
        memory.save_batch(
            [5, 6], ["a/z" if operation in ON_FOLDERS else "a", "d/b"], backend=tree
        )
    arguments, options = ARGUMENTS[operation], KEYWORDS.get(operation, {})
    by_keyword = outcome(lambda: method(*arguments, **options, backend="one"))
    by_position = outcome(lambda: method(*arguments, name, **options))
    assert by_position == by_keyword.replace("'one'", "'two'")
    left = [
        outcome(lambda tree=tree: memory.load_batch(memory.list_files(".", tree), tree))  # type: ignore[misc]
        for tree in ("one", "two")
    ]
    assert left[0] == left[1]


def outcome(call: Callable[[], Any]) -> str:
    """Return the text of the result, or of the error."""
    try:
        return re.sub(r"modified=[\d.]+", "", repr(call()))
    except PolystoreError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize("operation", OPERATIONS)
def test_backend_is_given_once(memory: FileManager, operation: str) -> None:
    method, options = getattr(memory, operation), KEYWORDS.get(operation, {})
    with pytest.raises(TypeError, match="multiple values for argument 'backend'"):
        method(*ARGUMENTS[operation], "one", **options, backend="one")
    with pytest.raises(TypeError, match="positional arguments but"):
        method(*ARGUMENTS[operation], "one", "one", **options)


@pytest.mark.parametrize("operation", ARGUMENTS)
@pytest.mark.parametrize("given", ["omitted", None])
def test_backend_is_required(fm: FileManager, operation: str, given: Any) -> None:
    method = getattr(fm, operation)
    named = [name for name in inspect.signature(method).parameters if name.endswith("backend")]
    options = {} if given == "omitted" else dict.fromkeys(named, given)
    where = "after the last path, or as backend=" if len(named) == 1 else "as source_backend="
    with pytest.raises(BackendRequiredError, match="needs the name of a backend") as caught:
        method(*ARGUMENTS[operation], **KEYWORDS.get(operation, {}), **options)
    assert str(caught.value).startswith(f"{operation}() needs the name of a backend {where}. ")
    assert "'test-camera'" in str(caught.value)


@pytest.mark.parametrize("operation", ARGUMENTS)
@pytest.mark.parametrize(
    "given", ["", 7, Path("b.npy"), {"level": 3}, ["memory"], b"memory", np.zeros(2)], ids=repr
)
def test_other_things_are_no_backends(fm: FileManager, operation: str, given: Any) -> None:
    arguments, options = [*ARGUMENTS[operation], given], KEYWORDS.get(operation, {})
    if operation == "transfer":
        options = {"source_backend": "test-camera", "target_backend": arguments.pop()}
    with pytest.raises(BackendRequiredError, match="expected the name of a backend") as caught:
        getattr(fm, operation)(*arguments, **options)
    assert f", got {given!r}. Available: " in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_target_backend_is_required(fm: FileManager) -> None:
    with pytest.raises(BackendRequiredError, match=r"transfer\(\) needs .* as target_backend="):
        fm.transfer("a", "b", source_backend="test-camera")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="takes 3 positional arguments"):
        fm.transfer("a", "b", "one", "two")  # type: ignore[call-arg]


def test_enum_is_plain_in_errors(memory: FileManager) -> None:
    with pytest.raises(NotFoundError, match="backend 'two': 'x' does not exist"):
        memory.load("x", Place.TWO)
    with pytest.raises(UnknownOptionError, match="of backend 'two' has no"):
        memory.save(1, "x", Place.TWO, if_exist="error")
    with pytest.raises(BatchError, match="backend 'two': load failed"):
        memory.load_batch(["x"], Place.TWO)
    memory.save("text", "x", Place.TWO)
    with pytest.raises(BatchError, match="backend 'two': load failed"):
        memory.load_batch(["x"], Place.TWO, dtype="f4")
    with pytest.raises(UnknownPluginError, match="called 'on'; did you mean 'one'"):
        memory.load("x", Place.MISSPELT)
    memory.transfer("x", "x", source_backend=Place.TWO, target_backend=Place.ONE)
    assert memory.load("x", "one") == "text"


CHECKED = """
from enum import Enum
from pathlib import Path
from polystore_core import FileManager
class Place(str, Enum):
    DISK = "disk"
fm = FileManager()
fm.save(1, "a", backend="disk")
fm.save(1, "a", "disk", if_exists="error")
fm.create("a", Place.DISK, shape=(2,), dtype="u1")
fm.save(1, "a")
fm.transfer("a", "b", source_backend="disk")
fm.copy("a", "b", Path("c"))
fm.delete("a", "disk", True)
fm.transfer("a", "b", "disk", "disk")
"""


@pytest.mark.slow
def test_checkers_require_backend(require: Require, tmp_path: Path) -> None:
    require("mypy")
    (tmp_path / "mypy.ini").write_text("[mypy]\n[mypy-numpy.*]\nfollow_imports = skip\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "-c", CHECKED],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    errors = [
        line.replace(' of "FileManager"', "").partition("  [")[0]
        for line in done.stdout.splitlines()
        if "error" in line
    ]
    assert errors == [
        '<string>:11: error: Missing positional argument "backend" in call to "save"',
        '<string>:12: error: Missing named argument "target_backend" for "transfer"',
        '<string>:13: error: Argument 3 to "copy" has incompatible type "Path"; expected "str"',
        '<string>:14: error: Too many positional arguments for "delete"',
        '<string>:15: error: Too many positional arguments for "transfer"',
        "Found 5 errors in 1 file (checked 1 source file)",
    ]


@pytest.mark.parametrize("operation", [name for name in OPERATIONS if "save" not in name])
def test_sink_refuses_rest(fm: FileManager, operation: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=": it only writes"):
        getattr(fm, operation)(
            *ARGUMENTS[operation], **KEYWORDS.get(operation, {}), backend="test-screen"
        )


@pytest.mark.parametrize(
    "operation", ["save", "save_batch", "delete", "copy", "ensure_directory"]
)
def test_source_refuses_writing(fm: FileManager, operation: str) -> None:
    with pytest.raises(UnsupportedOperationError, match=": it only reads"):
        getattr(fm, operation)(
            *ARGUMENTS[operation], **KEYWORDS.get(operation, {}), backend="test-camera"
        )


@pytest.mark.parametrize(
    ("operation", "backend", "option", "known"),
    [
        ("save", "test-screen", "color", "colour"),
        ("save_batch", "test-screen", "color", "colour"),
        ("load", "test-camera", "exposed", "exposure"),
        ("load_batch", "test-camera", "exposed", "exposure"),
        ("copy", "test-mine", "if_exist", "if_exists"),
        ("move", "test-mine", "if_exist", "if_exists"),
    ],
)
def test_unknown_option_suggests(
    fm: FileManager, operation: str, backend: str, option: str, known: str
) -> None:
    with pytest.raises(
        UnknownOptionError, match=rf"\(\) of backend '{backend}' has no"
    ) as caught:
        getattr(fm, operation)(*ARGUMENTS[operation], backend=backend, **{option: 1})
    assert caught.value.option == option
    assert f"did you mean {known!r}?" in str(caught.value)


def test_known_options_reach_backend(fm: FileManager) -> None:
    assert fm.load("a", backend="test-camera", exposure=3).max() == 3
    assert [a.max() for a in fm.load_batch(["a", "b"], backend="test-camera", exposure=3)] == [
        3,
        3,
    ]
    fm.save(1, "a", backend="test-screen", colour="red")
    fm.save_batch([1], ["a"], backend="test-screen", colour="red")


def test_open_ended_backend_gets_options(fm: FileManager) -> None:
    fm.save(1, "a", backend="test-mine", level=3)
    fm.save_batch([2], ["b"], backend="test-mine", level=4)
    mine: Any = fm.registry["test-mine"]
    assert mine.got == [(1, "a", {"level": 3}), (2, "b", {"level": 4})]
    assert fm.load("a", backend="test-mine", level=3) == ("a", {"level": 3})
    assert fm.load_batch(["a"], backend="test-mine", level=3) == [("a", {"level": 3})]


def test_manager_shows_backends(fm: FileManager) -> None:
    assert repr(fm) == f"FileManager({fm.registry!r})"
    assert "test-camera" in repr(fm)


def test_errors_carry_configured_name(memory: FileManager) -> None:
    with pytest.raises(NotFoundError) as caught:
        memory.load("a", backend="two")
    assert caught.value.backend == "two"


# ── batches ──────────────────────────────────────────────────────────────────────────────


def test_batch_stops_at_failure(fm: FileManager) -> None:
    with pytest.raises(BatchError) as caught:
        fm.save_batch([1, None, 2], ["a", "b", "c"], backend="test-screen")
    error = caught.value
    assert (error.done, error.failed_index, error.not_attempted) == (("a",), 1, ("c",))


def test_batch_lengths_must_match(fm: FileManager) -> None:
    with pytest.raises(BatchLengthError, match="1 values for 2 paths"):
        fm.save_batch([1], ["a", "b"], backend="test-screen")


def test_batch_tries_all_loads(fm: FileManager) -> None:
    with pytest.raises(BatchError) as caught:
        fm.load_batch(["dark", "a", "dark"], backend="test-camera")
    assert list(caught.value.failed) == [0, 2]
    assert type(caught.value.failed[0][1]) is NotFoundError


# ── conversion ───────────────────────────────────────────────────────────────────────────


def test_dtype_converts(fm: FileManager) -> None:
    loaded = fm.load("a", backend="test-camera", dtype="f4")
    assert (type(loaded), loaded.dtype) == (np.ndarray, "f4")
    (loaded,) = fm.load_batch(["a"], backend="test-camera", dtype="u2")
    assert loaded.dtype == "u2"


@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (300, "u1", r"the element at \[0, 0\] is 300 and would become 44"),
        (1.7, "i4", r"the element at \[0, 0\] is 1\.7 and would become 1"),
        (np.nan, "u1", r"the element at \[0, 0\] is nan"),
        (0.1, "f4", "casting='same_kind' to round"),
    ],
)
def test_conversion_is_exact(memory: FileManager, value: Any, dtype: str, said: str) -> None:
    memory.save(np.full((2, 2), value), "a/b.npy", backend="one")
    with pytest.raises(UnsupportedDataError, match=said) as caught:
        memory.load("a/b.npy", backend="one", dtype=dtype)
    assert str(caught.value).startswith("backend 'one': 'a/b.npy' cannot be loaded: ")
    with pytest.raises(BatchError, match=said) as batch:
        memory.load_batch(["a/b.npy"], backend="one", dtype=dtype)
    assert str(batch.value.failed[0][1]) == str(caught.value)
    for loaded in (
        memory.load("a/b.npy", backend="one", dtype=dtype, casting="unsafe"),
        *memory.load_batch(["a/b.npy"], backend="one", dtype=dtype, casting="unsafe"),
    ):
        assert loaded.dtype == dtype


@pytest.mark.parametrize("dtype", [None, "f4"])
def test_casting_is_checked(memory: FileManager, dtype: Any) -> None:
    memory.save(np.zeros(3), "a", backend="one")
    with pytest.raises(InvalidOptionError, match="casting='safe' is not valid"):
        memory.load("a", backend="one", dtype=dtype, casting="safe")  # type: ignore[arg-type]


@pytest.mark.frameworks
def test_failed_conversion_names_path(memory: FileManager, require: Require) -> None:
    require("torch")
    memory.save(np.array(["text"]), "a/b.npy", backend="one")
    with pytest.raises(
        UnsupportedDataError, match=r"backend 'one': 'a/b\.npy' cannot be loaded"
    ):
        memory.load("a/b.npy", backend="one", framework="torch")


# ── paths ────────────────────────────────────────────────────────────────────────────────


def test_swapped_arguments_are_told(memory: FileManager) -> None:
    swapped: Any = np.zeros(3)
    for path in ("a.npy", Path("a.npy")):
        with pytest.raises(
            NotAPathError, match="The arguments are swapped: pass the value first"
        ):
            memory.save(path, swapped, backend="one")
        with pytest.raises(
            NotAPathError, match="The arguments are swapped: pass the value first"
        ):
            memory.save_batch([path], [swapped], backend="one")
    assert memory.list_dir(".", backend="one") == []


@pytest.mark.parametrize("operation", ARGUMENTS)
@pytest.mark.parametrize(
    "path", [io.BytesIO(), np.zeros(3), None, 7], ids=lambda p: type(p).__name__
)
def test_other_things_are_no_paths(memory: FileManager, operation: str, path: Any) -> None:
    named = inspect.signature(getattr(memory, operation)).parameters
    backends = {name: "one" for name in named if name.endswith("backend")}
    before, given = ARGUMENTS[operation][:-1], ARGUMENTS[operation][-1]
    last = [path] if isinstance(given, list) else path
    with pytest.raises(NotAPathError, match="expected a path") as caught:
        getattr(memory, operation)(*before, last, **KEYWORDS.get(operation, {}), **backends)
    assert ("write them to a file first" in str(caught.value)) == isinstance(path, io.BytesIO)


@pytest.mark.frameworks
def test_framework_converts(fm: FileManager, require: Require) -> None:
    torch = require("torch")
    loaded = fm.load("a", backend="test-camera", framework="torch", dtype="f4", device="cpu")
    assert (type(loaded), loaded.dtype) == (torch.Tensor, torch.float32)
    (loaded,) = fm.load_batch(["a"], backend="test-camera", framework="torch")
    assert (type(loaded), loaded.dtype) == (torch.Tensor, torch.uint8)


@pytest.mark.parametrize("framework", ["", "cupyx"])
def test_unknown_framework_refused(fm: FileManager, framework: str) -> None:
    with pytest.raises(InvalidOptionError, match=f"framework={framework!r} is not valid"):
        fm.load("a", backend="test-camera", framework=framework)


@pytest.mark.frameworks
def test_device_alone_keeps_framework(memory: FileManager, require: Require) -> None:
    torch = require("torch")
    memory.save(torch.ones(3), "a", backend="one")
    assert type(memory.load("a", backend="one", device="cpu")) is torch.Tensor
    memory.save(np.ones(3), "b", backend="one")
    with pytest.raises(InvalidOptionError, match="device='cuda:0' is not valid"):
        memory.load("b", backend="one", device="cuda:0")


def test_text_is_no_array(memory: FileManager) -> None:
    memory.save("text", "a", backend="one")
    with pytest.raises(UnsupportedDataError, match="need an array, got str"):
        memory.load("a", backend="one", framework="numpy")
    with pytest.raises(BatchError) as caught:
        memory.load_batch(["a"], backend="one", framework="numpy")
    assert type(caught.value.failed[0][1]) is UnsupportedDataError


# ── transfer ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("options", [{}, {"progress": lambda done, total: None}])
def test_file_is_transferred(memory: FileManager, options: Any) -> None:
    memory.save("text", "a", backend="one")
    written = memory.transfer(
        "a", "folder/b", source_backend="one", target_backend="two", **options
    )
    assert written == ["folder/b"]
    assert memory.load("folder/b", backend="two") == "text"


@pytest.mark.parametrize(
    ("source", "target", "written"),
    [
        ("plate", "copy", ["copy/deep/c", "copy/z2", "copy/z10"]),
        ("plate/", "copy", ["copy/deep/c", "copy/z2", "copy/z10"]),
        ("plate/deep", "", ["c"]),
        (".", "copy", ["copy/plate/deep/c", "copy/plate/z2", "copy/plate/z10"]),
        (Path("plate/deep"), Path("copy"), ["copy/c"]),
    ],
)
def test_folder_is_transferred(
    memory: FileManager, source: Any, target: Any, written: list[str]
) -> None:
    for path in ("plate/z10", "plate/z2", "plate/deep/c"):
        memory.save(path, path, backend="one")
    seen: list[tuple[int, int]] = []
    found = memory.transfer(
        source, target, source_backend="one", target_backend="two",
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert found == written
    assert seen == [(n + 1, len(written)) for n in range(len(written))]
    for path in written:
        assert str(memory.load(path, backend="two")).endswith(path.removeprefix("copy/"))


def test_partial_transfer_is_told(memory: FileManager) -> None:
    memory.save_batch([1, None, 3], ["f/a", "f/b", "f/c"], backend="one")
    with pytest.raises(BatchError) as caught:
        memory.transfer("f", "g", source_backend="one", target_backend="test-screen")
    error = caught.value
    assert error.operation == "transfer"
    assert list(error.failed) == [1]
    assert (error.failed[1][0], type(error.failed[1][1])) == ("f/b", UnsupportedDataError)
    assert error.done == ("f/a", "f/c")


def test_transfer_options_reach_save(memory: FileManager) -> None:
    memory.save("new", "a", backend="one")
    memory.save("old", "a", backend="two")
    routes: Any = {"source_backend": "one", "target_backend": "two"}
    with pytest.raises(AlreadyExistsError):
        memory.transfer("a", "a", **routes, if_exists="error")
    memory.transfer("a", "a", **routes)
    assert memory.load("a", backend="two") == "new"


def test_misspelt_transfer_reads_nothing(fm: FileManager) -> None:
    routes: Any = {"source_backend": "test-camera", "target_backend": "test-screen"}
    with pytest.raises(UnknownOptionError, match="did you mean 'colour'"):
        fm.transfer("dark", "a", **routes, color="red")


def test_transfer_needs_both_roles(fm: FileManager) -> None:
    assert fm.transfer(
        "a", "b", source_backend="test-camera", target_backend="test-screen"
    ) == ["b"]
    for source, target in (("test-screen", "test-screen"), ("test-camera", "test-camera")):
        with pytest.raises(UnsupportedOperationError):
            fm.transfer("a", "b", source_backend=source, target_backend=target)


def test_transfer_converts_format(fm: FileManager, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    (tmp_path / "a.json").write_text('"text"')
    routes: Any = {"source_backend": "disk", "target_backend": "disk"}
    fm.transfer(tmp_path / "a.json", tmp_path / "b.txt", **routes)
    assert (tmp_path / "b.txt").read_text() == "text"


def test_transfer_refuses_other_kinds(
    fm: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    np.save(tmp_path / "a.npy", np.arange(3))
    with pytest.raises(UnsupportedDataError, match="JSON does not store arrays"):
        fm.transfer(
            tmp_path / "a.npy", tmp_path / "b.json",
            source_backend="disk", target_backend="disk",
        )  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["a.npy"]


def test_damaged_file_stops_nobody(
    memory: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    for name in ("a", "c"):
        np.save(tmp_path / f"{name}.npy", np.arange(3))
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(BatchError) as caught:
        memory.transfer(tmp_path, "plate", source_backend="disk", target_backend="one")
    ((path, cause),) = caught.value.failed.values()
    assert (path, type(cause)) == (str(tmp_path / "b.npy"), DamagedDataError)
    assert memory.list_dir("plate", backend="one") == ["a.npy", "c.npy"]


# ── other processes ──────────────────────────────────────────────────────────────────────


def test_plain_manager_is_small(fm: FileManager) -> None:
    assert len(pickle.dumps(fm)) < 300


def test_registry_survives_pickle(fm: FileManager) -> None:
    copy = pickle.loads(pickle.dumps(fm))
    assert copy.registry is fm.registry
    assert pickle.loads(pickle.dumps(fm.registry)) is fm.registry


WORKERS = """
import sys
from multiprocessing import get_context
from polystore_core import BackendRegistry, FileManager, PolystoreError

if __name__ == "__main__":
    registry = BackendRegistry()
    registry.add("raw", "disk", root=sys.argv[2])
    registry.add("cache", "memory")
    fm = FileManager(registry)
    fm.save({"a": 1}, "a.json", backend="raw")
    fm.save(0, "else", backend="cache")
    with get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.apply(fm.load, ("a.json",), {"backend": "raw"}))
        pool.apply(fm.save, ({"b": 2}, "b.json"), {"backend": "raw"})
        fm.save({"a": 1}, "a.json", backend="cache")
        try:
            pool.apply(fm.load, ("a.json",), {"backend": "cache"})
        except PolystoreError as error:
            print(type(error).__name__, error.backend, error.path, error.hint.partition(":")[0])
    print(fm.load("b.json", backend="raw"), fm.load("a.json", backend="cache"))
"""


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_manager_works_in_workers(
    python: Python, require: Require, tmp_path: Path, method: str
) -> None:
    if method != "spawn" and sys.platform == "win32":
        pytest.skip("system: needs fork")
    require("polystore_disk")
    require("polystore_memory")
    done = python(WORKERS, method, tmp_path)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "{'a': 1}",
        "NotFoundError cache a.json values in memory belong to one process",
        "{'b': 2} {'a': 1}",
    ]


def test_format_without_handles(require: Require, tmp_path: Path) -> None:
    """The error names the backend that was called, not the format."""
    require("polystore_disk")
    require("polystore_formats")
    manager = FileManager()
    manager.save({"a": 1}, tmp_path / "a.json", backend="disk")
    with pytest.raises(UnsupportedOperationError, match=r"backend 'disk' .* format 'json'"):
        manager.open(tmp_path / "a.json", backend="disk")
