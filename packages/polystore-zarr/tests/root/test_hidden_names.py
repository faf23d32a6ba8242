"""Hidden names next to a store that an attacker has replaced by links out of the root."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import LazyArray, lock_path
from polystore_core.errors import PathOutsideRootError, PolystoreError, StorageError

from .trees import IMAGE, NEW, OURS, PLAIN, SHAPE, needs_dir_fd, snapshot

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from polystore_core import Region
    from polystore_zarr.backend import ZarrBackend

pytestmark = needs_dir_fd


class WatchedPixels(LazyArray):
    """Pixels that call a function when they are read, in the middle of a save."""

    shape = SHAPE
    dtype = NEW.dtype

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __getitem__(self, region: Region) -> Any:
        self.then()
        return NEW[region]


def hidden_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.startswith(".~ps-"))


@pytest.mark.parametrize("is_empty", [True, False])
@pytest.mark.parametrize("path", ["a.zarr", "new.zarr", "g.zarr"])
def test_workspace_that_is_a_link(
    backend: ZarrBackend, root: Path, outside: Path, path: str, is_empty: bool
) -> None:
    """Such a workspace is not filled or emptied. The save uses another one, or is refused."""
    node = f"{path}/b" if path == "g.zarr" else path
    names: list[Path] = []

    def look() -> None:
        names.extend(found for found in root.glob(".~ps-*") if found.is_dir())

    backend.save(WatchedPixels(look), node, **PLAIN)
    assert names, "no workspace was found, so this test proves nothing"
    assert not any(place.exists() for place in names)
    target = outside
    if is_empty:
        target = outside.parent / "empty"
        target.mkdir()
    for place in set(names):
        place.symlink_to(target)
    before = snapshot(target)
    for attempt in (
        partial(backend.save, NEW, node, **PLAIN),
        partial(backend.save, NEW + 1, node, durable=True),
        partial(backend.delete, node),
        partial(backend.save, NEW, node, if_exists="error"),
    ):
        try:
            attempt()
        except PolystoreError as error:
            assert isinstance(error, PathOutsideRootError | StorageError)  # noqa: PT017
        assert snapshot(target) == before


@pytest.mark.parametrize("path", ["a.zarr", "g.zarr/h/a", "i.ome.zarr"])
@pytest.mark.parametrize("depth", ["", "1"])
def test_aside_that_is_a_link(
    backend: ZarrBackend, root: Path, outside: Path, path: str, depth: str
) -> None:
    """Trees that were moved aside into a folder outside are not restored from there."""
    store = path.partition("/")[0]
    kept = outside.parent / "kept"
    shutil.copytree(outside / store, kept / "1" / store)
    lock = root / f".~ps-{store}.lock"
    lock.touch()
    aside = root / f".~ps-{store}.aside"
    if depth:
        aside.mkdir()
        (aside / depth).symlink_to(kept / depth)
    else:
        aside.symlink_to(kept)
    before = snapshot(kept)
    shutil.rmtree(root / store)  # as if the tree had been moved aside
    for attempt in (
        partial(backend.load, path),
        partial(backend.list_files, ".", recursive=True),
        partial(backend.save, NEW, path, **PLAIN),
        partial(backend.load, path),
        partial(backend.delete, path),
    ):
        try:
            found = attempt()
        except PolystoreError:
            continue
        finally:
            assert snapshot(kept) == before
        if isinstance(found, np.ndarray):
            np.testing.assert_array_equal(found, NEW)


def test_tree_moved_aside_is_a_link(backend: ZarrBackend, root: Path, outside: Path) -> None:
    """The link is restored as a link, and it is not followed."""
    (root / ".~ps-a.zarr.lock").touch()
    (root / ".~ps-a.zarr.aside/1").mkdir(parents=True)
    (root / ".~ps-a.zarr.aside/1/a.zarr").symlink_to(outside / "a.zarr")
    shutil.rmtree(root / "a.zarr")
    with pytest.raises(PolystoreError):
        backend.load("a.zarr")
    with pytest.raises(PolystoreError):
        backend.save(NEW, "a.zarr")


@pytest.mark.parametrize("target", ["new.lock", "precious"])
@pytest.mark.parametrize("path", ["a.zarr", "p.ome.zarr/B/03/0"])
def test_lock_that_is_a_link(
    backend: ZarrBackend, root: Path, outside: Path, path: str, target: str
) -> None:
    """No file outside is made, opened or locked."""
    store = path.partition("/")[0]
    name = root / lock_path(root / store).rpartition("/")[2]
    name.unlink(missing_ok=True)
    kept = outside.parent / "kept"
    kept.mkdir()
    (kept / "precious").write_text("precious")
    name.symlink_to(kept / target)
    before = snapshot(kept)
    options = IMAGE if "ome" in path else PLAIN
    for attempt in (
        partial(backend.save, NEW, path, **options),
        partial(backend.save, NEW, path, if_exists="skip", **options),
        partial(backend.save, NEW[:5, :5], path, region=np.s_[:5, :5], unaligned="lock"),
        partial(backend.move, "inside.zarr", path),
        partial(backend.load, path),
        partial(backend.delete, path),
    ):
        try:
            attempt()
        except PolystoreError:
            continue
        finally:
            assert snapshot(kept) == before
    assert (kept / "precious").read_text() == "precious"


def test_lock_in_an_array_is_not_outside(
    backend: ZarrBackend, root: Path, outside: Path
) -> None:
    """The lock of a region write is not made outside, for any name that it has."""
    region = np.s_[:5, :5]
    before = set(root.rglob(".~ps-*.lock"))
    backend.save(NEW[:5, :5], "g.zarr/h/a", region=region, unaligned="lock")
    locks = set(root.rglob(".~ps-*.lock")) - before
    kept = outside.parent / "kept"
    kept.mkdir()
    for lock in locks:
        lock.unlink()
        lock.symlink_to(kept / "new.lock")
    try:
        backend.save(NEW[:5, :5] + 1, "g.zarr/h/a", region=region, unaligned="lock")
    except PolystoreError:
        np.testing.assert_array_equal(backend.load("g.zarr/h/a")[:5, :5], NEW[:5, :5])
    assert list(kept.iterdir()) == []
    np.testing.assert_array_equal(backend.load("g.zarr/h/a")[5:], OURS[5:])


def test_no_hidden_name_stays(backend: ZarrBackend, root: Path, outside: Path) -> None:
    """Refused calls remove their temporary files, as other calls do."""
    before = hidden_names(root)
    (root / "l").symlink_to(outside / "f")
    for path in ("l/a.zarr", "l/new.tif", "l/x.ome.zarr/A/01/0"):
        with pytest.raises(PathOutsideRootError):
            backend.save(NEW, path)
    assert hidden_names(root) == before


@pytest.mark.skipif(sys.platform != "linux", reason="system: no mount namespaces")
def test_system_without_proc(tmp_path: Path) -> None:
    """Systems other than Linux, and a chroot, have no names for open folders."""
    script = (
        "import sys, numpy as np\n"
        "from polystore_zarr.backend import ZarrBackend\n"
        "backend = ZarrBackend(root=sys.argv[1])\n"
        "for number in range(3):\n"
        "    backend.save(np.full((3, 4), number), 'g/x.zarr/a')\n"
        "backend.delete('g/x.zarr/a')\n"
        "backend.delete('g', recursive=True)\n"
    )
    inside = 'mount -t tmpfs none /proc && exec "$@"'
    command = ["unshare", "--map-root-user", "--mount", "sh", "-c", inside, "sh"]
    if not shutil.which("unshare") or subprocess.run([*command, "true"]).returncode:
        pytest.skip("system: no mount namespace, in which /proc could be hidden")
    subprocess.run([*command, sys.executable, "-c", script, tmp_path], check=True, timeout=60)
    assert [name for name in os.listdir(tmp_path) if not name.endswith(".lock")] == []
