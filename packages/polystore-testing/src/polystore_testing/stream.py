"""Promises of backends that send to a receiver: a viewer, or a script that listens."""

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
from .values import image, make_measured

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from polystore_core import BackendRegistry, Pixels, Value

__all__ = ["StreamReceiver", "StreamTests", "ViewerProcess"]


class StreamReceiver(ABC):
    """The receiver of the tests: another process, which runs when the fixture returns it."""

    @abstractmethod
    def load(self, path: str) -> Pixels | None:
        """Return the pixels that the receiver holds for ``path``, or ``None``.

        The receiver has everything that was acknowledged before the call.
        """

    @abstractmethod
    def kill(self) -> None:
        """Kill the process with SIGKILL, by its pid. Return when it is gone."""

    @abstractmethod
    def restart(self) -> None:
        """Start another receiver with the same name after ``kill``. Return when it can be found."""


class ViewerProcess(StreamReceiver):
    """A viewer in its own process. All tests use the same one, until a test kills it."""

    def __init__(self, launch: Callable[[], Value], connect: Callable[[], Value]) -> None:
        """Start the viewer.

        ``launch`` starts it and returns an ``Endpoint``. ``connect`` returns a ``RemoteViewer``.
        """
        self._launch, self._connect = launch, connect
        self.restart()

    def load(self, path: str) -> Pixels | None:
        with self._connect() as viewer:
            try:
                pixels: NDArray[Any] = viewer.pixels(path)
            except RejectedError:
                return None
        return pixels

    def kill(self) -> None:
        with suppress(ProcessLookupError):  # a test has killed it already
            os.kill(self._pid, signal.SIGKILL)
        # The process holds its sockets until the kernel has ended it, and a save could still
        # reach it.
        assert becomes(lambda: not runs(self._pid))

    def restart(self) -> None:
        self._pid: int = self._launch().pid

    def reset(self) -> Self:
        """Return the viewer as a test needs it: running, and without layers."""
        # Starting a viewer takes seconds, so keep it for all tests unless one has killed it.
        if not runs(self._pid):
            self.restart()
        with self._connect() as viewer:
            viewer.clear()
        return self


_LARGE = (1200, 1000)
"""Shape of an image that, in uint16, is larger than one message or slot of shared memory."""
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
    pytest.param(make_measured(), id="unit"),
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


class StreamTests(SinkTests):
    """Sent values arrive as they were saved. Supply ``registry`` and ``receiver``."""

    no_exact_type: ClassVar[frozenset[str]] = frozenset()
    """Ids among the values of ``test_pixels_arrive_equal``, such as "uint64", that no type of the
    receiver can hold exactly. They must be refused, not rounded."""

    @pytest.fixture
    def receiver(self) -> StreamReceiver:
        """Return the ``StreamReceiver`` that runs. Supply it."""
        raise NotImplementedError(
            "there is no fixture `receiver`: supply one that returns a running StreamReceiver"
        )

    @pytest.fixture
    def store(self, receiver: StreamReceiver, registry: BackendRegistry) -> Bound:
        """Return the backend under test, with a receiver that runs."""
        # It needs the receiver, because the tests of all sinks save without asking for one.
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
        """Pixels of every supported type arrive without a change, or are refused."""
        if request.node.callspec.id in self.no_exact_type:
            with pytest.raises(UnsupportedDataError):
                store.save(value, "a.npy")
            assert receiver.load("a.npy") is None
            return
        store.save(value, "a.npy")
        assert_held(receiver, "a.npy", value)

    def test_last_save_wins(self, store: Bound, receiver: StreamReceiver) -> None:
        """After several saves to one path, the receiver holds the last value."""
        for seed in range(5):
            store.save(image(seed), "a.npy")
        assert_held(receiver, "a.npy", image(4))

    def test_paths_stay_apart(self, store: Bound, receiver: StreamReceiver) -> None:
        """Equal file names in different folders are different values."""
        store.save(image(1), "f/a.npy")
        store.save(image(2, (6, 7)), "g/a.npy")
        assert_held(receiver, "f/a.npy", image(1))
        assert_held(receiver, "g/a.npy", image(2, (6, 7)))

    @pytest.mark.parametrize("shape", _SHAPES)
    @pytest.mark.parametrize("wait", _WAITS)
    def test_sent_value_is_free(
        self, store: Bound, receiver: StreamReceiver, wait: str | None, shape: tuple[int, ...]
    ) -> None:
        """Changing an array after its save does not change the sent value."""
        value = image(1, shape)
        store.save(value, "a.npy", wait=wait)
        value[:] = 0
        # close waits for everything, so that the receiver can be asked with every wait.
        store.manager.registry.close()
        assert_held(receiver, "a.npy", image(1, shape))

    def test_unknown_wait_refused(self, store: Bound, receiver: StreamReceiver) -> None:
        """An unknown value of ``wait=`` is refused before anything is sent."""
        for wait in ("painted", True, 1):
            with pytest.raises(InvalidOptionError, match="wait="):
                store.save(image(), "a.npy", wait=wait)
        assert receiver.load("a.npy") is None

    @pytest.mark.parametrize("value", _REFUSED)
    def test_refused_value_never_travels(
        self, store: Bound, receiver: StreamReceiver, value: Pixels
    ) -> None:
        """A value that viewers cannot show is refused, and the receiver keeps the old one."""
        store.save(image(), "old.npy")
        for path in ("old.npy", "new.npy"):
            with pytest.raises(UnsupportedDataError) as caught:
                store.save(value, path)
            assert (caught.value.backend, caught.value.path) == (NAME, path)
        assert_held(receiver, "old.npy", image())
        assert receiver.load("new.npy") is None

    # ── series ───────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("wait", _WAITS)
    def test_series_keeps_order(
        self, store: Bound, receiver: StreamReceiver, wait: str | None
    ) -> None:
        """A series arrives in order, so that later values replace earlier ones."""
        paths = [f"z{index}.npy" for index in range(80)]
        for first in (0, 100):  # the second series replaces the first, backwards
            values = [image(first + index) for index in range(80)]
            store.save_batch(values, paths, wait=wait)
            paths.reverse()
        store.manager.registry.close()
        for index, path in enumerate(paths):
            assert_held(receiver, path, image(179 - index))

    def test_series_stops_at_failure(self, store: Bound, receiver: StreamReceiver) -> None:
        """A series stops at the first failure, and names the done and the open paths."""
        paths = ["z1.npy", "z2.npy", "z3.npy", "z4.npy"]
        with pytest.raises(BatchError) as caught:
            store.save_batch([image(1), image(2), _Unstorable(), image(4)], paths)
        assert caught.value.failed_index == 2
        assert isinstance(caught.value.failed[2][1], UnsupportedDataError)
        assert caught.value.done == ("z1.npy", "z2.npy")
        assert caught.value.not_attempted == ("z4.npy",)
        assert_held(receiver, "z2.npy", image(2))
        assert receiver.load("z4.npy") is None

    def test_misfit_sends_nothing(self, store: Bound, receiver: StreamReceiver) -> None:
        """If a path does not fit the template, nothing of the series is sent."""
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
        assert receiver.load("plate.npy") is None
        assert receiver.load("B03_s1.npy") is None

    # ── many at once ─────────────────────────────────────────────────────────────────────

    def test_threads_send_apart(self, store: Bound, receiver: StreamReceiver) -> None:
        """Threads can send different paths at once."""
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
        """A child process has its own connection, and sends everything before it ends."""
        shape = (300, 400)
        # Connect before the child starts: a forked child must not use its parent's socket.
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
        """A pickled file manager is small and does not contain connections."""
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
        """After the receiver was killed, each save raises ``ReceiverUnavailableError``."""
        store.save(image(1, shape), "a.npy", wait=wait)
        receiver.kill()
        for _ in range(2):  # the second save must fail, too, and not wait for an answer
            assert_refused(lambda: store.save(image(2, shape), "a.npy", wait=wait))

    def test_kill_amid_saves(self, store: Bound, receiver: StreamReceiver) -> None:
        """If the receiver is killed during a save, the save raises an error and does not hang."""
        large = image(1, (2000, 2000))

        def save_until_it_fails() -> None:
            for _ in range(100_000):
                store.save(large, "a.npy")

        store.save(large, "a.npy")
        with ThreadPoolExecutor(1) as pool:
            failing = pool.submit(save_until_it_fails)
            time.sleep(0.1)  # any moment is right: the pieces of some value are on their way
            receiver.kill()
            with pytest.raises(ReceiverUnavailableError):
                failing.result()

    def test_series_names_the_lost(self, store: Bound, receiver: StreamReceiver) -> None:
        """If the receiver is gone, a series names the first path that was not sent."""
        store.save(image(), "a.npy")
        receiver.kill()
        with pytest.raises(BatchError) as caught:
            store.save_batch([image(1), image(2)], ["z1.npy", "z2.npy"])
        assert caught.value.done == ()
        assert isinstance(caught.value.failed[0][1], ReceiverError)

    def test_restarted_receiver_is_found(self, store: Bound, receiver: StreamReceiver) -> None:
        """After the receiver was restarted, the next save reaches it."""
        for seed in range(2):
            store.save(image(seed), "a.npy")
            receiver.kill()
            assert_refused(lambda: store.save(image(), "a.npy"))
            receiver.restart()
            store.save(image(10 + seed), "a.npy")
            assert_held(receiver, "a.npy", image(10 + seed))

    def test_close_loses_nothing(self, store: Bound, receiver: StreamReceiver) -> None:
        """``close`` waits until everything has arrived, even with ``wait=None``."""
        shapes = {f"{i}.npy": [(4, 5), (300, 400), _LARGE][i % 3] for i in range(30)}
        for seed, (path, shape) in enumerate(shapes.items()):
            store.save(image(seed, shape), path, wait=None)
        store.manager.registry.close()
        for seed, (path, shape) in enumerate(shapes.items()):
            assert_held(receiver, path, image(seed, shape))


def assert_held(receiver: StreamReceiver, path: str, expected: Pixels) -> None:
    """Assert that the receiver holds equal pixels. Their element type may differ."""
    found = receiver.load(path)
    assert found is not None, f"{path!r} is not there"
    assert found.shape == expected.shape
    np.testing.assert_array_equal(found, expected)


def assert_refused(send: Callable[[], Value]) -> None:
    """Assert that ``send`` fails because the receiver is gone, and not because of a timeout."""
    with pytest.raises(ReceiverUnavailableError) as caught:
        send()
    assert isinstance(caught.value, ConnectionError)
    assert caught.value.backend == NAME


def _save_in_process(store: Bound, shape: tuple[int, ...]) -> None:
    for step in range(20):
        # The process ends right after the last save, and nothing that it has sent may be lost.
        store.save(image(2, shape), f"child{step}.npy", wait=None)
