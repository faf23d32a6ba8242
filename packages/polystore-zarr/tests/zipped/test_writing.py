"""One call writes a whole archive, and nothing is ever added to it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import zarr

from polystore_core import BackendRegistry, FileManager, LazyArray, find_leftovers
from polystore_core.errors import (
    AlreadyExistsError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

from .archives import (
    PARTS,
    SHAPE,
    VALUE,
    find_hidden,
    members_of,
    read_all_files,
    zip_array,
    zip_group,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import Region
    from polystore_testing import Bound

same = np.testing.assert_array_equal
NEW_NAMES = ["x.zarr.zip", "x.ozx", "f/g/x.ome.zarr.zip", "X.OZX"]


class WatchedPixels(LazyArray):
    """Pixels that call a function when they are read, in the middle of a save."""

    shape = SHAPE
    dtype = VALUE.dtype

    def __init__(self, then: Callable[[], object]) -> None:
        self.then = then

    def __getitem__(self, region: Region) -> Any:
        self.then()
        return VALUE[region]


# ── new archives ─────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", NEW_NAMES)
def test_saved_array_round_trips(store: Bound, name: str) -> None:
    store.save(VALUE, name)
    same(store.load(name), VALUE)
    assert Path(name).is_file()
    assert store.is_file(name)
    assert store.list_files(".", recursive=True) == [name]
    assert find_hidden(os.path.dirname(name) or ".") == []
    assert "zarr.json" in members_of(name)


@pytest.mark.parametrize(
    "options",
    [
        PARTS,
        {"chunks": 8, "shards": (24, 24)},
        {"compressor": "zstd"},
        {"chunks": 16, "compressor": "gzip", "attributes": {"note": 1}},
        {"zarr_format": 2},
        {"fill_value": 7, "durable": True},
    ],
)
def test_zarr_python_reads_our_archives(store: Bound, options: dict[str, Any]) -> None:
    store.save(VALUE, "x.zarr.zip", **options)
    with zarr.storage.ZipStore("x.zarr.zip", mode="r") as zipped:
        found = zarr.open_array(zipped, mode="r")
        same(found[...], VALUE)
        assert options.get("attributes", {}).items() <= dict(found.attrs).items()


def test_image_has_its_levels(store: Bound) -> None:
    store.save(VALUE, "i.ozx", levels=2, scale=(0.5, 0.25), units="um")
    store.save(VALUE, "i.ome.zarr", levels=2, scale=(0.5, 0.25), units="um")
    assert store.info("i.ozx").metadata == store.info("i.ome.zarr").metadata
    same(store.load("i.ozx", level=1), store.load("i.ome.zarr", level=1))
    with zarr.storage.ZipStore("i.ozx", mode="r") as zipped:
        group = zarr.open_group(zipped, mode="r")
        same(group["0"][...], VALUE)
        assert group.attrs["ome"]["version"] == "0.5"


def test_name_decides_as_for_folders(store: Bound) -> None:
    """Names with ".ozx" and ".ome.zarr.zip" are images. By default, ".zarr.zip" is an array."""
    for name, options, image in (
        ("a.zarr.zip", {}, False),
        ("b.zarr.zip", {"ome": True, "levels": 1}, True),
        ("c.ome.zarr.zip", {}, True),
        ("d.ozx", {}, True),
    ):
        store.save(VALUE, name, **options)
        assert (store.info(name).format == "ome-zarr") is image


def test_many_values(store: Bound) -> None:
    paths = [f"f/{number}.ozx" for number in range(5)]
    store.save_batch([VALUE + number for number in range(5)], paths, levels=1)
    assert store.list_files("f") == paths
    for number, found in enumerate(store.load_batch(paths)):
        same(found, VALUE + number)


def test_dask_array_and_handle(store: Bound) -> None:
    da = pytest.importorskip("dask.array", reason="dask is not installed")
    store.save(da.from_array(VALUE, chunks=16), "d.zarr.zip")
    same(store.load("d.zarr.zip"), VALUE)
    store.save(store.open("d.zarr.zip"), "h.ozx", levels=2)
    same(store.load("h.ozx"), VALUE)


def test_mode_is_that_of_a_new_file(store: Bound) -> None:
    before = os.umask(0o027)
    try:
        store.save(VALUE, "x.zarr.zip")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat("x.zarr.zip").st_mode) == 0o640


# ── whole or not at all ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("is_present", [False, True])
def test_reader_sees_no_part(store: Bound, is_present: bool) -> None:
    if is_present:
        store.save(VALUE + 1, "x.zarr.zip", **PARTS)
    looks: list[Any] = []

    def look() -> None:
        if is_present:
            looks.append((store.load("x.zarr.zip") == VALUE + 1).all())
        else:
            looks.append(not os.path.exists("x.zarr.zip") and not store.exists("x.zarr.zip"))
        assert store.list_dir(".") == ["x.zarr.zip"] * is_present

    store.save(WatchedPixels(look), "x.zarr.zip", **PARTS)
    assert looks
    assert all(looks)
    same(store.load("x.zarr.zip"), VALUE)


@pytest.mark.parametrize("is_present", [False, True])
def test_failed_save_changes_nothing(store: Bound, is_present: bool) -> None:
    if is_present:
        store.save(VALUE + 1, "x.ozx", levels=1)
    before = read_all_files(".")

    def fail() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        store.save(WatchedPixels(fail), "x.ozx")
    with pytest.raises(UnsupportedDataError):
        store.save(np.array([object()]), "x.ozx")
    assert read_all_files(".") == before


KILLED = """
import os, signal
import numpy as np
from polystore_core import LazyArray
from polystore_zarr.backend import ZarrBackend

class Deadly(LazyArray):
    shape, dtype = (40, 36), np.dtype(np.uint16)
    def __getitem__(self, region):
        os.kill(os.getpid(), signal.SIGKILL)

ZarrBackend().save(Deadly(), "x.zarr.zip", chunks=16, shards=False)
"""


@pytest.mark.faults
@pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals")
@pytest.mark.parametrize("is_present", [False, True])
def test_killed_writer_leaves_no_archive(store: Bound, is_present: bool) -> None:
    if is_present:
        store.save(VALUE, "x.zarr.zip", **PARTS)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", KILLED]
    done = subprocess.run(command, check=False, env=environment)
    assert done.returncode == -signal.SIGKILL
    if is_present:
        same(store.load("x.zarr.zip"), VALUE)
    else:
        assert not store.exists("x.zarr.zip")
        assert store.list_dir(".") == []
    store.save(VALUE + 1, "x.zarr.zip", **PARTS)
    same(store.load("x.zarr.zip"), VALUE + 1)
    assert [name for name in find_hidden(".") if not name.endswith(".lock")] == []


# ── existing names ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["x.zarr.zip", "x.ozx", "y.zarr"])
def test_archive_is_replaced_whole(store: Bound, name: str) -> None:
    """An archive is one value. A zip stays a zip, with any name."""
    zip_array(name)
    store.save(VALUE + 1, name)
    same(store.load(name), VALUE + 1)
    assert zipfile.is_zipfile(name)


@pytest.mark.parametrize("name", ["x.zarr.zip", "x.ozx"])
def test_existing_archive_may_stay(store: Bound, name: str) -> None:
    zip_array(name)
    store.save(VALUE + 1, name, if_exists="skip")
    with pytest.raises(AlreadyExistsError):
        store.save(VALUE + 1, name, if_exists="error")
    same(store.load(name), VALUE)
    store.save(VALUE, f"new-{name}", if_exists="error")
    same(store.load(f"new-{name}"), VALUE)


def test_labels_are_not_lost(store: Bound) -> None:
    """An image that is saved again keeps its labels, in an archive as in a folder."""
    store.save(VALUE, "i.ome.zarr", levels=1)
    store.save(VALUE.astype("u1"), "i.ome.zarr/labels/n")
    store.copy("i.ome.zarr", "i.ozx")
    try:
        store.save(VALUE + 1, "i.ozx")
    except UnsupportedOperationError as error:
        assert "labels" in str(error)  # noqa: PT017
        same(store.load("i.ozx"), VALUE)
    else:
        same(store.load("i.ozx"), VALUE + 1)
    same(store.load("i.ozx/labels/n"), VALUE.astype("u1"))


@pytest.mark.parametrize("what", ["group", "other zip", "text", "folder"])
def test_nothing_else_is_replaced(store: Bound, what: str) -> None:
    name = "x.zarr.zip"
    if what == "group":
        zip_group(name)
    elif what == "other zip":
        with zipfile.ZipFile(name, "w") as archive:
            archive.writestr("precious.txt", "precious")
    elif what == "text":
        Path(name).write_text("precious")
    else:
        os.makedirs(f"{name}/precious")
    before = read_all_files(".")
    with pytest.raises(PolystoreError):
        store.save(VALUE, name)
    with pytest.raises(PolystoreError):
        store.save(VALUE, name, if_exists="skip")
    assert read_all_files(".") == before
    assert os.path.exists(name)


@pytest.mark.slow
@pytest.mark.timeout(120)
@pytest.mark.parametrize("if_exists", ["error", "replace"])
def test_several_writers(store: Bound, if_exists: str) -> None:
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(3) as pool:
        jobs = [(os.getcwd(), seed, if_exists) for seed in range(1, 4)]
        won = pool.starmap(_write, jobs)
    found = store.load("x.zarr.zip")
    assert (found == found.flat[0]).all()
    assert won[int(found.flat[0]) - 1]
    assert sum(won) == (1 if if_exists == "error" else 3)


def _write(folder: str, seed: int, if_exists: str) -> bool:
    os.chdir(folder)
    fm = FileManager(BackendRegistry())
    value = np.full((64, 64), seed, np.uint16)
    try:
        fm.save(value, "x.zarr.zip", backend="zarr", chunks=16, if_exists=if_exists)
    except AlreadyExistsError:
        return False
    return True


WRITING = """
import sys
import time
import numpy as np
from polystore_zarr.backend import ZarrBackend

backend = ZarrBackend()
print("ready", flush=True)
for seed in range(1, 60000):
    backend.save(np.full((256, 256), seed, np.uint16), "x.zarr.zip", chunks=32, shards=False)
"""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.skipif(sys.platform == "win32", reason="system: needs POSIX signals")
def test_writer_killed_at_any_moment(store: Bound) -> None:
    """A kill during building, packing or renaming leaves a whole archive. Then a save tidies up."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    rng = np.random.default_rng(7)
    for _ in range(12):
        command = [sys.executable, "-c", WRITING]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(float(rng.uniform(0.1, 0.3)))
            writer.kill()
        found = store.load("x.zarr.zip")
        assert found[0, 0] > 0
        assert (found == found[0, 0]).all()
        assert store.list_dir(".") == ["x.zarr.zip"]
    store.save(VALUE, "x.zarr.zip")
    left = [name for name in find_hidden(".") if not name.endswith(".lock")]
    time.sleep(0.02)  # the clock of the file system is coarse
    found = map(os.path.basename, find_leftovers(".", older_than=0))
    assert len(left) <= 2  # a file that was about to be renamed, as on disk
    assert set(left) <= set(found)
