"""Full disks, disks without inodes, read-only disks, and processes without descriptors."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import BatchError, StorageError
from polystore_core.files.atomic import find_leftovers
from polystore_zarr.store.local import local_path
from polystore_zarr.store.nodes import read_document

from .writers import (
    KINDS,
    find_hidden,
    listed_fields,
    make_backend,
    save,
    saved_number,
    version,
)

if TYPE_CHECKING:
    from polystore_zarr.backend import ZarrBackend

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

Mount = Callable[..., Path]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Mount]:
    """Mount a file system in memory, with the options of tmpfs."""
    mounted: list[Path] = []

    def make(**options: object) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        place.mkdir()
        text = ",".join(f"{name}={value}" for name, value in options.items())
        command = ["mount", "-t", "tmpfs", "-o", text, "tmpfs", str(place)]
        tried = subprocess.run(command, capture_output=True, text=True)
        if tried.returncode:
            pytest.skip(f"system: no tmpfs can be mounted: {tried.stderr.strip()}")
        mounted.append(place)
        return place

    yield make
    for place in mounted:
        subprocess.run(["umount", "--lazy", place], check=True)


def fill(disk: Path, *, pages_left: int) -> None:
    """Fill a disk until ``pages_left`` pages of 4 KiB are free."""
    with (disk / "filler").open("wb", buffering=0) as file:
        for _ in range(max(os.statvfs(disk).f_bavail - pages_left, 0)):
            file.write(bytes(4096))


def check_reason(error: StorageError, path: str) -> None:
    assert (error.errno, error.path) == (errno.ENOSPC, path)
    assert "free space on the disk and try again" in str(error)


def list_array_files(root: Path) -> list[str]:
    """Return all files except groups and locks. A failed save must not leave such files."""
    found = []
    for path in root.rglob("*"):
        name = str(path.relative_to(root))
        if path.is_dir() or name.endswith(".lock") or name == "filler":
            continue
        document = read_document(local_path(path.parent)) if path.name == "zarr.json" else None
        if document is None or document.kind == "array" or document.is_image:
            found.append(name)
    return sorted(found)


@pytest.mark.parametrize("kind", ["plain", "sharded", "pyramid", "field"])
@pytest.mark.parametrize("over", [False, True], ids=["new", "over"])
def test_full_disk_keeps_old_version(mount: Mount, kind: str, over: bool) -> None:
    """With any free space, all of the new version or all of the old version is there."""
    place = mount(size="1m")
    backend, path, failures = make_backend(place), KINDS[kind][0], 0
    levels = range(0, 96, 4)
    for pages_left in levels:
        if over:
            save(backend, kind, 1)
        fill(place, pages_left=pages_left)
        before = list_array_files(place)
        try:
            save(backend, kind, 2)
        except StorageError as error:
            failures += 1
            check_reason(error, path)
            assert list_array_files(place) == before
            assert not find_hidden(place)
            assert not over or saved_number(backend, path) == 1
            assert over or not backend.exists(path)
        else:
            assert saved_number(backend, path) == 2
        (place / "filler").unlink()
        save(backend, kind, 3)
        assert saved_number(backend, path) == 3
        backend.delete(path.split("/", maxsplit=1)[0], recursive=True)
    assert not list_array_files(place)
    assert 1 < failures < len(levels)


def test_full_disk_stops_batch(mount: Mount) -> None:
    """The values that fit are saved, and the others leave no files."""
    place = mount(size="1m")
    backend = make_backend(place)
    paths = [f"f/{n}.tif" for n in range(60)]
    noise = np.random.default_rng(1).integers(0, 65535, (100, 100), np.uint16)
    with pytest.raises(BatchError, match="free space on the disk") as caught:
        backend.save_batch([noise] * len(paths), paths, chunks=50)
    done = list(caught.value.done)
    assert done == paths[: len(done)]
    assert [f"f/{name}" for name in backend.list_dir("f")] == done
    assert not find_hidden(place)


def test_full_disk_copies_nothing(mount: Mount) -> None:
    """A copy that does not fit leaves no visible files."""
    place = mount(size="600k")
    backend = make_backend(place)
    backend.save(
        version(1, (600, 300)), "a.zarr/g/x", chunks=100, compressor="none", shards=False
    )
    fill(place, pages_left=12)
    before = list_array_files(place)
    for source, target in (
        ("a.zarr/g/x", "a.zarr/y"),
        ("a.zarr/g", "b.zarr"),
        ("a.zarr", "c.zarr"),
    ):
        with pytest.raises(StorageError) as caught:
            backend.copy(source, target)
        assert caught.value.errno == errno.ENOSPC
        assert list_array_files(place) == before
        assert not find_hidden(place)


@pytest.mark.parametrize("kind", ["plain", "pyramid", "field"])
def test_disk_without_inodes(mount: Mount, kind: str) -> None:
    """A disk without free inodes is reported as a full disk, at any file of the save."""
    place = mount(size="4m", nr_inodes=130)
    backend, path, failures = make_backend(place), KINDS[kind][0], 0
    save(backend, kind, 1)
    for left in range(0, 60, 6):
        names = os.statvfs(place).f_favail - left
        for n in range(names):
            (place / f"filler{n}").touch()
        try:
            save(backend, kind, 2)
        except StorageError as error:
            failures += 1
            check_reason(error, path)
            assert saved_number(backend, path) == 1
            assert not find_hidden(place)
        else:
            assert saved_number(backend, path) == 2
        for n in range(names):
            (place / f"filler{n}").unlink()
        save(backend, kind, 1)
    assert failures


def test_read_only_disk(mount: Mount) -> None:
    """Every write says that the disk is read-only, and reading works."""
    place = mount(size="1m")
    backend = make_backend(place)
    save(backend, "field", 1)
    save(backend, "plain", 1)
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    path = KINDS["plain"][0]
    attempts: list[Callable[[], Any]] = [
        lambda: save(backend, "plain", 2),
        lambda: save(backend, "field", 2),
        lambda: backend.save(version(2), "plate.ome.zarr/C/01/0"),
        lambda: backend.create("new.zarr/a", shape=(3, 3), dtype="u1"),
        lambda: backend.save(version(2, (16, 16)), path, region=(slice(16), slice(16))),
        lambda: backend.delete(path),
        lambda: backend.delete(KINDS["field"][0]),
        lambda: backend.move(path, "b.zarr/a"),
        lambda: backend.copy(path, "b.zarr/a"),
        lambda: backend.ensure_directory("c.zarr/g"),
    ]
    for attempt in attempts:
        with pytest.raises(StorageError, match="mounted read-only") as caught:
            attempt()
        assert caught.value.errno == errno.EROFS
    assert saved_number(backend, path) == saved_number(backend, KINDS["field"][0]) == 1
    assert listed_fields(place / "plate.ome.zarr") == {"B/03/0"}


def test_process_without_descriptors(backend: ZarrBackend, root: Path) -> None:
    """With too few descriptors nothing changes. With enough of them the save works."""
    save(backend, "field", 1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    kinds = []
    for spare in range(40):  # a tree that replaces another is flushed by several threads
        highest = max(map(int, os.listdir("/proc/self/fd")))
        taken = len(os.listdir("/proc/self/fd")) - 1
        fillers = [os.dup(0) for _ in range(highest + 1 - taken)]  # close the gaps
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (max(fillers, default=highest) + 1 + spare, hard)
        )
        try:
            save(backend, "field", 2)
            kinds.append(0)
        except StorageError as error:
            kinds.append(error.errno)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for filler in fillers:
                os.close(filler)
        assert saved_number(backend, KINDS["field"][0]) == (1 if kinds[-1] else 2)
        # With so few descriptors, even the old tree cannot be removed.
        assert find_hidden(root) == set(find_leftovers(root, older_than=-1))
        save(backend, "field", 1)
    assert kinds[0] == errno.EMFILE
    assert kinds[-1] == 0
    assert set(kinds) == {0, errno.EMFILE}
