"""Each source is read once, for any number of virtual paths to it."""

import threading

import numpy as np
import pytest

from polystore_core import (
    BackendRegistry,
    ByteStore,
    DataSource,
    FileBackend,
    FileManager,
    Stat,
)
from polystore_core.errors import BatchError
from polystore_disk.backend import DiskBackend
from polystore_workspace import Reference, Workspace
from polystore_zarr.backend import ZarrBackend

CALLS = []


class CountingDisk(DiskBackend):
    _backend_type = "workspace_counting_disk"

    def _load(self, store, path, region, options, memory):
        CALLS.append(("load", path))
        return super()._load(store, path, region, options, memory)

    def open(self, path, /, **options):
        CALLS.append(("open", path))
        return CountingHandle(super().open(path, **options))


class CountingZarr(ZarrBackend):
    _backend_type = "workspace_counting_zarr"

    def open(self, path, /, **options):
        CALLS.append(("open", path))
        return CountingHandle(super().open(path, **options))


class CountingHandle:
    """A handle that records each read."""

    def __init__(self, handle):
        self._handle = handle

    def __getattr__(self, name):
        return getattr(self._handle, name)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._handle.close()

    def __getitem__(self, region):
        CALLS.append(("read", region[0]))
        return self._handle[region]


class CountingStore(ByteStore):
    """Values in a dict, which are only read whole."""

    def __init__(self):
        self.values = {}

    def stat(self, key, /):
        return Stat(key, size=len(self.read(key, 0, 0) or self.values[key]))

    def read(self, key, start=0, stop=None, /):
        if key not in self.values:
            raise FileNotFoundError(key)
        if stop is None:
            CALLS.append(("read", key))
        return self.values[key][start:stop]

    def put(self, key, content, /, *, if_exists="replace"):
        self.values[key] = bytes(content)

    def delete(self, key, /):
        self.values.pop(key, None)

    def scan(self, folder="", /):
        return [Stat(key) for key in self.values if key.startswith(folder)]


class OnlyLoads(DataSource):
    _backend_type = "workspace_only_loads"

    def load(self, path, /):
        CALLS.append(("load", path))
        return np.arange(500 * 6, dtype="uint16").reshape(500, 2, 3)


@pytest.fixture
def fm(tmp_path):
    CALLS.clear()
    registry = BackendRegistry()
    registry.add("ws", "virtual_workspace", file=tmp_path / "ws.json")
    return FileManager(registry)


def planes(backend, address, count, *axes):
    return {f"z{n}.npy": Reference(backend, address, (*axes, n)) for n in range(count)}


def test_stack_of_500_is_opened_once(fm, tmp_path):
    stack = np.arange(500 * 6, dtype="uint16").reshape(500, 2, 3)
    fm.save(stack, tmp_path / "a.tif", "disk")
    entries = planes("workspace_counting_disk", "a.tif", 500)
    Workspace(entries).save(tmp_path / "ws.json")
    paths = list(reversed(entries))
    values = fm.load_batch(paths, "ws")
    np.testing.assert_array_equal(values, stack[::-1])
    assert all(value.base is None for value in values)
    assert CALLS[0] == ("open", "a.tif")
    assert CALLS[1:] == [("read", slice(0, 500))]


def test_source_without_partial_reads(fm, tmp_path):
    """An object store has such values: a lazy handle would read the whole value for each part."""
    fm.registry.add("mine", FileBackend(CountingStore()))
    stack = OnlyLoads().load("a")
    fm.save(stack, "a.tif", "mine")
    for backend, address in (("mine", "a.tif"), ("workspace_only_loads", "a")):
        entries = planes(backend, address, 500)
        Workspace(entries).save(tmp_path / "ws.json")
        CALLS.clear()
        values = fm.load_batch(list(entries), "ws", region=np.s_[..., 1:])
        np.testing.assert_array_equal(values, stack[..., 1:])
        assert len(CALLS) == 1
        np.testing.assert_array_equal(fm.load("z3.npy", "ws", region=1), stack[3, 1])


def load_and_compare(fm, paths, **options):
    """Load a batch of images, and compare each one with the result of a single load."""
    images = fm.load_batch(paths, "ws", as_="image", **options)
    for path, image in zip(paths, images, strict=True):
        alone = fm.load(path, "ws", as_="image", **options)
        assert image.metadata == alone.metadata
        np.testing.assert_array_equal(image.data, alone.data)
    return images


@pytest.mark.parametrize("region", [None, np.s_[1:, ::2]])
def test_images_of_stack_are_read_once(fm, tmp_path, region):
    fm.registry.add("mine", FileBackend(CountingStore()))
    stack = np.arange(40 * 6, dtype="uint16").reshape(10, 4, 6)
    metadata = {"axes": "zyx", "scale": (2, 0.5, 0.25), "units": "micrometer"}
    fm.save(stack, tmp_path / "a.ome.tif", "disk", **metadata)
    fm.save(stack, "a.ome.tif", "mine", **metadata)
    for backend, kinds in (
        ("workspace_counting_disk", ["open", "read", "read"]),  # These are the planes 2 and 7.
        ("mine", ["read"]),
    ):
        entries = planes(backend, "a.ome.tif", 10)
        entries["all.tif"] = Reference("disk", "a.ome.tif")
        Workspace(entries).save(tmp_path / "ws.json")
        paths = ["z7.npy", "z2.npy", "all.tif", "z7.npy"]
        load_and_compare(fm, paths, **({} if region is None else {"region": region}))
        CALLS.clear()
        images = fm.load_batch(paths, "ws", as_="image")
        assert [kind for kind, _ in CALLS] == kinds
        assert ["".join(image.axes) for image in images] == ["yx", "yx", "zyx", "yx"]
        assert images[0].metadata.scale == (0.5, 0.25)
        assert not np.shares_memory(images[0].data, images[3].data)


def test_images_without_axes_raise(fm, tmp_path):
    fm.save(np.zeros((3, 4)), tmp_path / "a.npy", "disk")
    Workspace(planes("disk", "a.npy", 3)).save(tmp_path / "ws.json")
    with pytest.raises(BatchError, match="does not name its axes") as caught:
        fm.load_batch(["z0.npy", "z1.npy"], "ws", as_="image")
    assert len(caught.value.failed) == 2
    for backend in ("ws", "disk"):
        with pytest.raises(BatchError, match="no option 'levl'"):
            fm.load_batch(["z0.npy"], backend, as_="image", levl=1)


def test_large_stack_is_read_in_parts(fm, tmp_path):
    """Needs memory for the requested planes and for 32 MiB of the stack."""
    stack = np.arange(40, dtype="uint8")[:, None, None].repeat(1 << 20, axis=2)
    fm.save(stack, tmp_path / "a.npy", "disk")
    entries = planes("workspace_counting_disk", "a.npy", 40)
    Workspace(entries).save(tmp_path / "ws.json")
    wanted = [n for n in range(40) if n not in (2, 3)]
    values = fm.load_batch([f"z{n}.npy" for n in wanted], "ws", region=np.s_[0, :3])
    assert [value.tolist() for value in values] == [[n] * 3 for n in wanted]
    assert [part for kind, part in CALLS if kind == "read"] == [
        slice(0, 2),
        slice(4, 36),
        slice(36, 40),
    ]


def test_chunks_are_read_once(fm, tmp_path):
    stack = np.arange(2 * 20 * 6, dtype="uint16").reshape(2, 20, 6)
    fm.save(stack, tmp_path / "a.zarr/x", "zarr", chunks=(1, 8, 6))
    entries = planes("workspace_counting_zarr", "a.zarr/x", 20, 1)
    Workspace(entries).save(tmp_path / "ws.json")
    wanted = [n for n in range(20) if n not in (0, 12)]
    values = fm.load_batch([f"z{n}.npy" for n in wanted], "ws", region=np.s_[..., 1:3])
    np.testing.assert_array_equal(values, stack[1, wanted, 1:3])
    assert [kind for kind, _ in CALLS] == ["open", "read"]
    CALLS.clear()
    fm.load_batch([f"z{n}.npy" for n in (0, 3, 17, 19, 1)], "ws")
    assert [kind for kind, _ in CALLS] == ["open", "read", "read"]


def test_whole_values_and_options_are_read_once(fm, tmp_path):
    stack = np.arange(12.0).reshape(3, 4)
    fm.save(stack, tmp_path / "a.npy", "disk")
    fm.save({"a": [1]}, tmp_path / "b.json", "disk")
    entries = planes("workspace_counting_disk", "a.npy", 2)
    entries["all.npy"] = Reference("workspace_counting_disk", "a.npy")
    for name in ("one.json", "two.json"):
        entries[name] = Reference("workspace_counting_disk", "b.json")
    Workspace(entries).save(tmp_path / "ws.json")
    found = fm.load_batch([*entries, "all.npy"], "ws")
    for value, expected in zip(found[:3], (stack[0], stack[1], stack), strict=True):
        np.testing.assert_array_equal(value, expected)
    assert found[3] == found[4] == {"a": [1]}
    assert found[3]["a"] is not found[4]["a"]
    assert not np.shares_memory(found[2], found[5])
    assert CALLS == [("load", "a.npy"), ("load", "b.json")]


@pytest.mark.parametrize("threads", [None, 1, 3])
def test_many_stacks_in_any_order(fm, tmp_path, threads):
    """The paths are interleaved.

    Each stack is opened once, and each failure names its own path.
    """
    entries, stacks = {}, {}
    for letter in "abc":
        stacks[letter] = np.random.default_rng(ord(letter)).random((4, 3))
        fm.save(stacks[letter], tmp_path / f"{letter}.npy", "disk")
        for n in range(4):
            entries[f"{n}/{letter}.npy"] = Reference("disk", f"{letter}.npy", (n,))
    Workspace(entries).save(tmp_path / "ws.json")
    paths = sorted(entries)
    seen = []

    def progress(done, total):
        assert threading.current_thread() is threading.main_thread()
        seen.append((done, total))

    found = fm.load_batch(paths, "ws", progress=progress, threads=threads)
    for path, value in zip(paths, found, strict=True):
        np.testing.assert_array_equal(value, stacks[path[2]][int(path[0])])
    assert seen == [(n + 1, 12) for n in range(12)]
    (tmp_path / "b.npy").write_bytes(b"no array")
    with pytest.raises(BatchError) as caught:
        fm.load_batch([*paths, "nothing.npy"], "ws", threads=threads)
    failed = [path for path, _ in caught.value.failed.values()]
    assert failed == ["0/b.npy", "1/b.npy", "2/b.npy", "3/b.npy", "nothing.npy"]
    assert sorted(caught.value.done) == [path for path in paths if "b" not in path]


def test_failing_progress_ends_the_batch(fm, tmp_path):
    fm.save(np.zeros((4, 3)), tmp_path / "a.npy", "disk")
    fm.save(np.zeros((4, 3)), tmp_path / "b.npy", "disk")
    entries = planes("disk", "a.npy", 4)
    entries |= {"a.npy": Reference("disk", "a.npy"), "b.npy": Reference("disk", "b.npy")}
    Workspace(entries).save(tmp_path / "ws.json")

    def stop(done, total):
        raise RuntimeError("enough")

    for paths in (list(entries), ["a.npy", "b.npy"], ["z1.npy", "z2.npy"]):
        for threads in (1, 2):
            with pytest.raises(RuntimeError, match="enough"):
                fm.load_batch(paths, "ws", progress=stop, threads=threads)


def test_large_stacks_are_read_in_threads(fm, tmp_path):
    stacks = np.random.default_rng(0).integers(0, 99, (5, 8, 1 << 20), "uint8")
    fm.save_batch(list(stacks), [tmp_path / f"{n}.npy" for n in range(5)], "disk")
    entries = {
        f"{z}/{n}.npy": Reference("workspace_counting_disk", f"{n}.npy", (z,))
        for z in range(8)
        for n in range(5)
    }
    Workspace(entries).save(tmp_path / "ws.json")
    for path, value in zip(entries, fm.load_batch(list(entries), "ws"), strict=True):
        np.testing.assert_array_equal(value, stacks[int(path[2]), int(path[0])])
    assert [kind for kind, _ in CALLS].count("open") == 5
