"""Batches of values in stores without files."""

import threading

import numpy as np
import pytest

from polystore_core import Sink, StoreFeatures
from polystore_core.errors import (
    BatchError,
    BatchLengthError,
    DuplicatePathError,
    DurabilityUnknownError,
    InvalidOptionError,
    StorageError,
    UnsupportedDataError,
)

from .stores import Flat, Full

BOTH = pytest.mark.parametrize("kind", [Flat, Full])
THREADS = pytest.mark.parametrize("threads", [None, 1, 4])
PATHS = [f"f/{index}.npy" for index in range(100)]
ARRAYS = [np.full(5, index) for index in range(100)]


def list_puts(backend):
    return [call.split()[1] for call in backend.store.calls if call.startswith("put")]


@BOTH
@THREADS
def test_values_are_saved_in_order(make_backend, kind, threads):
    backend = make_backend(kind)
    done = []
    progress = {"progress": lambda *counts: done.append(counts)}
    backend.save_batch(ARRAYS, PATHS, threads=threads, **progress)
    assert list_puts(backend) == PATHS
    assert done == [(count, 100) for count in range(1, 101)]
    loaded = backend.load_batch(PATHS[::-1], threads=threads, **progress)
    assert [array[0] for array in loaded] == list(range(100))[::-1]
    assert done[100:] == done[:100]


@BOTH
@THREADS
@pytest.mark.parametrize("bad", [0, 50, 99])
def test_saving_stops_at_the_first_failure(make_backend, kind, threads, bad):
    backend = make_backend(kind)
    backend.save(np.zeros(1), PATHS[99])
    data = [*ARRAYS]
    data[bad] = {1: 2}
    done = []
    with pytest.raises(BatchError) as raised:
        backend.save_batch(
            data, PATHS, threads=threads, progress=lambda *counts: done.append(counts)
        )
    error = raised.value
    assert (error.backend, error.operation, error.failed_index) == ("x", "save", bad)
    path, cause = error.failed[bad]
    assert (path, type(cause)) == (PATHS[bad], UnsupportedDataError)
    assert error.done == tuple(PATHS[:bad])
    assert error.not_attempted == tuple(PATHS[bad + 1 :])
    assert len(done) == bad
    assert [backend.exists(path) for path in PATHS[:99]] == [n < bad for n in range(99)]
    assert len(backend.load(PATHS[99])) == 1


@THREADS
def test_loading_tries_all(make_backend, threads):
    backend = make_backend(Flat)
    backend.save_batch(ARRAYS, PATHS)
    for index in (3, 97):
        backend.delete(PATHS[index])
    with pytest.raises(BatchError) as raised:
        backend.load_batch(PATHS, threads=threads)
    assert sorted(raised.value.failed) == [3, 97]
    assert len(raised.value.done) == 98
    assert "'f/97.npy': NotFoundError: backend 'x': 'f/97.npy' does not" in str(raised.value)


@pytest.mark.parametrize("bad", ["/a.npy", "../a.npy", "s3://bucket/a.npy"])
@pytest.mark.parametrize("at", [0, 1])
def test_any_path_may_be_bad(make_backend, bad, at):
    backend = make_backend(Flat)
    backend.save(np.arange(3), "0.npy")
    paths = ["0.npy", "0.npy"]
    paths[at] = bad
    with pytest.raises(BatchError) as caught:
        backend.load_batch(paths)
    assert list(caught.value.failed) == [at]
    assert caught.value.done == ("0.npy",)


def test_paths_must_be_a_list(make_backend):
    with pytest.raises(InvalidOptionError, match="a list of paths"):
        make_backend(Flat).load_batch(iter(["0.npy", "1.npy"]))


def test_loading_takes_regions(make_backend):
    backend = make_backend(Flat)
    backend.save_batch(ARRAYS, PATHS)
    assert [part.tolist() for part in backend.load_batch(PATHS[:2], region=(slice(2),))] == [
        [0, 0],
        [1, 1],
    ]
    with pytest.raises(BatchError, match=r"regoin"):
        backend.load_batch(PATHS[:2], regoin=(0,))


def test_bad_batches_change_nothing(make_backend):
    backend = make_backend(Flat)
    with pytest.raises(BatchLengthError):
        backend.save_batch(ARRAYS[:2], PATHS[:1])
    with pytest.raises(DuplicatePathError, match=r"'\./f//0\.npy'"):
        backend.save_batch(ARRAYS[:2], ["f/0.npy", "./f//0.npy"])
    assert backend.store.values == {}
    backend.save_batch([], [])
    assert backend.load_batch([]) == []


def test_skip_in_a_batch(make_backend):
    backend = make_backend(Flat)
    backend.save(np.zeros(1), PATHS[1])
    done = []
    backend.save_batch(
        ARRAYS[:3], PATHS[:3], if_exists="skip", progress=lambda *counts: done.append(counts)
    )
    assert [len(array) for array in backend.load_batch(PATHS[:3])] == [5, 1, 5]
    assert len(done) == 3
    with pytest.raises(BatchError, match=r"\[0\] 'f/0\.npy': AlreadyExistsError"):
        backend.save_batch(ARRAYS[:3], PATHS[:3], if_exists="error")


class Threaded(Flat):
    """Like a distant server: each of four readers waits for the others."""

    features = StoreFeatures(threads=4)

    def read(self, key, start=0, stop=None, /):
        MEETING.wait()
        return super().read(key, start, stop)


MEETING = threading.Barrier(4, timeout=60)


@pytest.mark.timeout(120)
def test_store_asks_for_threads(make_backend):
    backend = make_backend(Threaded)
    backend.save_batch(ARRAYS[:8], PATHS[:8])
    assert [array[0] for array in backend.load_batch(PATHS[:8])] == list(range(8))


# ── sinks of a store ─────────────────────────────────────────────────────────────────────


class Steps(Sink):
    """Records each call."""

    def __init__(self, store, key, durable, inner):
        self.store, self.key, self.durable, self.inner = store, key, durable, inner
        self.file = inner.file
        self.flushed = False
        store.open_sinks.add(self)

    def log(self, step):
        self.store.calls.append(f"{step} {self.key}")

    @property
    def wants_flush(self):
        return bool(self.durable) and not self.flushed

    def seal(self, *, flush=True):
        self.inner.seal()
        self.log("seal")
        if flush:
            self.flush()

    def flush(self):
        if self.wants_flush:
            self.log("flush")
            if self.key in self.store.unflushable:
                raise OSError(5, "Input/output error", self.key)
            self.flushed = True

    def commit(self):
        self.log("commit")
        self.inner.commit()

    def discard(self):
        self.store.open_sinks.discard(self)
        self.inner.discard()


class Durable(Flat):
    features = StoreFeatures(create_only="all", durable=True)

    def __init__(self, space):
        super().__init__(space)
        self.open_sinks = set()
        self.unflushable = set()
        self.lost = {}

    def sink(self, key, /, *, if_exists="replace", durable=None):
        return Steps(self, key, durable, super().sink(key, if_exists=if_exists))

    def sync(self, keys, /):
        self.calls.append(f"sync {' '.join(keys)}")
        return {key: self.lost[key] for key in keys if key in self.lost}


NAMES = ["a.json", "b.json", "c.json"]


@THREADS
def test_sinks_are_sealed_flushed_and_committed(make_backend, threads):
    backend = make_backend(Durable)
    backend.save_batch([[1], [2], [3]], NAMES, durable=True, threads=threads)
    steps = [call for call in backend.store.calls if not call.startswith("put")]
    assert sorted(steps[:6]) == sorted(f"{s} {n}" for s in ("seal", "flush") for n in NAMES)
    assert steps[6:] == [*(f"commit {name}" for name in NAMES), "sync a.json b.json c.json"]
    assert not backend.store.open_sinks


def test_one_value_is_flushed_and_synced(make_backend):
    backend = make_backend(Durable)
    backend.save([1], "a.json", durable=True)
    steps = [call for call in backend.store.calls if not call.startswith("put")]
    assert steps == ["seal a.json", "flush a.json", "commit a.json", "sync a.json"]
    backend.store.calls.clear()
    backend.save([1], "b.json")
    assert backend.store.calls == ["seal b.json", "commit b.json", "put b.json replace"]


@THREADS
def test_failed_flush_stops_the_batch(make_backend, threads):
    backend = make_backend(Durable)
    backend.store.unflushable = {"b.json"}
    with pytest.raises(BatchError) as raised:
        backend.save_batch([[1], [2], [3]], NAMES, durable=True, threads=threads)
    assert raised.value.done == ("a.json",)
    assert raised.value.not_attempted == ("c.json",)
    assert str(raised.value.failed[1][1]) == (
        "backend 'x': 'b.json': cannot save: Input/output error"
    )
    assert sorted(backend.store.values) == ["a.json"]
    assert not backend.store.open_sinks


@pytest.mark.parametrize("lost", [OSError("server gone"), OSError(5, "Input/output error")])
def test_lost_sync_is_reported_for_its_values(make_backend, lost):
    backend = make_backend(Durable)
    backend.store.lost = {"b.json": lost}
    done = []
    with pytest.raises(BatchError) as raised:
        backend.save_batch(
            [[1], [2], [3]], NAMES, durable=True, progress=lambda *counts: done.append(counts)
        )
    assert raised.value.done == ("a.json", "c.json")
    assert list(raised.value.failed) == [1]
    path, error = raised.value.failed[1]
    assert (path, type(error), error.__cause__) == ("b.json", DurabilityUnknownError, lost)
    assert "cannot save" in str(error)
    assert "the new version is in place, but a power cut may restore the old one" in str(error)
    assert len(done) == 2
    with pytest.raises(DurabilityUnknownError, match=r"backend 'x': '\./b\.json'.* in place"):
        backend.save([4], "./b.json", durable=True)
    assert backend.load("b.json") == [4]


def test_interrupt_discards_all_sinks(make_backend):
    backend = make_backend(Durable)

    def strike(done, _):
        if done == 2:
            raise KeyboardInterrupt

    for threads in (1, 4):
        with pytest.raises(KeyboardInterrupt):
            backend.save_batch(
                [[index] for index in range(60)],
                [f"{threads}/{index}.json" for index in range(60)],
                threads=threads,
                progress=strike,
            )
        assert not backend.store.open_sinks
        assert f"{threads}/1.json" in backend.store.values


class Unreachable(Flat):
    def batch(self):
        raise ConnectionRefusedError(111, "Connection refused")


def test_batch_that_fails_to_begin(make_backend):
    backend = make_backend(Unreachable)
    for call, operation in [
        (lambda: backend.save_batch([[1]], ["a.json"]), "save"),
        (lambda: backend.load_batch(["a.json"]), "load"),
    ]:
        text = rf"backend 'x': cannot {operation}: Connection refused"
        with pytest.raises(StorageError, match=text):
            call()
