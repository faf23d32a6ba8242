"""Disks without space, inodes or permission: the old version stays, and the error says why."""

from __future__ import annotations

import errno
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import AccessDeniedError, BatchError, PolystoreError, StorageError
from polystore_disk.backend import DiskBackend

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]
needs_root = pytest.mark.skipif(
    not hasattr(os, "getuid") or os.getuid() != 0, reason="system: needs root"
)

SUFFIXES = ["npy", "npz", "tif", "json", "txt", "csv"]
PAGE = 4096
LEVELS = 32
NOBODY, SOMEBODY = 65534, 1234

Mount = Callable[..., Path]


def version(suffix: str, number: int) -> Any:
    """Return a value of 20 to 100 KiB."""
    image = np.full((121, 253), number, np.uint16)
    return {
        "npy": image,
        "tif": image,
        "npz": {"image": image, "mask": image > 0},
        "json": [number] * 10_000,
        "txt": f"{number}\n" * 30_000,
        "csv": image.ravel()[:10_000].astype([("count", int)]),
    }[suffix]


def is_version(suffix: str, value: Any, number: int) -> bool:
    expected = version(suffix, number)
    if suffix == "npz":
        return all(np.array_equal(value[name], expected[name]) for name in expected)
    return bool(np.all(value == expected))


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Return a function that mounts a tmpfs with the given options."""
    mounts: list[Path] = []

    def make(**options: object) -> Path:
        place = tmp_path / f"disk{len(mounts)}"
        place.mkdir()
        text = ",".join(f"{name}={value}" for name, value in options.items())
        command = ["mount", "-t", "tmpfs", "-o", text, "tmpfs", str(place)]
        tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"system: no tmpfs can be mounted: {tried.stderr.strip()}")
        mounts.append(place)
        return place

    yield make
    for place in mounts:
        subprocess.run(["umount", "--lazy", place], check=True)


def list_everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


# ── no space ─────────────────────────────────────────────────────────────────────────────


def fill(disk: Path, *, pages_left: int) -> None:
    """Fill a disk until ``pages_left`` pages of 4 KiB are free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        free = os.statvfs(disk).f_bavail
        for _ in range(max(free - pages_left, 0)):
            file.write(bytes(PAGE))


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("over", [False, True], ids=["new", "over"])
def test_full_disk_keeps_old(mount: Mount, suffix: str, over: bool) -> None:
    """At every fill level, the file is all new, or all old with an error that names the cause."""
    place = mount(size="1m")
    disk = DiskBackend(root=place)
    path, failures = f"a.{suffix}", 0
    for pages_left in range(LEVELS):
        if over:
            disk.save(version(suffix, 1), path)
        fill(place, pages_left=pages_left)
        before = list_everything(place)
        kind, *details, text = outcome(lambda: disk.save(version(suffix, 2), path))
        if kind == "done":
            assert is_version(suffix, disk.load(path), 2)
        else:
            failures += 1
            assert (kind, *details) == ("StorageError", errno.ENOSPC, path)
            assert "free space on the disk and try again" in text
            assert list_everything(place) == before
            assert not over or is_version(suffix, disk.load(path), 1)
        (place / "filler").unlink()
        disk.save(version(suffix, 3), path)
        assert is_version(suffix, disk.load(path), 3)
        disk.delete(path)
    disk.close()
    assert 4 < failures < LEVELS


@pytest.mark.parametrize("threads", [1, 4])
def test_full_disk_stops_batch(mount: Mount, threads: int) -> None:
    place = mount(size="1m")
    disk = DiskBackend(root=place)
    paths = [f"f/{n}.npy" for n in range(40)]
    with pytest.raises(BatchError, match="free space on the disk") as caught:
        disk.save_batch([version("npy", 1)] * len(paths), paths, threads=threads)
    done = list(caught.value.done)
    assert done == paths[: len(done)]
    assert disk.list_files("f") == done
    assert len(done) == caught.value.failed_index
    assert len(list_everything(place)) == len(done) + 1
    disk.close()


def test_full_disk_copies_nothing(mount: Mount) -> None:
    place = mount(size="1m")
    disk = DiskBackend(root=place)
    disk.save_batch([version("npy", n) for n in range(9)], [f"f/{n}.npy" for n in range(9)])
    before = list_everything(place)
    with pytest.raises(StorageError) as caught:
        disk.copy("f", "g")
    assert caught.value.errno == errno.ENOSPC
    assert list_everything(place) == before
    disk.close()


def test_disk_without_inodes(mount: Mount) -> None:
    place = mount(size="1m", nr_inodes=4)
    disk = DiskBackend(root=place)
    disk.save_batch([version("npy", 1)] * 2, ["a.npy", "b.npy"])
    (place / "last").touch()
    for path in ("a.npy", "c.npy", "f/c.npy"):
        with pytest.raises(StorageError) as caught:
            disk.save(version("npy", 2), path)
        assert caught.value.errno == errno.ENOSPC
    assert list_everything(place) == ["a.npy", "b.npy", "last"]
    assert is_version("npy", disk.load("a.npy"), 1)
    (place / "last").unlink()
    disk.save(version("npy", 2), "a.npy")
    assert is_version("npy", disk.load("a.npy"), 2)
    disk.close()


def test_read_only_disk(mount: Mount) -> None:
    place = mount(size="1m")
    disk = DiskBackend(root=place)
    disk.save(version("tif", 1), "a.tif")
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    attempts: list[Callable[[], Any]] = [
        lambda: disk.save(version("tif", 2), "a.tif"),
        lambda: disk.save(version("tif", 2), "f/b.tif"),
        lambda: disk.delete("a.tif"),
        lambda: disk.move("a.tif", "b.tif"),
        lambda: disk.copy("a.tif", "b.tif"),
        lambda: disk.create_symlink("a.tif", "b.tif"),
        lambda: disk.ensure_directory("f"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match="mounted read-only") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    assert is_version("tif", disk.load("a.tif"), 1)
    disk.close()


# ── processes of another user, or with low limits ────────────────────────────────────────


def ask(work: str, *arguments: object) -> Any:
    """Call the function ``work`` of this file in another process, and return its result."""
    ran = subprocess.run(
        [sys.executable, __file__, work, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


def outcome(attempt: Callable[[], Any]) -> list[Any]:
    try:
        attempt()
    except PolystoreError as error:
        cause = error.failed[error.failed_index][1] if isinstance(error, BatchError) else error
        number = getattr(cause, "errno", 0)
        return [type(cause).__name__, number, getattr(cause, "path", ""), str(cause)]
    return ["done", 0, "", ""]


def become(user: int, folder: str) -> DiskBackend:
    """Enter ``folder`` as another user, who may not be able to reach it by its path."""
    os.chdir(folder)
    os.umask(0o022)
    disk = DiskBackend()
    warm_up(disk)
    os.setgroups([])
    os.setgid(user)
    os.setuid(user)
    return disk


def warm_up(disk: DiskBackend) -> None:
    """Import all that a save needs, while everything is still allowed."""
    for suffix in SUFFIXES:
        disk.save(version(suffix, 0), f"warm-up.{suffix}")
        disk.load(f"warm-up.{suffix}")
        disk.delete(f"warm-up.{suffix}")


def save_as(folder: str, user: str, *paths: str) -> list[list[Any]]:
    disk = become(int(user), folder)
    return [outcome(partial(disk.save, version("npy", 2), path)) for path in paths]


def do_as_nobody(folder: str) -> dict[str, list[Any]]:
    disk = become(NOBODY, folder)
    return {
        "load": outcome(lambda: disk.load("private/a.npy")),
        "load_file": outcome(lambda: disk.load("unreadable.npy")),
        "list": outcome(lambda: disk.list_dir("private")),
        "delete": outcome(lambda: disk.delete("a.npy")),
        "move": outcome(lambda: disk.move("a.npy", "b.npy")),
        "copy": outcome(lambda: disk.copy("a.npy", "b.npy")),
        "link": outcome(lambda: disk.create_symlink("a.npy", "b.npy")),
        "make": outcome(lambda: disk.ensure_directory("f")),
        "batch": outcome(lambda: disk.save_batch([version("npy", 2)] * 2, ["a.npy", "b.npy"])),
    }


def walk_as_nobody(folder: str) -> dict[str, list[Any]]:
    """Another user finds his own folder below a root that he may search but not read."""
    os.chdir(folder)
    disk = DiskBackend(root=folder)
    warm_up(disk)
    os.setgroups([])
    os.setuid(NOBODY)
    return {
        "save": outcome(lambda: disk.save(version("npy", 2), "users/nobody/a.npy")),
        "durable": outcome(
            lambda: disk.save(version("npy", 2), "users/nobody/a.npy", durable=True)
        ),
        "load": outcome(lambda: disk.load("users/nobody/a.npy")),
        "list": outcome(lambda: disk.list_dir("users/nobody")),
        "elsewhere": outcome(lambda: disk.list_dir("users")),
    }


def run_out_of_descriptors(folder: str) -> list[list[Any]]:
    disk = DiskBackend(root=folder)
    warm_up(disk)
    taken = len(os.listdir("/proc/self/fd")) - 1
    outcomes = []
    for spare in range(6):
        resource.setrlimit(resource.RLIMIT_NOFILE, (taken + spare, 4096))
        outcomes.append(outcome(lambda: disk.save(version("npy", 2), "f/a.npy")))
        resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
        outcomes[-1].append(is_version("npy", disk.load("f/a.npy"), 1))
        disk.save(version("npy", 1), "f/a.npy")
    return outcomes


def write_too_much(folder: str) -> list[list[Any]]:
    disk = DiskBackend(root=folder)
    warm_up(disk)
    outcomes = []
    for suffix in SUFFIXES:
        disk.save(version(suffix, 1), f"a.{suffix}")
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))
        outcomes.append(outcome(partial(disk.save, version(suffix, 2), f"a.{suffix}")))
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
        outcomes[-1].append(is_version(suffix, disk.load(f"a.{suffix}"), 1))
    return outcomes


# ── no permission ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def readable_folder(folder: Path) -> Path:
    """Return a folder of this user that others may read but not write."""
    disk = DiskBackend(root=folder)
    disk.save_batch([version("npy", 1)] * 2, ["a.npy", "private/a.npy"])
    disk.save(version("npy", 1), "unreadable.npy")
    disk.close()
    (folder / "private").chmod(0o700)
    (folder / "unreadable.npy").chmod(0o600)
    folder.chmod(0o755)
    return folder


@needs_root
def test_denied_access_is_reported(readable_folder: Path) -> None:
    before = list_everything(readable_folder)
    for kind, number, path, text in ask(
        "save_as", readable_folder, NOBODY, "a.npy", "b.npy", "f/a.npy"
    ):
        assert kind == AccessDeniedError.__name__
        assert number == errno.EACCES
        assert path in ("a.npy", "b.npy", "f/a.npy")
        assert "check the owner and the permissions" in text
    for name, (kind, number, path, _) in ask("do_as_nobody", readable_folder).items():
        assert (name, kind, number) == (name, AccessDeniedError.__name__, errno.EACCES)
        assert path
    assert list_everything(readable_folder) == before


@needs_root
@pytest.mark.parametrize("mode", [0o777, 0o1777])
def test_two_users_share_folder(folder: Path, mode: int) -> None:
    """Two users replace each other's files, unless the folder forbids it. The modes stay."""
    folder.chmod(mode)
    assert ask("save_as", folder, SOMEBODY, "a.npy")[0][0] == "done"
    (folder / "a.npy").chmod(0o640)
    os.chown(folder / "a.npy", SOMEBODY, NOBODY)
    kind, number, path, _ = ask("save_as", folder, NOBODY, "a.npy")[0]
    found = (folder / "a.npy").stat()
    assert found.st_mode & 0o777 == 0o640
    if mode == 0o777:
        assert kind == "done"
        assert found.st_uid == NOBODY
    else:
        assert (kind, number, path) == ("AccessDeniedError", errno.EPERM, "a.npy")
        assert found.st_uid == SOMEBODY
    assert list_everything(folder) == ["a.npy"]
    with closing(DiskBackend(root=folder)) as disk:
        assert is_version("npy", disk.load("a.npy"), 2)


@needs_root
def test_search_permission_is_enough(folder: Path) -> None:
    (folder / "users/nobody").mkdir(parents=True)
    os.chown(folder / "users/nobody", NOBODY, NOBODY)
    for place in (folder, folder / "users"):
        place.chmod(0o711)
    found = ask("walk_as_nobody", folder)
    assert found.pop("elsewhere")[:2] == ["AccessDeniedError", errno.EACCES]
    assert {kind for kind, *_ in found.values()} == {"done"}, found


# ── limits of the process ────────────────────────────────────────────────────────────────


def test_process_without_descriptors(folder: Path) -> None:
    """Without a free descriptor a save changes nothing. With enough of them it works."""
    with closing(DiskBackend(root=folder)) as disk:
        disk.save(version("npy", 1), "f/a.npy")
    outcomes = ask("run_out_of_descriptors", folder)
    kinds = [kind for kind, *_ in outcomes]
    assert kinds[0] == "StorageError"
    assert kinds[-1] == "done"
    for kind, number, path, text, is_old in outcomes:
        assert is_old == (kind != "done")
        if kind != "done":
            assert (number, path) == (errno.EMFILE, "f/a.npy")
            assert "Too many open files" in text
    assert list_everything(folder) == ["f", "f/a.npy"]


def test_file_size_limit(folder: Path) -> None:
    outcomes = ask("write_too_much", folder)
    assert [found[:3] for found in outcomes] == [
        ["StorageError", errno.EFBIG, f"a.{suffix}"] for suffix in SUFFIXES
    ]
    assert all(is_old for *_, is_old in outcomes)
    assert len(list_everything(folder)) == len(SUFFIXES)


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
