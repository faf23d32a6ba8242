"""Every name that the operating system accepts is kept.

Every other name raises one named error.
"""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polystore_core.errors import InvalidOptionError, NotFoundError, StorageError
from polystore_core.files.locking import HIDDEN_PREFIX
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

posix = pytest.mark.skipif(sys.platform == "win32", reason="system: names of POSIX")

NAMES = {
    "umlauts": "Überläufer.npy",
    "emoji": "🔬 cells.npy",
    "right to left": "תא\u200f-1.npy",
    "decomposed": "e\u0301.npy",
    "255 bytes": "é" * 125 + "a.npy",
    "newline": "a\nb.npy",
    "backslash": "a\\b.npy",
    "leading dash": "-rf.npy",
    "leading dot": ".hidden.npy",
    "two dots": "..npy",
    "dots inside": "a..b.npy",
    "spaces": " a .npy",
    "quotes": "'\"`$(id)`.npy",
    "glob": "[a]*?.npy",
    "home": "~.npy",
    "drive": "C:a.npy",
    "reserved word": "CON.npy",
    "no utf-8": os.fsdecode(b"\xff\xfe.npy"),
    "almost reserved": ".~pt-a.npy",
    "reserved inside": "a.~ps-b.npy",
}


@posix
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_name_round_trips(disk: DiskBackend, folder: Path, name: str) -> None:
    disk.save(image(1), name)
    disk.save(image(2), f"f/{name}")
    assert os.listdir(os.fsencode(folder / "f")) == [os.fsencode(name)]
    assert disk.list_dir("f") == [name]
    assert disk.list_files("f") == [f"f/{name}"]
    assert disk.find_file_recursive(".", name) == name
    assert_same(disk.load(f"f/{name}"), image(2))
    assert disk.info(name).path == name
    disk.copy(name, f"g/{name}")
    disk.move(f"g/{name}", f"h/{name}")
    disk.create_symlink(f"h/{name}", f"i/{name}")
    assert_same(disk.load(f"i/{name}"), image(1))
    disk.delete(name)
    assert not disk.exists(name)


@posix
def test_similar_names_are_different_files(disk: DiskBackend, folder: Path) -> None:
    """A composed and a decomposed letter look the same, but are two different names."""
    twins = ["\u00e9.npy", "e\u0301.npy", "E\u0301.npy"]
    for seed, name in enumerate(twins):
        disk.save(image(seed), name)
    if len(os.listdir(folder)) < len(twins):
        pytest.skip("system: this file system treats them as one name")
    for seed, name in enumerate(twins):
        assert_same(disk.load(name), image(seed))


@pytest.mark.parametrize("name", ["a" * 252 + ".npy", "f/" + "a" * 300 + "/a.npy"])
def test_long_name_raises(disk: DiskBackend, names: Callable[[], list[str]], name: str) -> None:
    for operation in (lambda: disk.save(image(), name), lambda: disk.load(name)):
        with pytest.raises(StorageError, match="use a shorter name") as caught:
            operation()
        assert caught.value.errno == errno.ENAMETOOLONG
        assert caught.value.path == name
    assert not [path for path in names() if path != "f"]


def test_deep_path_raises(free: DiskBackend) -> None:
    with pytest.raises(StorageError) as caught:
        free.save(image(), "d/" * 3000 + "a.npy")
    assert caught.value.errno == errno.ENAMETOOLONG


def test_rooted_path_may_be_deep(rooted: DiskBackend) -> None:
    """The system only gets one name at a time, so no limit on the length of paths applies."""
    path = f"{'d' * 250}/" * 20 + "a.npy"
    rooted.save(image(), path)
    assert_same(rooted.load(path), image())
    assert rooted.list_files(".", recursive=True) == [path]


@pytest.mark.parametrize(
    "path",
    [
        f"{HIDDEN_PREFIX}a.npy",
        f"f/{HIDDEN_PREFIX}a.npy",
        f"{HIDDEN_PREFIX}f/a.npy",
        f"f/{HIDDEN_PREFIX}g/",
        f"f/{HIDDEN_PREFIX}",
        "\ud800.npy",
        b"a.npy",
    ],
)
def test_name_is_refused(disk: DiskBackend, names: Callable[[], list[str]], path: Any) -> None:
    disk.save(image(), "a.npy")
    attempts: list[Callable[[], object]] = [
        lambda: disk.save(image(), path),
        lambda: disk.load(path),
        lambda: disk.exists(path),
        lambda: disk.delete(path),
        lambda: disk.ensure_directory(path),
        lambda: disk.copy("a.npy", path),
        lambda: disk.move("a.npy", path),
        lambda: disk.create_symlink("a.npy", path),
    ]
    for attempt in attempts:
        with pytest.raises(InvalidOptionError, match="path="):
            attempt()
    assert names() == ["a.npy"]


@pytest.mark.parametrize(
    "path", ["f/a.npy", "f//a.npy", "./f/./a.npy", "f/a.npy/", "f/a.npy/."]
)
def test_spellings_mean_one_file(disk: DiskBackend, path: str) -> None:
    disk.save(image(1), path)
    assert disk.list_files(".", recursive=True) == ["f/a.npy"]
    assert_same(disk.load(path), image(1))
    disk.delete(path)
    assert disk.list_dir("f") == []


def test_path_may_be_pathlike(disk: DiskBackend) -> None:
    disk.save(image(), Path("f/a.npy"))
    assert_same(disk.load(Path("f/a.npy")), image())
    assert disk.list_files(Path("f")) == ["f/a.npy"]
    with pytest.raises(NotFoundError) as caught:
        disk.load(Path("f/b.npy"))
    assert caught.value.path == "f/b.npy"
