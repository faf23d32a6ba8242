"""Writes that fail, flushed directories, and directories that are deleted during a write."""

import errno
import itertools
import os
import shutil
import stat
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from polystore_core import atomic_write
from polystore_core.errors import DurabilityUnknownError, StorageError
from polystore_core.files.pending import PendingFile

from .folders import Python, linux, list_names, posix

# ── failure ──────────────────────────────────────────────────────────────────────────────


def write_and_raise(
    path: Path, text: str, error: BaseException | type[BaseException], *, lock: bool = True
) -> None:
    with atomic_write(path, lock=lock) as file:
        file.write(text)
        raise error


@pytest.mark.parametrize("error", [ZeroDivisionError, PermissionError, KeyboardInterrupt])
def test_error_of_block_is_raised(path: Path, error: type[BaseException]) -> None:
    raised = error("mine")
    with pytest.raises(error) as caught:
        write_and_raise(path, "new", raised)
    assert caught.value is raised


@linux
@pytest.mark.parametrize("error", [ZeroDivisionError, PermissionError, KeyboardInterrupt])
@pytest.mark.parametrize("text", ["short", "long" * 100_000])
def test_failed_block_changes_nothing(
    path: Path, error: type[BaseException], text: str, descriptors: Callable[[], int]
) -> None:
    path.write_text("old")
    before = descriptors()
    with suppress(error):
        write_and_raise(path, text, error)
    assert path.read_text() == "old"
    assert list_names(path.parent) == ["a.txt"]
    assert descriptors() == before


def interrupt_write(pending: PendingFile, calls: int) -> bool:
    """Interrupt a write after ``calls`` calls of the system or of C.

    Returns False if the write makes fewer calls.
    """
    waiting = iter(range(calls))

    def strike(_frame: object, event: str, _argument: object) -> None:
        if event == "c_return" and next(waiting, None) is None:
            raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        pending.file.write(b"new")
        pending.seal()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
        pending.discard()
    return False


@linux
@pytest.mark.parametrize("unnamed", [True, False])
def test_ctrl_c_after_any_call_leaves_nothing(
    tmp_path: Path, unnamed: bool, descriptors: Callable[[], int]
) -> None:
    """A signal that arrives during a system call takes effect when the call returns."""
    path = tmp_path / "a.txt"
    path.write_text("old")
    before = descriptors()
    for calls in itertools.count():
        pending = PendingFile(path)
        pending._has_unnamed = unnamed
        struck = interrupt_write(pending, calls)
        assert descriptors() == before
        assert list_names(tmp_path) == ["a.txt"]
        if not struck:
            break
    assert calls > 5
    assert path.read_text() == "old"


def test_failed_block_makes_nothing(path: Path) -> None:
    with suppress(ZeroDivisionError):
        write_and_raise(path.parent / "folder" / "a.txt", "new", ZeroDivisionError, lock=False)
    assert os.listdir(path.parent) == []


FULL = """
import json, os, resource, signal, sys
from polystore_core import PolystoreError, atomic_update_json, atomic_write, atomic_write_json
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
path, text = sys.argv[1], "n" * int(sys.argv[2])

def write():
    with atomic_write(path) as file:
        file.write(text)

for save in (
    write,
    lambda: atomic_write_json(text, path),
    lambda: atomic_update_json(path, lambda old: text),
):
    try:
        save()
    except PolystoreError as error:
        print(type(error).__name__, error.errno, error.filename == path)
"""


@posix
@pytest.mark.parametrize("size", [60_000, 1_000_000])
def test_full_disk_keeps_old(python: Python, tmp_path: Path, size: int) -> None:
    path = tmp_path / "a.json"
    path.write_text('"old"')
    done = python(FULL, path, size)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [f"StorageError {errno.EFBIG} True"] * 3
    assert path.read_text() == '"old"'
    assert list_names(tmp_path) == ["a.json"]


def fail_with(code: int) -> Callable[..., Any]:
    def fail(*args: object, **options: object) -> None:
        raise OSError(code, os.strerror(code))

    return fail


@posix
@pytest.mark.parametrize("call", ["replace", "fchmod", "fsync"])
def test_failed_call_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path.write_text("old")
    monkeypatch.setattr(os, call, fail_with(errno.EIO))
    with pytest.raises(StorageError) as caught, atomic_write(path) as file:
        file.write("new")
    assert (caught.value.errno, caught.value.filename) == (errno.EIO, str(path))
    assert path.read_text() == "old"
    assert list_names(path.parent) == ["a.txt"]


@linux
@pytest.mark.parametrize("present", [True, False])
def test_failed_link_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: bool
) -> None:
    if present:
        (tmp_path / "a.txt").write_text("old")
    monkeypatch.setattr(os, "link", fail_with(errno.ENOSPC))
    with pytest.raises(StorageError) as caught, atomic_write(tmp_path / "a.txt") as file:
        file.write("new")
    assert caught.value.errno == errno.ENOSPC
    assert list_names(tmp_path) == (["a.txt"] if present else [])


# ── durability ───────────────────────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize(("durable", "flushed"), [(True, ["a.txt", "folder"]), (False, [])])
def test_durable_flushes_both(
    path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool, flushed: list[str]
) -> None:
    seen: list[str] = []
    system_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        is_dir = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        seen.append("folder" if is_dir else "a.txt")
        system_fsync(descriptor)

    path.touch()
    monkeypatch.setattr(os, "fsync", fsync)
    with atomic_write(path, durable=durable) as file:
        file.write("new")
    assert path.read_text() == "new"
    assert seen == flushed


@posix
def test_unflushed_directory_is_reported(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    system_fsync = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        system_fsync(descriptor)

    path.write_text("old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(DurabilityUnknownError) as caught, atomic_write(path) as file:
        file.write("new")
    assert caught.value.errno == errno.EIO
    assert path.read_text() == "new"
    assert list_names(path.parent) == ["a.txt"]


# ── a directory that is deleted ──────────────────────────────────────────────────────────


@posix
@pytest.mark.parametrize("replaces", [False, True])
@pytest.mark.parametrize("durable", [None, True])
def test_directory_is_made_again(path: Path, replaces: bool, durable: bool | None) -> None:
    """Content is saved even if another process deletes the directory and the temporary file."""
    place = path.parent / "f/g/a.bin"
    place.parent.mkdir(parents=True)
    if replaces:
        place.write_bytes(b"old")
    content = os.urandom(3_000_000)
    pending = PendingFile(place, durable=durable)
    try:
        pending.file.write(content)
        pending.seal()
        shutil.rmtree(place.parent.parent)
        pending.commit()
    finally:
        pending.discard()
    assert place.read_bytes() == content
    assert list_names(place.parent) == ["a.bin"]
