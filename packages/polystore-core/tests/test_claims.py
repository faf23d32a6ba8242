"""Claims on temporary files and directories, which tell living owners from killed ones."""

from __future__ import annotations

import errno
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from polystore_core.files.atomic import find_leftovers
from polystore_core.files.claims import claim, is_abandoned
from polystore_core.files.locking import HIDDEN_PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="system: needs flock and fork")


@pytest.fixture(params=["file", "directory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    made = tmp_path / f"{HIDDEN_PREFIX}0"
    made.mkdir() if request.param == "directory" else made.write_bytes(b"x")
    return made


def run_in_child(work: Callable[[], object]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def hold(place: Path) -> int:
    """Claim ``place`` in another process until that process is killed."""
    reading, writing = os.pipe()

    def work() -> None:
        with claim(place) as mine:
            os.write(writing, b"1" if mine else b"0")
            time.sleep(60)

    pid = run_in_child(work)
    assert os.read(reading, 1) == b"1"
    os.close(reading)
    os.close(writing)
    return pid


def test_claim_excludes_until_killed(place: Path) -> None:
    pid = hold(place)
    with claim(place) as mine:
        assert mine is False
    assert not is_abandoned(place)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert is_abandoned(place)
    with claim(place) as mine:
        assert mine is True


def test_claim_of_a_name_in_an_open_directory(place: Path) -> None:
    folder = os.open(place.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with claim(place.name, dir_fd=folder) as mine:
            assert mine is True
            assert not is_abandoned(place)
        with claim("missing", dir_fd=folder) as mine:
            assert mine is False
    finally:
        os.close(folder)


def test_claim_excludes_threads(place: Path) -> None:
    found: list[bool | None] = []

    def work() -> None:
        with claim(place) as mine:
            found.append(mine)

    with claim(place):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    work()
    assert found == [False, True]


def test_forked_child_owns_nothing(place: Path) -> None:
    """A child that outlives its parent does not keep the claim of the parent."""
    with claim(place) as mine:
        assert mine
        pid = run_in_child(lambda: time.sleep(60))
    assert is_abandoned(place)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_child_leaves_claim_to_parent(place: Path) -> None:
    with claim(place):
        os.waitpid(run_in_child(lambda: None), 0)
        assert not is_abandoned(place)


def test_missing_file_is_not_claimed(place: Path) -> None:
    missing = place.parent / "missing"
    with claim(missing) as mine:
        assert mine is False
    assert not is_abandoned(missing)


def test_removed_before_lock(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process replaces the file between the open and the lock."""
    system_open = os.open

    def open_and_replace(path: str, *args: int, **options: int) -> int:
        descriptor = system_open(path, *args, **options)
        place.rename(place.parent / "old")
        place.write_bytes(b"new")
        return descriptor

    monkeypatch.setattr(os, "open", open_and_replace)
    with claim(place) as mine:
        assert mine is False


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EBADF, errno.EOPNOTSUPP])
def test_age_decides_without_locks(
    place: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    import fcntl

    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with claim(place) as mine:
        assert mine is None
    assert not is_abandoned(place)
    assert is_abandoned(place, older_than=-1)
    os.utime(place, (time.time() - 4000,) * 2)
    assert is_abandoned(place)


def test_claims_leak_nothing(place: Path, descriptors: Callable[[], int]) -> None:
    before = descriptors()
    for _ in range(20):
        with claim(place), claim(place), claim(place.parent / "missing"):
            pass
    assert descriptors() == before


def test_leftovers_have_no_owner(place: Path) -> None:
    """Work of a living process is not a leftover, at any age."""
    os.utime(place, (time.time() - 9000,) * 2)
    pid = hold(place)
    assert list(find_leftovers(place.parent)) == []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    assert list(find_leftovers(place.parent)) == [str(place)]


def test_only_copies_are_not_leftovers(tmp_path: Path) -> None:
    aside = tmp_path / f"{HIDDEN_PREFIX}x.zarr.aside"
    (aside / "1" / "x.zarr").mkdir(parents=True)
    assert list(find_leftovers(tmp_path, older_than=-1)) == []
