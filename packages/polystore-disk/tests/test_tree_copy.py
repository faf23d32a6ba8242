"""Copy and move keep the bytes, do all or nothing, and lose nothing."""

import errno
import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    PolystoreError,
    StorageError,
    UnsupportedDataError,
)
from polystore_core.files.atomic import find_leftovers
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

Names = Callable[[], list[str]]

posix = pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX")
DAMAGED = b"\x93NUMPY\x01\x00 cut"


# ── bytes or values ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a.npy", "b.npy"),
        ("a.tif", "b.tiff"),  # Two suffixes of one format.
        ("a.tif", "b.TIF"),
        ("a.pt", "b.pt"),  # Works without torch.
        ("a", "b"),
        ("a.dat", "b.czi"),
    ],
)
def test_bytes_are_kept(
    disk: DiskBackend, folder: Path, operation: str, source: str, target: str
) -> None:
    """Bytes that no format can load are copied too."""
    (folder / source).write_bytes(DAMAGED)
    getattr(disk, operation)(source, f"f/{target}")
    assert (folder / "f" / target).read_bytes() == DAMAGED
    assert disk.exists(source) == (operation == "copy")


@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("a.npy", "b.zarr"),
        ("a.npy", "b.ome.zarr"),
        ("a.tif", "b.h5"),
        ("a.npy", "b.npy.bak"),
        ("a.npy", "b"),
        ("a.dat", "b.npy"),
        ("a", "b.TIF"),
        ("a.zarr", "b.h5"),
    ],
)
def test_bytes_keep_suffix(
    disk: DiskBackend, folder: Path, names: Names, operation: str, source: str, target: str
) -> None:
    """With the suffix of another format, the bytes would look damaged or be read wrongly."""
    (folder / source).write_bytes(DAMAGED)
    with pytest.raises(InvalidOptionError, match="the file is not converted"):
        getattr(disk, operation)(source, f"f/{target}")
    assert names() == [source]


def test_unknown_suffix_is_named(disk: DiskBackend) -> None:
    disk.save(image(), "a.npy")
    with pytest.raises(InvalidOptionError, match="no format has the suffix of the target"):
        disk.copy("a.npy", "b.tfi")


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_folder_may_have_any_name(disk: DiskBackend, operation: str) -> None:
    disk.save(image(), "plate/a.npy")
    getattr(disk, operation)("plate", "b.zarr")
    assert disk.list_dir("b.zarr") == ["a.npy"]


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_suffix_converts(disk: DiskBackend, operation: str) -> None:
    disk.save(image(1), "a.npy")
    getattr(disk, operation)("a.npy", "f/a.npy.TIF")
    assert disk.info("f/a.npy.TIF").format == "tiff"
    assert_same(disk.load("f/a.npy.TIF"), image(1))
    assert disk.exists("a.npy") == (operation == "copy")


@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize(
    ("content", "error"), [(b"{}", UnsupportedDataError), (b"{", DamagedDataError)]
)
def test_failed_conversion_loses_nothing(
    disk: DiskBackend, folder: Path, names: Names, operation: str, content: bytes, error: Any
) -> None:
    (folder / "a.json").write_bytes(content)
    (folder / "b.npy").write_bytes(b"old")
    with pytest.raises(error):
        getattr(disk, operation)("a.json", "b.npy")
    assert names() == ["a.json", "b.npy"]
    assert (folder / "b.npy").read_bytes() == b"old"


@pytest.mark.parametrize("target", ["b.npy", "b.tif"])
@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize("if_exists", ["replace", "error", "skip"])
def test_existing_target(
    disk: DiskBackend, operation: str, target: str, if_exists: str
) -> None:
    disk.save(image(1), "a.npy")
    disk.save(image(2), target)
    if if_exists == "error":
        with pytest.raises(AlreadyExistsError) as caught:
            getattr(disk, operation)("a.npy", target, if_exists=if_exists)
        assert caught.value.path == target
    else:
        getattr(disk, operation)("a.npy", target, if_exists=if_exists)
    replaced = if_exists == "replace"
    assert_same(disk.load(target), image(1 if replaced else 2))
    assert disk.exists("a.npy") == (operation == "copy" or not replaced)


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_if_exists_is_checked(disk: DiskBackend, operation: str) -> None:
    disk.save(image(), "a.npy")
    with pytest.raises(InvalidOptionError, match="if_exists="):
        getattr(disk, operation)("a.npy", "b.npy", if_exists="overwrite")
    assert disk.list_dir(".") == ["a.npy"]


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_target_below_file(disk: DiskBackend, operation: str) -> None:
    disk.save_batch([image(1), image(2)], ["a.npy", "b.npy"])
    with pytest.raises(NotADirectoryInPathError):
        getattr(disk, operation)("a.npy", "b.npy/c.npy")
    assert_same(disk.load("a.npy"), image(1))
    assert_same(disk.load("b.npy"), image(2))


@pytest.mark.parametrize("operation", ["copy", "move"])
def test_folder_as_target_is_kept(disk: DiskBackend, operation: str) -> None:
    disk.save(image(1), "a.npy")
    disk.ensure_directory("f")
    with pytest.raises(NotAFileError):
        getattr(disk, operation)("a.npy", "f")
    assert disk.is_dir("f")
    assert disk.exists("a.npy")


@posix
def test_source_may_be_link(disk: DiskBackend) -> None:
    """A copy holds the content of the link's target. A move moves the link itself."""
    disk.save(image(1), "f/a.npy")
    disk.create_symlink("f/a.npy", "link.npy")
    disk.copy("link.npy", "copy.npy")
    assert not disk.is_symlink("copy.npy")
    disk.move("link.npy", "moved.tif")
    assert disk.is_symlink("moved.tif")
    assert_same(disk.load("copy.npy"), image(1))
    assert disk.exists("f/a.npy")


# ── folders ──────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def plate(disk: DiskBackend, folder: Path) -> DiskBackend:
    disk.save_batch([image(1), image(2)], ["plate/a.npy", "plate/A01/b.npy"])
    disk.ensure_directory("plate/empty")
    (folder / "plate/broken.npy").write_bytes(DAMAGED)
    return disk


PLATE = ["A01", "A01/b.npy", "a.npy", "broken.npy", "empty"]


@posix
def test_folder_is_copied_whole(plate: DiskBackend, folder: Path, names: Names) -> None:
    (folder / "plate/link.npy").symlink_to("A01/b.npy")
    (folder / "plate/nowhere").symlink_to("missing")
    plate.copy("plate", "copies/plate/")
    copied = [*PLATE, "link.npy", "nowhere"]
    assert [name for name in names() if name.startswith("copies/plate/")] == [
        f"copies/plate/{name}" for name in copied
    ]
    assert os.readlink(folder / "copies/plate/link.npy") == "A01/b.npy"
    assert (folder / "copies/plate/broken.npy").read_bytes() == DAMAGED
    plate.save(image(9), "plate/A01/b.npy")
    assert_same(plate.load("copies/plate/link.npy"), image(2))


@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize("if_exists", ["replace", "error", "skip"])
@pytest.mark.parametrize("target", ["taken", "a.npy"])
def test_folders_never_merge(
    plate: DiskBackend, names: Names, operation: str, if_exists: str, target: str
) -> None:
    plate.save_batch([image(3), image(4)], ["taken/c.npy", "a.npy"])
    before = names()
    with pytest.raises(AlreadyExistsError):
        getattr(plate, operation)("plate", target, if_exists=if_exists)
    assert names() == before


@pytest.mark.parametrize("operation", ["copy", "move"])
@pytest.mark.parametrize("target", ["plate", "plate/inside", "plate/A01/inside"])
def test_folder_stays_outside_itself(
    plate: DiskBackend, names: Names, operation: str, target: str
) -> None:
    before = names()
    if operation == "move" and target == "plate":
        plate.move("plate", "plate")
    else:
        with pytest.raises((InvalidOptionError, AlreadyExistsError)):
            getattr(plate, operation)("plate", target)
    assert names() == before


@posix
@pytest.mark.parametrize("operation", ["copy", "move"])
def test_itself_by_another_name(
    plate: DiskBackend, folder: Path, names: Names, operation: str
) -> None:
    (folder / "plate/here").symlink_to(".")
    before = names()
    if operation == "move":
        with pytest.raises(PolystoreError):
            plate.move("plate", "./plate/here/inside")
        assert names() == before
    else:
        plate.copy("plate", "./plate/here/inside")
        inside = {name.removeprefix("plate/inside/") for name in set(names()) - set(before)}
        assert inside == {"plate/inside", *PLATE, "here"}


@pytest.mark.parametrize("damage", ["unreadable", "pipe", "full disk"])
def test_failed_copy_leaves_nothing(
    plate: DiskBackend,
    folder: Path,
    names: Names,
    damage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """An error anywhere in a folder names the file, and no part of the copy is left."""
    if damage == "pipe":
        os.mkfifo(folder / "plate/z.npy")
    elif damage == "unreadable":
        (folder / "plate/z.npy").symlink_to("z.npy")
        monkeypatch.setattr(os, "symlink", fail_with(errno.EACCES))
    else:
        (folder / "plate/z.npy").write_bytes(bytes(1 << 20))
        monkeypatch.setattr(os, "write", fail_with(errno.ENOSPC))
    before = names()
    with pytest.raises(StorageError) as caught:
        plate.copy("plate", "copies/plate")
    assert caught.value.path.startswith("plate/")
    assert [name for name in names() if name != "copies"] == before


def fail_with(code: int) -> Callable[..., Any]:
    def fail(*args: Any, **options: Any) -> Any:
        raise OSError(code, os.strerror(code))

    return fail


def test_running_copy_is_not_a_leftover(folder: Path) -> None:
    """A file that is being copied deep in a folder protects the whole folder from `doctor`."""
    hidden = folder / ".~ps-0123456789abcdef"
    (hidden / "plate/A01").mkdir(parents=True)
    (hidden / "plate/A01/a.npy").touch()
    for path in (hidden, hidden / "plate", hidden / "plate/A01"):
        os.utime(path, (0, 0))
    assert list(find_leftovers(folder)) == []
    os.utime(hidden / "plate/A01/a.npy", (0, 0))
    assert list(find_leftovers(folder)) == [str(hidden)]


# ── many threads at once ─────────────────────────────────────────────────────────────────

Take = Callable[[DiskBackend, int], Any]

TAKES: dict[str, Take] = {
    "save": lambda disk, n: disk.save(image(n), "target.npy", if_exists="error"),
    "batch": lambda disk, n: disk.save_batch([image(n)], ["target.npy"], if_exists="error"),
    "copy": lambda disk, n: disk.copy(f"{n}.npy", "target.npy", if_exists="error"),
    "convert": lambda disk, n: disk.copy(f"{n}.npy", "target.tif", if_exists="error"),
    "move": lambda disk, n: disk.move(f"{n}.npy", "target.npy", if_exists="error"),
    "copy_folder": lambda disk, n: disk.copy(f"f{n}", "target"),
    "move_folder": lambda disk, n: disk.move(f"f{n}", "target"),
    "link": lambda disk, n: disk.create_symlink(f"{n}.npy", "target.npy"),
}


@pytest.mark.parametrize("name", TAKES)
def test_exactly_one_gets_name(disk: DiskBackend, names: Names, name: str) -> None:
    def take(number: int) -> bool:
        try:
            TAKES[name](disk, number)
        except (FileExistsError, PolystoreError) as error:
            found = getattr(error, "items", None) or error
            assert "exist" in str(found)
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            for number in range(8):
                disk.save(image(number), f"{number}.npy")
                disk.save(image(number), f"f{number}/a.npy", if_exists="skip")
            assert sum(pool.map(take, range(8))) == 1
            target = next(path for path in disk.list_dir(".") if path.startswith("target"))
            disk.delete(target, recursive=True)
    assert not [path for path in names() if ".~ps-" in path]


@pytest.mark.parametrize("operation", ["save", "copy", "move"])
def test_all_others_skip(disk: DiskBackend, operation: str) -> None:
    """All calls succeed, one of them saves, and a move that is skipped keeps its source."""

    def skip(number: int) -> None:
        if operation == "save":
            disk.save(image(number), "target.npy", if_exists="skip")
        else:
            getattr(disk, operation)(f"{number}.npy", "target.npy", if_exists="skip")

    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            disk.save_batch([image(n) for n in range(8)], [f"{n}.npy" for n in range(8)])
            list(pool.map(skip, range(8)))
            assert len(disk.list_dir(".")) == (8 if operation == "move" else 9)
            disk.delete("target.npy")


# ── moves between devices ────────────────────────────────────────────────────────────────


@pytest.fixture
def other_device(free: DiskBackend, folder: Path) -> Iterator[Path]:
    shared = Path("/dev/shm")
    if not shared.is_dir() or shared.stat().st_dev == folder.stat().st_dev:
        pytest.skip("system: /dev/shm is not another device")
    made = Path(tempfile.mkdtemp(dir=shared))
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("if_exists", ["replace", "error", "skip"])
@pytest.mark.parametrize("taken", [False, True])
def test_file_crosses_devices(
    free: DiskBackend, other_device: Path, if_exists: Any, taken: bool
) -> None:
    (other_device / "a.npy").write_bytes(DAMAGED)
    if taken:
        free.save(image(1), "b.npy")
    if taken and if_exists == "error":
        with pytest.raises(AlreadyExistsError):
            free.move(other_device / "a.npy", "b.npy", if_exists=if_exists)
    else:
        free.move(other_device / "a.npy", "b.npy", if_exists=if_exists)
    moved = not taken or if_exists == "replace"
    assert (Path("b.npy").read_bytes() == DAMAGED) == moved
    assert (other_device / "a.npy").exists() != moved


def test_folder_crosses_devices(free: DiskBackend, other_device: Path) -> None:
    free.save(image(), other_device / "f/g/a.npy")
    free.create_symlink(other_device / "f/g/a.npy", other_device / "f/link.npy")
    (other_device / "f/nowhere").symlink_to("missing")
    free.move(other_device / "f", "x/f")
    assert free.list_files("x", recursive=True) == [
        "x/f/g/a.npy",
        "x/f/link.npy",
        "x/f/nowhere",
    ]
    assert free.is_symlink("x/f/nowhere")
    assert os.listdir(other_device) == []


@pytest.mark.parametrize("target", ["a.npy", "f", "missing"])
def test_link_crosses_devices(free: DiskBackend, other_device: Path, target: str) -> None:
    free.save(image(1), other_device / "a.npy")
    free.save(image(2), other_device / "f/a.npy")
    (other_device / "link").symlink_to(other_device / target)
    free.move(other_device / "link", "link")
    assert os.readlink("link") == str(other_device / target)
    assert sorted(os.listdir(other_device)) == ["a.npy", "f"]


def test_failed_crossing_loses_nothing(
    free: DiskBackend, other_device: Path, names: Names, monkeypatch: pytest.MonkeyPatch
) -> None:
    free.save(image(1), other_device / "f/a.npy")
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", fail_with(errno.ENOSPC))
        for source, target in (("f", "f"), ("f/a.npy", "a.npy")):
            with pytest.raises(StorageError, match="free space"):
                free.move(other_device / source, target)
    assert names() == []
    assert_same(np.load(other_device / "f/a.npy"), image(1))


@posix
def test_moved_file_keeps_mode(disk: DiskBackend, folder: Path) -> None:
    disk.save(image(), "a.npy")
    (folder / "a.npy").chmod(0o604)
    disk.move("a.npy", "f/b.npy")
    assert stat.S_IMODE((folder / "f/b.npy").stat().st_mode) == 0o604
