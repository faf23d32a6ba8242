"""Stopped processes (SIGSTOP) live, block no other process, and can continue."""

from __future__ import annotations

import os
import signal
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import BatchError, ReceiverTimeoutError, ReceiverUnavailableError
from polystore_stream import RemoteViewer
from polystore_stream.wire.messages import Piece, encode
from polystore_testing.processes import becomes

from .processes import (
    Child,
    describe,
    hello_to,
    image,
    listening,
    pattern,
    raw,
    running,
    sending,
    wait_for_receiver,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SMALL, LARGE, HUGE = (40, 50), (1500, 1100), (4000, 5000)


@contextmanager
def pause(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        assert becomes(lambda: {*read_states(pid)} == {"T"})
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def read_states(pid: int) -> Iterator[str]:
    """Yield the state of each thread, one letter."""
    for status in Path(f"/proc/{pid}/task").glob("*/stat"):
        yield status.read_text().rpartition(")")[2].split()[0]


def save(files: FileManager, path: str = "a", shape: Any = SMALL, **options: Any) -> None:
    files.save(pattern(1, shape), path, backend="out", **options)


def save_in_time(files: FileManager, path: str, shape: Any = SMALL, **options: Any) -> None:
    """Save again after a time-out, because time-outs are short here and the machine may be slow."""

    def try_save() -> bool:
        try:
            save(files, path, shape, **options)
        except ReceiverTimeoutError:
            return False
        return True

    assert becomes(try_save)


def save_many(files: FileManager, shape: Any, count: int) -> None:
    for number in range(count):
        save(files, f"{number}", shape, wait=None)


# ── a receiver ───────────────────────────────────────────────────────────────────────────

CALLS: dict[str, Callable[[FileManager], None]] = {
    "received": lambda files: save(files),
    "shown": lambda files: save(files, wait="shown"),
    "pieces": lambda files: save(files, shape=LARGE),
    "room": lambda files: save(files, shape=HUGE),
    "unawaited": lambda files: save_many(files, (1000, 1000), 20),
    "small-unawaited": lambda files: save_many(files, SMALL, 600),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
@pytest.mark.parametrize("first", ["none", "large"])
def test_stopped_receiver_raises_timeout(
    call: Callable[[FileManager], None], first: str
) -> None:
    """A stopped receiver raises its own error after ``timeout``. Afterwards saves work again."""
    with listening() as listener, sending(timeout=1, max_in_flight=8 << 20) as files:
        if first != "none":
            save_in_time(files, "first", LARGE)
        with (
            pause(listener.pid),
            pytest.raises(ReceiverTimeoutError, match="has not answered for 1 s"),
        ):
            call(files)
        save_in_time(files, "next", LARGE, wait="shown")
        assert listener.until("next")[-1] == describe("next", pattern(1, LARGE))
        assert becomes(lambda: listener.state()["producers"] == 1)
        assert becomes(lambda: listener.state()["nbytes"] == 0)
        assert listener.state()["rings"] == 1


@pytest.mark.parametrize("call", ["shown", "room"])
def test_receiver_stops_during_a_wait(call: str) -> None:
    """A save that already waits for the receiver also has a time-out."""
    with (
        listening(hold=True, max_queued=1 << 20) as listener,
        sending(timeout=3) as files,
        ThreadPoolExecutor(1) as pool,
    ):
        save_in_time(files, "first", LARGE)
        backend: Any = files.registry["out"]
        sent = backend.counters.sent
        if call == "shown":
            waiting = pool.submit(save, files, "while", wait="shown")
        else:
            waiting = pool.submit(save, files, "while", HUGE)
        assert becomes(lambda: backend.counters.sent >= sent + 1)
        with pause(listener.pid), pytest.raises(ReceiverTimeoutError):
            waiting.result()
        listener.go_on()
        save_in_time(files, "next", LARGE)
        assert listener.until("next")[-1] == describe("next", pattern(1, LARGE))
        assert becomes(lambda: listener.state()["producers"] == 1)
        assert becomes(lambda: listener.state()["nbytes"] == 0)


def test_stopped_receiver_fails_batch() -> None:
    with listening() as listener, sending(timeout=1) as files:
        save_in_time(files, "first")
        with pause(listener.pid), pytest.raises(BatchError) as caught:
            files.save_batch([pattern(1, SMALL)] * 3, ["1", "2", "3"], backend="out")
        assert isinstance(caught.value.failed[0][1], ReceiverTimeoutError)
        save_in_time(files, "next")
        assert listener.until("next")[-1] == describe("next", pattern(1, SMALL))


def test_stopped_receiver_delays_close() -> None:
    """Closing a backend reports values that a stopped receiver has not taken."""
    with listening() as listener:
        registry = BackendRegistry()
        registry.add("out", "streaming", timeout=1)
        files = FileManager(registry)
        save_in_time(files, "first")
        with pause(listener.pid):
            save(files, "last", wait=None)
            with pytest.raises(ReceiverTimeoutError):
                files.registry["out"].flush()  # type: ignore[attr-defined]
            with pytest.raises(ReceiverTimeoutError):
                registry.close()
        assert {item["path"] for item in listener.until("last")} == {"first", "last"}


def test_unawaited_values_outlast_stop() -> None:
    """A save that finds no room loses none of the values before it."""
    with listening() as listener, sending(timeout=1, max_in_flight=8 << 20) as files:
        save_in_time(files, "first", LARGE)
        with pause(listener.pid), pytest.raises(ReceiverTimeoutError):
            save_many(files, (1000, 1000), 20)
        save_in_time(files, "next")
        paths = [*dict.fromkeys(item["path"] for item in listener.until("next"))]
        assert paths == ["first", *map(str, range(len(paths) - 2)), "next"]
        assert len(paths) > 4


QUERIES = """
class Shows(Toy):
    def show(self):
        while not self.receiver.is_closed:
            self.came.wait()
            self.came.clear()
            for delivery in self.receiver.take():
                self.receiver.answer(delivery, [])

Shows().show()
"""


def test_stopped_viewer_answers_again() -> None:
    """The handle of ``connect`` also has a time-out, and works as soon as the viewer does."""
    with running(QUERIES) as child:
        endpoint = wait_for_receiver("toy")
        with RemoteViewer(endpoint, timeout=30) as viewer:
            assert viewer.layers() == []
            viewer.timeout = 1
            with pause(child.pid):
                for ask in (viewer.layers, viewer.clear):
                    with pytest.raises(ReceiverTimeoutError):
                        ask()
                with pytest.raises(ReceiverTimeoutError):
                    RemoteViewer(endpoint, timeout=1)
            viewer.timeout = 30
            assert viewer.layers() == []
            child.kill()
            with pytest.raises(ReceiverUnavailableError):
                viewer.layers()


def test_killed_while_stopped() -> None:
    """The death of a receiver is noticed even if it was stopped before."""
    with listening() as listener, sending(timeout=60) as files:
        save(files, "first")
        os.kill(listener.pid, signal.SIGSTOP)
        listener.kill()
        with pytest.raises(ReceiverUnavailableError):
            save(files)


@pytest.mark.parametrize("listen", [None, "tcp://127.0.0.1:0"])
def test_stopped_receiver_elsewhere(listen: str | None) -> None:
    """A receiver whose process is unknown has a time-out. Later it is found again."""
    with listening(listen=listen) as listener:
        file = listener.file.with_name("copied.json")
        file.write_text(listener.file.read_text().replace('"host": "', '"host": "elsewhere-'))
        with sending(connection=str(file), timeout=1) as files:
            save_in_time(files, "first", LARGE)
            with pause(listener.pid):
                for _ in range(3):
                    with pytest.raises(ReceiverTimeoutError):
                        save(files, "while", LARGE)
            save_in_time(files, "next", LARGE)
            assert listener.until("next")[-1] == describe("next", pattern(1, LARGE))
        file.unlink()


# ── a producer ───────────────────────────────────────────────────────────────────────────

STOPS = """
from polystore_stream.sending.link import Link
written, write = 0, Link.write
def write_or_stop(link, frames):
    global written
    written += 1
    if written == int(sys.argv[1]):
        say(stops=True)
        os.kill(os.getpid(), signal.SIGSTOP)
    write(link, frames)
Link.write = write_or_stop
with sending() as files:
    files.save(pattern(int(sys.argv[2]), (4000, 5000)), f"stopped{sys.argv[2]}", backend="out")
    say(end="saved")
    files.save(pattern(1, (40, 50)), f"after{sys.argv[2]}", backend="out")
"""
MESSAGES = {"hello": 1, "ring": 2, "header": 3, "piece": 4, "amid": 11, "last": 22}
"""The message of a 40 MB value before which the producer stops."""


def resume(child: Child) -> None:
    child.send_signal(signal.SIGCONT)
    assert child.says() == {"end": "saved"}
    assert child.wait() == 0


@pytest.mark.parametrize("message", MESSAGES.values(), ids=MESSAGES)
def test_stopped_producer_blocks_no_other(message: int) -> None:
    """Others continue at once. The stopped producer continues later, with all its pixels."""
    with (
        listening(max_queued=48 << 20) as listener,
        running(STOPS, message, 7) as child,
        sending() as files,
    ):
        assert child.says() == {"stops": True}
        for number in range(3):
            save(files, f"other{number}", HUGE)
            assert listener.item() == describe(f"other{number}", pattern(1, HUGE))
        resume(child)
        assert listener.item() == describe("stopped7", pattern(7, HUGE))
        assert listener.item()["path"] == "after7"
        assert becomes(lambda: listener.state()["nbytes"] == 0)


def test_several_stopped_producers() -> None:
    """With any number of stopped producers there is room for one more. All values arrive."""
    with (
        listening(max_queued=48 << 20) as listener,
        running(STOPS, 11, 1) as one,
        sending() as files,
    ):
        assert one.says() == {"stops": True}
        with running(STOPS, 9, 2) as two, running(STOPS, 5, 3) as three:
            assert two.says() == {"stops": True}
            assert three.says() == {"stops": True}
            save(files, "other", HUGE)
            assert listener.item() == describe("other", pattern(1, HUGE))
            for child in (three, one, two):
                child.send_signal(signal.SIGCONT)
            for child in (three, one, two):
                resume(child)
        taken = {item["path"]: item for item in listener.items(6)}
        for number in (1, 2, 3):
            expected = describe(f"stopped{number}", pattern(number, HUGE))
            assert taken[f"stopped{number}"] == expected
        assert becomes(lambda: listener.state()["nbytes"] == 0)


def test_killed_after_stop_frees_all() -> None:
    """A producer whose room was given to others leaves nothing when it dies."""
    with listening(max_queued=48 << 20) as listener, sending() as files:
        with running(STOPS, 11, 7) as child:
            assert child.says() == {"stops": True}
            save(files, "other", HUGE)
            child.kill()
        assert becomes(lambda: listener.state()["producers"] == 1)
        save(files, "next", HUGE)
        assert [item["path"] for item in listener.items(2)] == ["other", "next"]
        assert becomes(lambda: listener.state()["nbytes"] == 0)


def test_own_pieces_need_no_room() -> None:
    """A producer that sends a second value in the middle of the first does not block itself."""
    data = np.zeros(3 << 20, np.uint8)
    half = data[: 2 << 20].data
    with listening(max_queued=4 << 20) as listener, raw(listener.endpoint) as socket:
        socket.send(encode(hello_to(listener.endpoint)))
        socket.recv()
        one = image("one", data.reshape(3, -1))
        socket.send_multipart([encode(replace(one, number=2)), half])
        two = replace(one, path="two", number=3)
        socket.send_multipart([encode(two), half])
        for number, of in ((4, 2), (5, 3)):
            piece = Piece(number=number, of=of, start=2 << 20, nbytes=1 << 20)
            socket.send_multipart([encode(piece), data[: 1 << 20].data])
        assert sorted(item["path"] for item in listener.items(2)) == ["one", "two"]
