"""Operations that core derives, on a backend of two methods and on larger ones."""

from typing import Any

import pytest

from polystore_core import BackendRegistry, FileManager, Info, StorageBackend
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    DuplicatePathError,
    InvalidOptionError,
    NotFoundError,
    UnknownOptionError,
    UnsupportedOperationError,
)
from polystore_core.work import plain_path


class Two(StorageBackend):
    """The least that an author must write."""

    _backend_type = "derived_two"

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.calls: list[str] = []

    def save(self, data: Any, path: Any, /) -> None:
        self.calls.append(f"save {path}")
        self.values[str(path)] = data

    def load(self, path: Any, /) -> Any:
        self.calls.append(f"load {path}")
        try:
            return self.values[str(path)]
        except KeyError:
            raise NotFoundError(self.name, str(path), "load") from None


class Three(Two):
    """With ``delete`` and ``if_exists``: all operations except listings."""

    _backend_type = "derived_three"

    def save(self, data: Any, path: Any, /, *, if_exists: str = "replace") -> None:
        if str(path) in self.values and if_exists == "error":
            raise AlreadyExistsError(self.name, str(path), "save")
        if str(path) not in self.values or if_exists == "replace":
            super().save(data, path)

    def delete(self, path: Any, /, *, recursive: bool = False) -> None:
        self.calls.append(f"delete {path}")
        try:
            del self.values[str(path)]
        except KeyError:
            raise NotFoundError(self.name, str(path), "delete") from None


class Four(Three):
    """With ``info``, from which ``exists`` and similar operations derive."""

    _backend_type = "derived_four"

    def info(self, path: Any, /) -> Info:
        if str(path) not in self.values:
            raise NotFoundError(self.name, str(path), "describe")
        return Info(path=str(path), kind="file")


class Blind(Four):
    """Treats upper and lower case as one name, like some file systems."""

    _backend_type = "derived_blind"

    def _identity(self, path: Any) -> str:
        return plain_path(path).lower()

    def save(self, data: Any, path: Any, /, *, if_exists: str = "replace") -> None:
        super().save(data, self._identity(path), if_exists=if_exists)

    def load(self, path: Any, /) -> Any:
        return super().load(self._identity(path))

    def info(self, path: Any, /) -> Info:
        return super().info(self._identity(path))

    def delete(self, path: Any, /, *, recursive: bool = False) -> None:
        super().delete(self._identity(path))


def make_filled(name: str) -> tuple[FileManager, dict[str, Any]]:
    fm = FileManager(BackendRegistry())
    backend = fm.registry[name]
    assert isinstance(backend, Two)
    backend.values.update(a="first", b="second")
    return fm, backend.values


ALL = pytest.mark.parametrize(
    "name", ["derived_two", "derived_three", "derived_four", "derived_blind"]
)
MOVERS = pytest.mark.parametrize("name", ["derived_three", "derived_four", "derived_blind"])


@ALL
def test_batches_derive(name: str) -> None:
    fm, values = make_filled(name)
    fm.save_batch([1, 2], ["c", "d"], backend=name)
    assert fm.load_batch(["d", "a", "c", "a"], backend=name) == [2, "first", 1, "first"]
    with pytest.raises(BatchError) as caught:
        fm.load_batch(["a", "x", "y"], backend=name)
    assert [path for path, _ in caught.value.failed.values()] == ["x", "y"]
    assert values == {"a": "first", "b": "second", "c": 1, "d": 2}


@ALL
@pytest.mark.parametrize("twin", ["c", "./c", ".//c"])
def test_twins_in_batch_refused(name: str, twin: str) -> None:
    fm, values = make_filled(name)
    with pytest.raises(DuplicatePathError, match=r"\[0\] and \[2\]"):
        fm.save_batch([1, 2, 3], ["c", "d", twin], backend=name)
    assert values == {"a": "first", "b": "second"}


def test_aliases_in_batch_refused() -> None:
    fm, values = make_filled("derived_blind")
    with pytest.raises(DuplicatePathError):
        fm.save_batch([1, 2], ["c", "C"], backend="derived_blind")
    assert values == {"a": "first", "b": "second"}


@ALL
def test_copy_derives(name: str) -> None:
    fm, values = make_filled(name)
    fm.copy("a", "c", backend=name)
    fm.copy("a", "a", backend=name)
    fm.copy("a", "b", backend=name)
    assert values == {"a": "first", "b": "first", "c": "first"}
    with pytest.raises(NotFoundError):
        fm.copy("x", "a", backend=name)
    assert values["a"] == "first"


@MOVERS
def test_copy_respects_target(name: str) -> None:
    fm, values = make_filled(name)
    fm.copy("a", "b", backend=name, if_exists="skip")
    with pytest.raises(AlreadyExistsError):
        fm.copy("a", "b", backend=name, if_exists="error")
    assert values == {"a": "first", "b": "second"}


@MOVERS
def test_move_derives(name: str) -> None:
    fm, values = make_filled(name)
    fm.move("a", "c", backend=name)
    assert values == {"b": "second", "c": "first"}
    fm.move("c", "b", backend=name)
    assert values == {"b": "first"}


@MOVERS
@pytest.mark.parametrize("if_exists", ["skip", "error"])
def test_move_keeps_both(name: str, if_exists: str) -> None:
    fm, values = make_filled(name)
    if if_exists == "error":
        with pytest.raises(AlreadyExistsError):
            fm.move("a", "b", backend=name, if_exists=if_exists)
    else:
        fm.move("a", "b", backend=name, if_exists=if_exists)
    assert values == {"a": "first", "b": "second"}
    fm.move("a", "c", backend=name, if_exists=if_exists)
    assert values == {"b": "second", "c": "first"}


@MOVERS
@pytest.mark.parametrize("if_exists", ["replace", "skip", "error"])
@pytest.mark.parametrize("target", ["a", "./a", "A"])
def test_move_onto_itself(name: str, if_exists: str, target: str) -> None:
    if target == "A" and name != "derived_blind":
        target = "a/."
    fm, values = make_filled(name)
    fm.move("a", target, backend=name, if_exists=if_exists)
    assert values == {"a": "first", "b": "second"}
    with pytest.raises(NotFoundError):
        fm.move("x", "x", backend=name, if_exists=if_exists)


@MOVERS
def test_move_of_missing_source(name: str) -> None:
    fm, values = make_filled(name)
    for if_exists in ("replace", "skip", "error"):
        with pytest.raises(NotFoundError):
            fm.move("x", "b", backend=name, if_exists=if_exists)
    with pytest.raises(InvalidOptionError):
        fm.move("a", "b", backend=name, if_exists="overwrite")
    assert values == {"a": "first", "b": "second"}


class NoOption(Three):
    """Its ``save`` always replaces, so it cannot support "skip" and "error"."""

    _backend_type = "derived_no_option"

    def save(self, data: Any, path: Any, /) -> None:
        Two.save(self, data, path)


@pytest.mark.parametrize("if_exists", ["skip", "error"])
@pytest.mark.parametrize("operation", ["copy", "move"])
def test_unknown_option_changes_nothing(operation: str, if_exists: str) -> None:
    fm, values = make_filled("derived_no_option")
    with pytest.raises(UnknownOptionError, match="if_exists"):
        getattr(fm, operation)("a", "b", backend="derived_no_option", if_exists=if_exists)
    assert values == {"a": "first", "b": "second"}
    getattr(fm, operation)("a", "c", backend="derived_no_option")
    assert values["c"] == "first"


def test_delete_all_derives() -> None:
    fm, values = make_filled("derived_three")
    fm.delete_all("a", backend="derived_three")
    assert values == {"b": "second"}


@pytest.mark.parametrize("name", ["derived_four", "derived_blind"])
def test_exists_and_kinds_derive(name: str) -> None:
    fm, _ = make_filled(name)
    assert fm.exists("a", backend=name)
    assert fm.is_file("a", backend=name)
    assert not fm.exists("x", backend=name)
    assert not fm.is_dir("a", backend=name)
    assert not fm.is_symlink("a", backend=name)


UNDERIVED: dict[str, tuple[Any, ...]] = {
    "open": ("a",),
    "info": ("a",),
    "exists": ("a",),
    "is_file": ("a",),
    "is_dir": ("a",),
    "is_symlink": ("a",),
    "list_dir": (".",),
    "list_files": (".",),
    "list_image_files": (".",),
    "find_file_recursive": (".", "a"),
    "collect_dirs_and_files": (".",),
    "ensure_directory": ("f",),
    "delete": ("a",),
    "delete_all": ("a",),
    "move": ("a", "b"),
    "create_symlink": ("a", "c"),
    "mirror_directory_with_symlinks": (".", "f"),
}


@pytest.mark.parametrize("operation", UNDERIVED)
def test_other_operations_are_refused(operation: str) -> None:
    """Operations that two methods cannot support are refused by name, before any change."""
    fm, values = make_filled("derived_two")
    with pytest.raises(UnsupportedOperationError):
        getattr(fm, operation)(*UNDERIVED[operation], backend="derived_two")
    assert values == {"a": "first", "b": "second"}
    assert operation not in fm.registry["derived_two"].capabilities


class Folders(StorageBackend):
    """Folders as text. Those in ``gone`` are deleted after their parent was listed."""

    def __init__(self, *paths: str, gone: tuple[str, ...] = ()) -> None:
        self.paths, self.gone = paths, gone

    def save(self, data: Any, path: Any, /) -> None:
        raise NotImplementedError

    def load(self, path: Any, /) -> Any:
        raise NotImplementedError

    def info(self, path: Any, /) -> Info:
        is_file = path.rpartition("/")[2].startswith("file")
        return Info(path=path, kind="file" if is_file else "directory")

    def list_dir(self, path: Any, /) -> list[str]:
        if path in self.gone:
            raise NotFoundError(self.name, path, "list")
        start = f"{path}/"
        below = [known[len(start) :] for known in self.paths if known.startswith(start)]
        return list({name.partition("/")[0] for name in below})


def test_folders_are_walked_in_natural_order() -> None:
    backend = Folders("f/z10/file", "f/z2/in/file", "f/z2/z/file", "f/file10", "f/file9")
    assert [folder for folder, _, _ in backend._walk("f")] == [
        "f",
        "f/z2",
        "f/z2/in",
        "f/z2/z",
        "f/z10",
    ]
    assert backend.list_files("f") == ["f/file9", "f/file10"]
    assert backend.find_file_recursive("f", "file") == "f/z2/in/file"
    assert backend.collect_dirs_and_files("f", recursive=False) == (
        ["f/z2", "f/z10"],
        ["f/file9", "f/file10"],
    )


def test_deleted_folders_are_skipped() -> None:
    backend = Folders("f/a/file", "f/b/c/file", "f/d/file", gone=("f/a", "f/b/c"))
    assert backend.list_files("f", recursive=True) == ["f/d/file"]
    assert backend.collect_dirs_and_files("f")[0] == ["f/a", "f/b", "f/b/c", "f/d"]
    with pytest.raises(NotFoundError, match="'f/a'"):
        backend.list_files("f/a", recursive=True)


def test_folders_of_any_depth() -> None:
    deep = "/".join(["f"] * 3000)
    backend = Folders(f"{deep}/file")
    assert backend.list_files("f", recursive=True) == [f"{deep}/file"]
    assert backend.find_file_recursive("f", "file") == f"{deep}/file"
    assert len(backend.collect_dirs_and_files("f")[0]) == 2999
