"""Each system call of an operation fails once.

Afterwards the old value or the new one is complete.
"""

from __future__ import annotations

import errno
import gc
import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import BatchError, StorageError
from polystore_core.files.local.places import FreePlaces
from polystore_disk.backend import DiskBackend
from polystore_testing.values import image

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

# Calls that change a file, and calls that look at one. `unlink` and `rmdir` are not here: a
# temporary file that cannot be removed stays.
CALLS = [
    "open",
    "write",
    "fsync",
    "link",
    "symlink",
    "replace",
    "rename",
    "mkdir",
    "makedirs",
    "fchmod",
    "fchown",
    "stat",
    "lstat",
    "fstat",
    "lseek",
    "readlink",
    "read",
    "scandir",
]
CODES = [errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EACCES]

Operation = Callable[[DiskBackend], Any]

READS: dict[str, Operation] = {
    "load": lambda disk: disk.load("f/a.npy").tolist(),
    "load link": lambda disk: disk.load("f/link.npy").tolist(),
    "load part": lambda disk: disk.load("a.npy", region=1).tolist(),
    "open": lambda disk: disk.open("a.npy")[1].tolist(),
    "info": lambda disk: disk.info("f/link.npy"),
    "exists": lambda disk: [disk.exists(path) for path in ("f/a.npy", "link.npy", "missing")],
    "is_dir": lambda disk: [disk.is_dir(path) for path in ("f", "f/g", "folder", "a.npy")],
    "is_symlink": lambda disk: [disk.is_symlink(path) for path in ("link.npy", "a.npy")],
    "list": lambda disk: disk.list_files(".", recursive=True),
    "collect": lambda disk: disk.collect_dirs_and_files("."),
    "find": lambda disk: disk.find_file_recursive(".", "b.npy"),
}
OPERATIONS: dict[str, Operation] = {
    "save new": lambda disk: disk.save(image(2), "new.npy"),
    "save over": lambda disk: disk.save(image(2), "a.npy"),
    "save deep": lambda disk: disk.save(image(2), "x/y/new.npy"),
    "save durably": lambda disk: disk.save(image(2), "x/new.npy", durable=True),
    "save over durably": lambda disk: disk.save(image(2), "a.npy", durable=True),
    "save exclusively": lambda disk: disk.save(image(2), "new.npy", if_exists="error"),
    "save behind link": lambda disk: disk.save(image(2), "link.npy"),
    "save tiff": lambda disk: disk.save(image(2), "a.tif"),
    "save npz": lambda disk: disk.save({"a": image(2)}, "a.npz"),
    "save large": lambda disk: disk.save(image(2, (300, 400)), "a.npy"),
    "save batch": lambda disk: disk.save_batch([image(2)] * 3, ["a.npy", "b.npy", "new.npy"]),
    "save batch durably": lambda disk: disk.save_batch(
        [image(2)] * 3, ["a.npy", "f/a.npy", "new.npy"], durable=True
    ),
    "save batch in threads": lambda disk: disk.save_batch(
        [image(2)] * 3, ["a.npy", "f/a.npy", "new.npy"], threads=2
    ),
    "copy file": lambda disk: disk.copy("a.npy", "b.npy"),
    "copy folder": lambda disk: disk.copy("f", "x/g"),
    "move file": lambda disk: disk.move("a.npy", "b.npy"),
    "move new": lambda disk: disk.move("a.npy", "x/new.npy", if_exists="error"),
    "move and convert": lambda disk: disk.move("a.npy", "a.tif"),
    "move folder": lambda disk: disk.move("f", "x/g"),
    "link": lambda disk: disk.create_symlink("a.npy", "x/new.npy"),
    "link over": lambda disk: disk.create_symlink("a.npy", "link.npy", overwrite=True),
    "make folder": lambda disk: disk.ensure_directory("x/y/z"),
}


class Fault:
    """Make the n-th of the watched calls fail."""

    def __init__(self, patch: pytest.MonkeyPatch, *, unnamed: bool) -> None:
        self.left = -1
        self.code = 0
        self.unnamed = unnamed
        for name in CALLS:
            patch.setattr(os, name, self.watch(getattr(os, name)))
        # FreePlaces.stat was bound to os.stat before the loop above replaced it.
        patch.setattr(FreePlaces, "stat", staticmethod(os.stat))

    def watch(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def watched_call(*args: Any, **options: Any) -> Any:
            if self.left >= 0:
                self.left -= 1
                if self.left < 0:
                    raise OSError(self.code, os.strerror(self.code))
            if not self.unnamed and call is OPEN and args[1] & os.O_TMPFILE == os.O_TMPFILE:
                raise OSError(errno.EOPNOTSUPP, "as on NFS")
            return call(*args, **options)

        return watched_call


OPEN = os.open


@pytest.fixture(params=[True, False], ids=["unnamed", "named"])
def fault(request: pytest.FixtureRequest) -> Iterator[Fault]:
    with pytest.MonkeyPatch.context() as patch:
        yield Fault(patch, unnamed=request.param)


def prepare(disk: DiskBackend, folder: Path) -> None:
    """Restore the files that every operation needs."""
    for name in disk.list_dir("."):
        disk.delete(name, recursive=True)
    for path in ("a.npy", "b.npy", "f/a.npy", "f/g/b.npy", "target.npy"):
        disk.save(image(1), path)
    (folder / "link.npy").symlink_to("target.npy")
    (folder / "f/link.npy").symlink_to("a.npy")


def numbers(disk: DiskBackend, folder: Path) -> dict[str, Any]:
    """Return the content of each path: a folder, a link, or the version of a whole file."""
    found: dict[str, Any] = {}
    for path in folder.rglob("*"):
        name = str(path.relative_to(folder))
        if path.is_dir():
            found[name] = "folder"
        elif path.is_symlink():
            found[name] = f"link to version {version_of(disk.load(name))}"
        else:
            found[name] = version_of(disk.load(name))
    return found


def version_of(value: Any) -> int:
    array = value["a"] if isinstance(value, dict) else value
    number = int(array.flat[0]) // 1000
    np.testing.assert_array_equal(array, image(number, array.shape))
    return number


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_file_is_old_or_new(
    disk: DiskBackend,
    folder: Path,
    fault: Fault,
    name: str,
    code: int,
    descriptors: Callable[[], int],
) -> None:
    operation, fault.code = OPERATIONS[name], code
    prepare(disk, folder)
    old = numbers(disk, folder)
    operation(disk)
    new = numbers(disk, folder)
    opened = descriptors()
    for point in range(1000):
        prepare(disk, folder)
        fault.left = point
        failure = failure_of(operation, disk)
        reached, fault.left = fault.left < 0, -1
        assert has_code(failure, code), f"{failure!r} at call {point} does not carry its errno"
        check(numbers(disk, folder), old, new, name)
        if not reached:
            break
    assert point > 2
    gc.collect()
    assert descriptors() <= opened


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("code", CODES, ids=errno.errorcode.get)
def test_reading_never_lies(
    disk: DiskBackend,
    folder: Path,
    fault: Fault,
    name: str,
    code: int,
    descriptors: Callable[[], int],
) -> None:
    """A fault never looks like a missing file, an empty folder or another value."""
    operation, fault.code = READS[name], code
    prepare(disk, folder)
    # A link into a folder that cannot be entered counts as a link to a file.
    if code != errno.EACCES:
        (folder / "folder").symlink_to("f")
    expected = operation(disk)
    for point in range(1000):
        fault.left = point
        found: list[Any] = []
        failure = failure_of(lambda disk: found.append(operation(disk)), disk)  # noqa: B023
        reached, fault.left = fault.left < 0, -1
        assert has_code(failure, code), f"{failure!r} at call {point} does not carry its errno"
        assert failure or found == [expected]
        if not reached:
            break
    assert point


def failure_of(operation: Operation, disk: DiskBackend) -> Exception | None:
    try:
        operation(disk)
    except (StorageError, BatchError) as error:
        return error
    return None


def has_code(failure: Exception | None, code: int) -> bool:
    if isinstance(failure, BatchError):
        return any(has_code(cause, code) for _, cause in failure.failed.values())
    return failure is None or getattr(failure, "errno", 0) == code


def check(found: dict[str, Any], old: dict[str, Any], new: dict[str, Any], name: str) -> None:
    """Check that each path holds its old or new value, except that empty folders may be extra."""
    for path in found.keys() | old.keys():
        possible = (old.get(path), new.get(path))
        assert found.get(path) in possible, f"{path}: {found.get(path)} of {possible}"
    if name.startswith(("move", "copy folder")):
        assert found.keys() >= old.keys() or found.keys() >= new.keys(), "something is lost"


def test_error_of_close_is_reported(
    rooted: DiskBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Network file systems report a full disk when a file is closed."""
    rooted.save(image(1), "a.npy")
    close, files = os.close, []

    def fail(descriptor: int) -> None:
        is_file = os.fstat(descriptor).st_mode & 0o100000
        close(descriptor)
        if is_file:
            files.append(descriptor)
            raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    with monkeypatch.context() as patch:
        Fault(patch, unnamed=False)
        patch.setattr(os, "close", fail)
        with pytest.raises(StorageError, match="free space in your quota") as caught:
            rooted.save(image(2), "a.npy")
    assert files
    assert caught.value.errno == errno.EDQUOT
    assert version_of(rooted.load("a.npy")) == 1
    assert rooted.list_dir(".") == ["a.npy"]


def test_short_writes_are_completed(
    rooted: DiskBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One call may write fewer bytes than it was given, after a signal or above 2 GiB."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, bytes(data)[:777]))
    rooted.save(image(2, (60, 70)), "a.npy")
    monkeypatch.undo()
    assert version_of(rooted.load("a.npy")) == 2
