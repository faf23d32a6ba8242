"""A batch keeps its folders open, and checks paths as carefully as a single save."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polystore_core.errors import BatchError, PathOutsideRootError
from polystore_disk.backend import DiskBackend
from polystore_testing.values import assert_same, image

PATHS = [f"p/q/{n}.npy" for n in range(9)]
IMAGES = [image(n) for n in range(9)]
MIDDLE = 4

Change = Callable[[Path, Path], None]


def after(items: int, change: Callable[[], None]) -> Callable[[int, int], None]:
    """Return a progress function that makes ``change`` when ``items`` are done."""

    def report(done: int, total: int) -> None:
        if done == items:
            change()

    return report


# ── folders that change during a batch ───────────────────────────────────────────────────


def rename_folder(folder: Path, outside: Path) -> None:
    (folder / "p/q").rename(folder / "p/old")


def rename_parent(folder: Path, outside: Path) -> None:
    (folder / "p").rename(folder / "old")


def recreate_folder(folder: Path, outside: Path) -> None:
    shutil.rmtree(folder / "p")
    (folder / "p/q").mkdir(parents=True)


def delete_parent(folder: Path, outside: Path) -> None:
    shutil.rmtree(folder / "p")


def delete_root(folder: Path, outside: Path) -> None:
    shutil.rmtree(folder)


def link_inside(folder: Path, outside: Path) -> None:
    (folder / "p/q").rename(folder / "old")
    (folder / "new").mkdir()
    (folder / "p/q").symlink_to("../new")


@pytest.mark.parametrize(
    "change",
    [rename_folder, rename_parent, recreate_folder, delete_parent, delete_root, link_inside],
)
@pytest.mark.parametrize("threads", [1, 4])
def test_later_items_are_at_their_path(
    rooted: DiskBackend, folder: Path, tmp_path: Path, change: Change, threads: int
) -> None:
    """Later items are found at their path, and not in the folder that lost its name."""
    rooted.save_batch(
        IMAGES, PATHS, progress=after(MIDDLE, lambda: change(folder, tmp_path)), threads=threads
    )
    # With threads, some items are being saved at the moment of the change.
    ahead = 0 if threads == 1 else 2 * threads + 1
    for path, expected in list(zip(PATHS, IMAGES, strict=True))[MIDDLE + ahead :]:
        assert_same(rooted.load(path), expected)


def move_out(folder: Path, outside: Path) -> None:
    (folder / "p/q").rename(outside / "q")
    (folder / "p/q").symlink_to(outside / "q")


def move_parent_out(folder: Path, outside: Path) -> None:
    (folder / "p").rename(outside / "p")
    (folder / "p").symlink_to(outside / "p")


def link_out(folder: Path, outside: Path) -> None:
    shutil.copytree(folder / "p", outside / "p")
    shutil.rmtree(folder / "p")
    (folder / "p").symlink_to(outside / "p")


@pytest.mark.parametrize("change", [move_out, move_parent_out, link_out])
def test_batch_stays_inside(
    rooted: DiskBackend, folder: Path, tmp_path: Path, change: Change
) -> None:
    """A link replaces the folder and leads out of the root, in some cases to the same folder."""
    outside = tmp_path / "outside"
    outside.mkdir()
    progress = after(MIDDLE, lambda: change(folder, outside))
    with pytest.raises(BatchError) as caught:
        rooted.save_batch(IMAGES, PATHS, progress=progress, threads=1)
    assert caught.value.done == tuple(PATHS[:MIDDLE])
    assert [type(error) for _, error in caught.value.failed.values()] == [PathOutsideRootError]
    assert sorted(path.name for path in outside.rglob("*.npy")) == [
        f"{n}.npy" for n in range(MIDDLE)
    ]


@pytest.mark.parametrize("change", [move_out, move_parent_out, link_out])
def test_loading_stays_inside(
    rooted: DiskBackend, folder: Path, tmp_path: Path, change: Change
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    rooted.save_batch(IMAGES, PATHS)
    progress = after(MIDDLE, lambda: change(folder, outside))
    with pytest.raises(BatchError) as caught:
        rooted.load_batch(PATHS, progress=progress, threads=1)
    assert caught.value.done == tuple(PATHS[:MIDDLE])
    assert {type(error) for _, error in caught.value.failed.values()} == {PathOutsideRootError}


# ── links to files ───────────────────────────────────────────────────────────────────────


def test_link_to_file_is_followed(rooted: DiskBackend, folder: Path) -> None:
    rooted.save_batch(IMAGES, PATHS)
    (folder / "p/q/link.npy").symlink_to("../other.npy")
    paths = [PATHS[0], "p/q/link.npy"]
    rooted.save_batch([image(20), image(21)], paths)
    assert (folder / "p/q/link.npy").is_symlink()
    assert_same(rooted.load("p/other.npy"), image(21))
    for value, expected in zip(rooted.load_batch(paths), [image(20), image(21)], strict=True):
        assert_same(value, expected)


@pytest.mark.parametrize("operation", ["save", "load"])
def test_link_to_outside_is_refused(
    rooted: DiskBackend, folder: Path, tmp_path: Path, operation: str
) -> None:
    secret = tmp_path / "secret.npy"
    secret.write_bytes(b"secret")
    rooted.save_batch(IMAGES, PATHS)
    (folder / "p/q/link.npy").symlink_to(secret)
    paths = [*PATHS[:3], "p/q/link.npy"]
    values = [IMAGES[:4]] if operation == "save" else []
    batch: Callable[..., Any] = getattr(rooted, f"{operation}_batch")
    with pytest.raises(BatchError) as caught:
        batch(*values, paths)
    assert [type(error) for _, error in caught.value.failed.values()] == [PathOutsideRootError]
    assert caught.value.failed_index == 3
    assert secret.read_bytes() == b"secret"


@pytest.mark.parametrize("path", ["p/../../a.npy", "p/../a.npy", "../a.npy", "/p/q/a.npy"])
def test_path_out_is_refused(rooted: DiskBackend, tmp_path: Path, path: str) -> None:
    with pytest.raises(BatchError) as caught:
        rooted.save_batch(IMAGES[:3], [*PATHS[:2], path])
    assert caught.value.done == tuple(PATHS[:2])
    assert [type(error) for _, error in caught.value.failed.values()] == [PathOutsideRootError]
    assert not list(tmp_path.rglob("a.npy"))


@pytest.mark.parametrize("path", ["p//q/a.npy", "./p/q/a.npy", "p/./q/a.npy", "a.npy"])
def test_odd_path_is_the_same_file(rooted: DiskBackend, folder: Path, path: str) -> None:
    rooted.save_batch(IMAGES[:3], [*PATHS[:2], path])
    assert (folder / path).is_file()
    assert_same(rooted.load_batch([PATHS[0], path])[1], IMAGES[2])


# ── descriptors ──────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("change", [False, True], ids=["still", "changing"])
def test_many_folders_need_few_descriptors(
    rooted: DiskBackend,
    folder: Path,
    threads: int,
    change: bool,
    descriptors: Callable[[], int],
) -> None:
    """Use 300 folders, or one folder that is renamed after each item."""
    paths = [f"a/b/{n}/{i}.npy" for n in range(300) for i in range(2)]
    values = [image()] * len(paths)
    if change:
        paths = [f"a/b/c/{n}.npy" for n in range(len(paths))]
    most = 0

    def watch(done: int, total: int) -> None:
        nonlocal most
        most = max(most, descriptors())
        if change and (folder / "a/b").exists():
            (folder / "a/b").rename(folder / f"a/{done}")

    before = descriptors()
    rooted.save_batch(values, paths, threads=threads, progress=watch)
    assert most - before < 64 + 100  # Eight threads have files and folders open.
    assert descriptors() <= before + 1  # One descriptor more, for the root.
    assert len(rooted.list_files(".", recursive=True)) == len(paths)
    if not change:
        assert len(rooted.load_batch(paths, threads=threads)) == len(paths)
    assert descriptors() <= before + 1


@pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")
@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_interrupted_batch_closes_folders(
    rooted: DiskBackend,
    threads: int,
    error: type[BaseException],
    descriptors: Callable[[], int],
) -> None:
    def interrupt() -> None:
        raise error

    rooted.save(image(), "0.npy")
    before = descriptors()
    paths: list[Any] = [f"{n}/a/b.npy" for n in range(20)]
    progress = after(10, interrupt)
    with pytest.raises(error):
        rooted.save_batch([image()] * 20, paths, threads=threads, progress=progress)
    assert descriptors() <= before
    rooted.save_batch([image()] * 20, paths)
    with pytest.raises(error):
        rooted.load_batch(paths, threads=threads, progress=progress)
    assert descriptors() <= before
