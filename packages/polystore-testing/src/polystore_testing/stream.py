"""The table for whatever sends to a receiver: a viewer, or a script that listens."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    BatchError,
    InvalidOptionError,
    ReceiverError,
    ReceiverUnavailableError,
    RejectedError,
    UnsupportedDataError,
)

from .conformance import NAME, Bound
from .processes import becomes, runs
from .sink import SinkTests, _Unstorable
from .values import image, measured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from polystore_core import BackendRegistry, Pixels, Value

__all__ = ["StreamReceiver", "StreamTests", "ViewerProcess"]


class StreamReceiver(ABC):
    """What is at the other end: a process of its own, which runs when the fixture gives it."""

    @abstractmethod
    def held(self, path: str) -> Pixels | None:
        """Return the pixels that the other end holds for ``path``, or ``None``.

        Everything acknowledged before the call counts.
        """

    @abstractmethod
    def kill(self) -> None:
        """Kill it (SIGKILL, by its pid); return when it is gone."""

    @abstractmethod
    def restart(self) -> None:
        """Start another one by the same name, after ``kill``; return when it can be found."""


class ViewerProcess(StreamReceiver):
    """A viewer in a process of its own; one serves all tests until one kills it.

    ``launch`` starts it, or returns the one that runs, and ``connect`` gives a handle on it: what
    ``polystore_stream`` calls ``Endpoint`` and ``RemoteViewer``.
    """

    def __init__(self, launch: Callable[[], Value], connect: Callable[[], Value]) -> None:
        self._launch, self._connect = launch, connect
        self.restart()

    def held(self, path: str) -> Pixels | None:
        with self._connect() as viewer:
            try:
                pixels: NDArray[Any] = viewer.pixels(path)
            except RejectedError:
                return None
        return pixels

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # a test has killed it already
            os.kill(self._pid, signal.SIGKILL)
        assert becomes(lambda: not runs(self._pid))

    def restart(self) -> None:
        self._pid: int = self._launch().pid

    def emptied(self) -> Self:
        """Return it as a test needs it: running, with nothing shown."""
        if not runs(self._pid):
            self.restart()
        with self._connect() as viewer:
            viewer.clear()
        return self


_LARGE = (1200, 1000)
"""Of uint16 it is larger than any message, or slot of shared memory, is likely to be."""
_DTYPES = [
    "bool",
    *(f"{sign}int{bits}" for bits in (8, 16, 32, 64) for sign in ("", "u")),
    *(f"float{bits}" for bits in (16, 32, 64)),
]
_SHOWN = [
    *(
        pytest.param(np.arange(-3, 3).reshape(2, 3).astype(dtype), id=dtype)
        for dtype in _DTYPES
    ),
    pytest.param(image().astype(">u2"), id="big-endian"),
    pytest.param(np.linspace(-1, 1, 6).reshape(2, 3).astype(">f4"), id="big-endian-float"),
    pytest.param(np.array([[1.5, np.nan], [np.inf, -0.0]]), id="nan"),
    pytest.param(image(shape=(2, 3, 4)).T, id="fortran"),
    pytest.param(image(shape=(8, 9))[::2, ::-3], id="strided"),
    pytest.param(np.broadcast_to(image(shape=(1, 5)), (4, 5)), id="broadcast"),
    pytest.param(image(shape=_LARGE), id="large"),
    pytest.param(image(shape=_LARGE).T, id="large-fortran"),
    pytest.param(image(shape=(2400, 1000))[::-2].astype(">u2"), id="large-strided"),
]
_REFUSED = [
    pytest.param(np.ones((2, 3), "complex64"), id="complex"),
    pytest.param(np.array([[1, None]], object), id="object"),
    pytest.param(np.array([["A01", "A02"]]), id="text"),
    pytest.param(np.array([["2026-01-15"]], "M8[D]"), id="dates"),
    pytest.param(np.zeros((2, 3), [("x", "u1"), ("y", "u1")]), id="structured"),
    pytest.param(np.zeros((0, 3), "uint16"), id="empty"),
    pytest.param(measured(), id="unit"),
    pytest.param(np.array(7), id="0-d"),
]
if np.dtype(np.longdouble).itemsize > 8:  # elsewhere it is a float64
    _REFUSED.append(pytest.param(np.ones((2, 3), np.longdouble), id="longdouble"))

_WAITS = ["received", "shown", None]
_SHAPES = [
    pytest.param((4, 5), id="small"),
    pytest.param((300, 400), id="medium"),
    pytest.param(_LARGE, id="large"),
]
_TEMPLATE = "{well}_s{site}.npy"
_START_METHODS = sorted({"fork", "spawn"} & {*multiprocessing.get_all_start_methods()})
"""Seconds until the death of a receiver is an error."""


class StreamTests(SinkTests):
    """Sending to what is elsewhere. Supply ``registry``, and ``receiver``: who gets it."""

    no_exact_type: ClassVar[frozenset[str]] = frozenset()
    """Ids among the values of ``test_pixels_arrive_equal`` ("uint64") that the other end has no
    type for which holds all of their pixels: these must be refused, not rounded."""

    @pytest.fixture
    def receiver(self) -> StreamReceiver:
        raise NotImplementedError("supply a fixture `receiver`: the StreamReceiver that runs")

    @pytest.fixture
    def store(self, receiver: StreamReceiver, registry: BackendRegistry) -> Bound:
        # With a receiver: what is asked of every sink needs somebody at the other end too.
        return Bound(FileManager(registry))

    # ── pixels ───────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("value", _SHOWN)
    def test_pixels_arrive_equal(
        self,
        store: Bound,
        receiver: StreamReceiver,
        value: Pixels,
        request: pytest.FixtureRequest,
    ) -> None:
        if request.node.callspec.id in self.no_exact_type:
            with pytest.raises(UnsupportedDataError):
                store.save(value, "a.npy")
            assert receiver.held("a.npy") is None
            return
        store.save(value, "a.npy")
        assert_held(receiver, "a.npy", value)

    def test_last_save_wins(self, store: Bound, receiver: StreamReceiver) -> None:
        for seed in range(5):
            store.save(image(seed), "a.npy")
        assert_held(receiver, "a.npy", image(4))

    def test_paths_stay_apart(self, store: Bound, receiver: StreamReceiver) -> None:
        store.save(image(1), "f/a.npy")
        store.save(image(2, (6, 7)), "g/a.npy")
        assert_held(receiver, "f/a.npy", image(1))
        assert_held(receiver, "g/a.npy", image(2, (6, 7)))

    @pytest.mark.parametrize("shape", _SHAPES)
    @pytest.mark.parametrize("wait", _WAITS)
    def test_sent_value_is_free(
        self, store: Bound, receiver: StreamReceiver, wait: str | None, shape: tuple[int, ...]
    ) -> None:
        value = image(1, shape)
        store.save(value, "a.npy", wait=wait)
        value[:] = 0
        store.manager.registry.close()
        assert_held(receiver, "a.npy", image(1, shape))

    def test_unknown_wait_refused(self, store: Bound, receiver: StreamReceiver) -> None:
        for wait in ("painted", True, 1):
            with pytest.raises(InvalidOptionError, match="wait="):
                store.save(image(), "a.npy", wait=wait)
        assert receiver.held("a.npy") is None

    @pytest.mark.parametrize("value", _REFUSED)
    def test_refused_value_never_travels(
        self, store: Bound, receiver: StreamReceiver, value: Pixels
    ) -> None:
        store.save(image(), "old.npy")
        for path in ("old.npy", "new.npy"):
            with pytest.raises(UnsupportedDataError) as caught:
                store.save(value, path)
            assert (caught.value.backend, caught.value.path) == (NAME, path)
        assert_held(receiver, "old.npy", image())
        assert receiver.held("new.npy") is None

    # ── series ───────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("wait", _WAITS)
    def test_series_keeps_order(
        self, store: Bound, receiver: StreamReceiver, wait: str | None
    ) -> None:
        paths = [f"z{index}.npy" for index in range(80)]
        for first in (0, 100):  # the second series replaces the first, backwards
            values = [image(first + index) for index in range(80)]
            store.save_batch(values, paths, wait=wait)
            paths.reverse()
        store.manager.registry.close()
        for index, path in enumerate(paths):
            assert_held(receiver, path, image(179 - index))

    def test_series_stops_at_failure(self, store: Bound, receiver: StreamReceiver) -> None:
        paths = ["z1.npy", "z2.npy", "z3.npy", "z4.npy"]
        with pytest.raises(BatchError) as caught:
            store.save_batch([image(1), image(2), _Unstorable(), image(4)], paths)
        assert caught.value.failed_index == 2
        assert isinstance(caught.value.failed[2][1], UnsupportedDataError)
        assert caught.value.done == ("z1.npy", "z2.npy")
        assert caught.value.not_attempted == ("z4.npy",)
        assert_held(receiver, "z2.npy", image(2))
        assert receiver.held("z4.npy") is None

    def test_misfit_sends_nothing(self, store: Bound, receiver: StreamReceiver) -> None:
        attempts: Sequence[Callable[[], Any]] = (
            lambda: store.save(image(), "plate.npy", names=_TEMPLATE),
            lambda: store.save_batch(
                [image()] * 2, ["B03_s1.npy", "plate.npy"], names=_TEMPLATE
            ),
        )
        for attempt in attempts:
            with pytest.raises(InvalidOptionError) as caught:
                attempt()
            assert "plate.npy" in str(caught.value)
            assert _TEMPLATE in str(caught.value)
        assert receiver.held("plate.npy") is None
        assert receiver.held("B03_s1.npy") is None

    # ── many at once ─────────────────────────────────────────────────────────────────────

    def test_threads_send_apart(self, store: Bound, receiver: StreamReceiver) -> None:
        seeds = {
            f"f{thread}/{step}.npy": 10 * thread + step
            for thread in range(8)
            for step in range(4)
        }

        def work(thread: int) -> None:
            for step in range(4):
                path = f"f{thread}/{step}.npy"
                store.save(image(seeds[path]), path)

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        for path, seed in seeds.items():
            assert_held(receiver, path, image(seed))

    @pytest.mark.parametrize("method", _START_METHODS)
    @pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
    @pytest.mark.filterwarnings("ignore:.*fork.*:RuntimeWarning")  # JAX, where it is loaded
    def test_processes_send_too(
        self, store: Bound, receiver: StreamReceiver, method: str
    ) -> None:
        """A child has a connection of its own, and leaves nothing unsent when it ends."""
        shape = (300, 400)
        store.save(image(1, shape), "parent.npy")
        context: Any = multiprocessing.get_context(method)
        child = context.Process(target=_save_in_process, args=(store, shape))
        child.start()
        store.save(image(3, shape), "parent.npy")
        child.join(60)
        assert child.exitcode == 0
        store.save(image(4, shape), "after.npy")
        assert_held(receiver, "parent.npy", image(3, shape))
        assert_held(receiver, "after.npy", image(4, shape))
        for step in range(20):
            assert_held(receiver, f"child{step}.npy", image(2, shape))

    def test_manager_leaves_connections(self, store: Bound) -> None:
        store.save(image(), "a.npy")
        text = pickle.dumps(store.manager)
        assert isinstance(pickle.loads(text), FileManager)  # noqa: S301
        assert len(text) < 1000

    # ── the other end goes ───────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("shape", _SHAPES)
    @pytest.mark.parametrize("wait", ["received", "shown"])
    def test_killed_receiver_is_error(
        self, store: Bound, receiver: StreamReceiver, wait: str, shape: tuple[int, ...]
    ) -> None:
        store.save(image(1, shape), "a.npy", wait=wait)
        receiver.kill()
        for _ in range(2):  # it stays one
            assert_refused(lambda: store.save(image(2, shape), "a.npy", wait=wait))

    def test_kill_amid_saves(self, store: Bound, receiver: StreamReceiver) -> None:
        large = image(1, (2000, 2000))

        def save_until_it_fails() -> None:
            for _ in range(100_000):
                store.save(large, "a.npy")

        store.save(large, "a.npy")
        with ThreadPoolExecutor(1) as pool:
            failing = pool.submit(save_until_it_fails)
            time.sleep(0.1)
            receiver.kill()
            with pytest.raises(ReceiverUnavailableError):
                failing.result()

    def test_series_names_the_lost(self, store: Bound, receiver: StreamReceiver) -> None:
        store.save(image(), "a.npy")
        receiver.kill()
        with pytest.raises(BatchError) as caught:
            store.save_batch([image(1), image(2)], ["z1.npy", "z2.npy"])
        assert caught.value.done == ()
        assert isinstance(caught.value.failed[0][1], ReceiverError)

    def test_restarted_receiver_is_found(self, store: Bound, receiver: StreamReceiver) -> None:
        for seed in range(2):
            store.save(image(seed), "a.npy")
            receiver.kill()
            assert_refused(lambda: store.save(image(), "a.npy"))
            receiver.restart()
            store.save(image(10 + seed), "a.npy")
            assert_held(receiver, "a.npy", image(10 + seed))

    def test_close_loses_nothing(self, store: Bound, receiver: StreamReceiver) -> None:
        shapes = {f"{i}.npy": [(4, 5), (300, 400), _LARGE][i % 3] for i in range(30)}
        for seed, (path, shape) in enumerate(shapes.items()):
            store.save(image(seed, shape), path, wait=None)
        store.manager.registry.close()
        for seed, (path, shape) in enumerate(shapes.items()):
            assert_held(receiver, path, image(seed, shape))


def assert_held(receiver: StreamReceiver, path: str, expected: Pixels) -> None:
    """Assert equal pixels at the other end; their element type is the receiver's own affair."""
    found = receiver.held(path)
    assert found is not None, f"{path!r} is not there"
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def assert_refused(send: Callable[[], Value]) -> None:
    """Assert that the receiver is said to be gone. A sender that waited for it says otherwise."""
    with pytest.raises(ReceiverUnavailableError) as caught:
        send()
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.backend == NAME


def _save_in_process(store: Bound, shape: tuple[int, ...]) -> None:
    for step in range(20):
        store.save(image(2, shape), f"child{step}.npy", wait=None)
