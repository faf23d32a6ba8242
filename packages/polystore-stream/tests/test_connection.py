"""Producers and receivers in their own processes exchange values."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import (
    ReceiverTimeoutError,
    ReceiverUnavailableError,
    RejectedError,
)
from polystore_stream import RemoteViewer
from polystore_stream.wire.messages import PIECE
from polystore_testing.processes import becomes

from .processes import (
    checksum,
    connect_to,
    describe,
    image,
    listening,
    pattern,
    running,
    sending,
)

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_stream.sending.connection import Connection

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SMALL, LARGE = (40, 50), (1500, 1100)
"""A frame, and a value of several pieces."""


# ── several at once ──────────────────────────────────────────────────────────────────────


def test_two_producers_interleave() -> None:
    """Pieces of two producers' images arrive in turns, and each image is whole."""
    with (
        listening() as listener,
        connect_to(listener.endpoint) as one,
        connect_to(listener.endpoint, share_memory=False) as other,
    ):
        first, second = pattern(1, LARGE), pattern(2, LARGE)
        threads = [
            threading.Thread(target=_send, args=(connection, path, data))
            for connection, path, data in ((one, "a", first), (other, "b", second))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        taken = sorted(listener.items(20), key=lambda item: item["path"])
    assert taken == [describe("a", first)] * 10 + [describe("b", second)] * 10


def _send(connection: Connection, path: str, data: Any) -> None:
    for transfer in [connection.send(image(path, data), data, awaited=True) for _ in range(10)]:
        connection.wait_for(transfer)


def test_two_receivers_share() -> None:
    """Every receiver of a channel gets all values. A receiver of another channel gets none."""
    data = [pattern(number, LARGE if number % 2 else SMALL) for number in range(6)]
    expected = [describe(f"{n}", value) for n, value in enumerate(data)]
    with listening() as one, listening() as other, listening("quiet", timeout=0.1) as quiet:
        with sending() as files:
            for number, value in enumerate(data):
                files.save(value, f"{number}", backend="out")
        assert one.items(6) == expected
        assert other.items(6) == expected
        assert quiet.item() == {"ended": True}


def test_threads_share_connection() -> None:
    """Eight threads save through one file manager, and all values arrive whole."""
    shapes = [SMALL, (300, 300), LARGE, (900, 800)]

    def save(thread: int) -> None:
        for number in range(6):
            data = pattern(thread * 6 + number, shapes[(thread + number) % 4])
            files.save(data, f"{thread}/{number}", backend="out")

    with listening(max_queued=4 << 20) as listener, sending() as files:
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(save, range(8)))
        taken = {item["path"]: item for item in listener.items(48)}
    for number in range(48):
        path = f"{number // 6}/{number % 6}"
        data = pattern(number, shapes[(number // 6 + number % 6) % 4])
        assert taken[path] == describe(path, data)


def test_waiting_thread_does_not_block_others() -> None:
    """A thread that waits for "shown" does not keep others from saving."""
    with listening(hold=True) as listener, sending() as files:
        shown = threading.Thread(
            target=files.save,
            args=(pattern(0, SMALL), "slow"),
            kwargs={"backend": "out", "wait": "shown"},
        )
        shown.start()
        assert becomes(lambda: listener.state()["nbytes"])
        for number in range(10):
            files.save(pattern(number, SMALL), f"{number}", backend="out")
        assert shown.is_alive()
        listener.go_on()
        shown.join()


def test_small_queue_accepts_pieces() -> None:
    """A small image that waits for room does not delay the rest of a large one."""
    with (
        listening(max_queued=1 << 20, hold=True) as listener,
        sending() as files,
        ThreadPoolExecutor(4) as pool,
    ):
        for number in range(8):
            shape = LARGE if number % 2 else SMALL
            pool.submit(files.save, pattern(number, shape), f"{number}", backend="out")
        time.sleep(0.2)
        listener.go_on()
        taken = sorted(listener.items(8), key=lambda item: item["path"])
    for number, item in enumerate(taken):
        data = pattern(number, LARGE if number % 2 else SMALL)
        assert item == describe(f"{number}", data)


# ── slow receivers ────────────────────────────────────────────────────────────────────────


def test_block_loses_nothing() -> None:
    """The producer waits, all values arrive in order, and the receiver's memory is bounded."""
    data = [pattern(number, (1024, 1024)) for number in range(5)]
    with listening(max_queued=4 << 20, hold=True) as listener:
        with sending(max_in_flight=4 << 20) as files, ThreadPoolExecutor(1) as pool:
            backend: Any = files.registry["out"]
            files.save(data[0], "first", backend="out")
            before = listener.state()["peak"]

            def save_all() -> None:
                for number in range(40):  # of 2 MiB each
                    files.save(data[number % 5], f"{number}", backend="out", wait=None)
                backend.flush()

            saving = pool.submit(save_all)
            assert becomes(lambda: backend.counters.blocked)
            listener.go_on()
            saving.result()
            counters = backend.counters
        taken = listener.items(41)
        assert listener.state()["peak"] - before < 24 << 20
    assert taken[1:] == [describe(f"{n}", data[n % 5]) for n in range(40)]
    assert (counters.sent, counters.received, counters.dropped) == (41, 41, 0)


def test_drop_oldest_keeps_newest() -> None:
    """The producer does not wait. Values arrive in order, and the newest always arrives."""
    with (
        listening(max_queued=3 << 20, hold=True) as listener,
        sending(policy="drop_oldest") as files,
    ):
        for number in range(50):
            files.save(pattern(number, (700, 700)), f"{number}", backend="out")
        backend: Any = files.registry["out"]
        listener.go_on()
        numbers = [int(item["path"]) for item in listener.until("49")]
        assert numbers == sorted(numbers)
        assert len(numbers) < 30
        # They were acknowledged as received. The message that they were dropped comes later.
        assert becomes(lambda: backend.counters.dropped == 50 - len(numbers))
        assert (backend.counters.sent, backend.counters.received) == (50, 50)


def test_dropped_is_counted() -> None:
    """A producer with ``wait="shown"`` learns which values were dropped."""
    with (
        listening(max_queued=1 << 20, hold=True) as listener,
        sending(policy="drop_oldest") as files,
    ):
        with ThreadPoolExecutor(6) as pool:
            saves = [
                pool.submit(
                    files.save, pattern(0, (500, 500)), f"{n}", backend="out", wait="shown"
                )
                for n in range(6)
            ]
            assert becomes(lambda: sum(save.done() for save in saves) == 4)
            listener.go_on()
        backend: Any = files.registry["out"]
        counters = backend.counters
        assert (counters.sent, counters.dropped, counters.shown) == (6, 4, 2)


def test_coalesce_keeps_newest_of_each_path() -> None:
    """The newest value of each path arrives, and the replaced values are counted."""
    with listening(hold=True) as listener, sending(policy="coalesce") as files:
        with ThreadPoolExecutor(9) as pool:
            saves = []
            for number in range(9):
                data = pattern(number, SMALL)
                save = pool.submit(
                    files.save, data, f"{number % 3}", backend="out", wait="shown"
                )
                saves.append(save)
                assert becomes(lambda: listener.state()["nbytes"] >= min(len(saves), 3) * 4000)
                assert becomes(
                    lambda: sum(save.done() for save in saves) == max(len(saves) - 3, 0)
                )
            listener.go_on()
        backend: Any = files.registry["out"]
        taken = sorted(listener.items(3), key=lambda item: item["path"])
    assert (backend.counters.coalesced, backend.counters.shown) == (6, 3)
    assert taken == [describe(f"{n}", pattern(6 + n, SMALL)) for n in range(3)]


# ── processes ────────────────────────────────────────────────────────────────────────────


def test_fork_has_its_own_connection() -> None:
    """A forked child saves with its own connection, and its parent's continues to work."""
    with listening() as listener, sending() as files:
        files.save(pattern(0, LARGE), "parent", backend="out")
        child = os.fork()
        if child == 0:  # pragma: no cover - another process
            status = 1
            try:
                files.save(pattern(1, LARGE), "child", backend="out")
                files.registry.close()
                status = 0
            finally:
                os._exit(status)
        files.save(pattern(2, LARGE), "parent", backend="out")
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        files.save(pattern(3, LARGE), "parent", backend="out")
        taken = listener.items(4)
    assert [i["crc"] for i in taken if i["path"] == "parent"] == [
        checksum(pattern(number, LARGE)) for number in (0, 2, 3)
    ]
    assert describe("child", pattern(1, LARGE)) in taken


def test_fork_keeps_receiver() -> None:
    """A forked child of a receiver takes nothing away when it ends."""
    code = """
with receive() as items:
    child = os.fork()
    if child == 0:
        sys.exit()
    os.waitpid(child, 0)
    say(ready=True)
    say(path=next(items).path)
"""
    with running(code) as child, sending() as files:
        assert child.says() == {"ready": True}
        files.save(pattern(0, SMALL), "a", backend="out")
        assert child.says() == {"path": "a"}
        assert child.wait() == 0


def test_spawned_pool_saves() -> None:
    """A pickled file manager connects in each process of a pool."""
    with listening() as listener, sending() as files:
        with multiprocessing.get_context("spawn").Pool(2) as pool:
            # This is a method because the workers cannot import a function of this module.
            saves = [
                pool.apply_async(files.save, (pattern(n, LARGE), f"{n}"), {"backend": "out"})
                for n in range(4)
            ]
            for save in saves:
                save.get()
            pool.close()
            pool.join()
        taken = sorted(listener.items(4), key=lambda item: item["path"])
    assert taken == [describe(f"{n}", pattern(n, LARGE)) for n in range(4)]


# ── values without wait ───────────────────────────────────────────────────────────────────


def test_unawaited_rejection_comes_later() -> None:
    """A rejection is raised by a later save, by flush, or by close."""
    code = """
class Strict(Toy):
    def accept(self, item):
        if item.path.startswith("bad"):
            raise UnsupportedDataError("nothing bad")
Strict.kind = "script"
from polystore_core.errors import UnsupportedDataError
viewer = Strict()
say(ready=True)
viewer.show()
"""
    with running(code) as child:
        assert child.says() == {"ready": True}
        with sending() as files:
            backend: Any = files.registry["out"]
            for path in ("bad1", "bad2"):
                files.save(pattern(0, SMALL), path, backend="out", wait=None)
                with pytest.raises(RejectedError, match=f"{path}.*nothing bad"):
                    _save_good(files)
            files.save(pattern(0, SMALL), "bad3", backend="out", wait=None)
            with pytest.raises(RejectedError, match=r"bad3.*nothing bad"):
                backend.flush()
            backend.flush()
            with pytest.raises(RejectedError, match=r"bad.*nothing bad"):
                files.save(pattern(0, LARGE), "bad", backend="out")
            files.save(pattern(0, SMALL), "bad4", backend="out", wait=None)
            with pytest.raises(RejectedError, match=r"bad4.*nothing bad"):
                backend.close()


def _save_good(files: FileManager) -> None:
    """Save until the answer to the previous save has come."""
    for _ in range(500):
        files.save(pattern(0, SMALL), "good", backend="out", wait=None)
        time.sleep(0.001)


@pytest.mark.parametrize("shape", [SMALL, LARGE])
@pytest.mark.slow
def test_exit_sends_the_rest(shape: tuple[int, int]) -> None:
    """Values with ``wait=None`` arrive although the interpreter ends at once."""
    code = f"""
files = FileManager()
for number in range(5):
    files.save(pattern(number, {shape}), str(number), backend="streaming", wait=None)
"""
    with listening() as listener, running(code) as child:
        assert child.wait() == 0
        assert listener.items(5) == [describe(f"{n}", pattern(n, shape)) for n in range(5)]


@pytest.mark.slow
def test_exit_waits_a_moment() -> None:
    """A receiver that takes no values does not keep a pipeline from ending."""
    code = """
files = FileManager()
for number in range(2):
    files.save(pattern(number, (500, 500)), str(number), backend="streaming", wait=None)
say(sent=True)
"""
    with listening(max_queued=1 << 18, hold=True), running(code) as child:
        assert child.says() == {"sent": True}
        assert child.wait() == 0


# ── the end ──────────────────────────────────────────────────────────────────────────────


def test_close_can_be_repeated() -> None:
    """Connections, handles and backends can be closed again. A closed backend opens again."""
    with listening() as listener:
        with connect_to(listener.endpoint) as connection:
            connection.close()
            data = pattern(0, SMALL)
            with pytest.raises(ReceiverUnavailableError, match="this connection was closed"):
                connection.send(image("a", data), data, awaited=True)
        with RemoteViewer(listener.endpoint) as viewer:
            viewer.close()
        with sending() as files:
            files.save(pattern(0, LARGE), "a", backend="out")
            backend: Any = files.registry["out"]
            backend.close()
            backend.close()
            files.save(pattern(0, LARGE), "a", backend="out")
        assert becomes(lambda: listener.state()["producers"] == 0)
        assert becomes(lambda: listener.state()["rings"] == 0)
        assert listener.items(2) == [describe("a", pattern(0, LARGE))] * 2


def test_late_answer_is_dropped() -> None:
    """An answer after the time-out is discarded, and the connection still works."""
    with listening(hold=True) as listener, RemoteViewer(listener.endpoint) as viewer:
        viewer.timeout = 0.2
        with pytest.raises(ReceiverTimeoutError):
            viewer.layers()
        listener.go_on()
        viewer.timeout = 10
        with pytest.raises(RejectedError, match="a script does not answer queries"):
            viewer.layers()
        assert not viewer._connection._in_flight.answers
        assert not viewer._connection._in_flight.pending


def test_container_gets_frames() -> None:
    """A producer in another namespace of processes, as in a container, shares no memory."""
    namespace = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    tried = subprocess.run([*namespace, "true"], capture_output=True, text=True)
    if tried.returncode:
        pytest.skip(f"system: no namespace can be made: {tried.stderr.strip()}")
    code = """
with sending(connection=sys.argv[1]) as files:
    files.save(pattern(1, (1500, 1100)), "a", backend="out")
    say(saved=True)
    hear()
"""
    with listening() as listener, running(code, listener.file, before=namespace) as child:
        assert child.says() == {"saved": True}
        assert listener.state()["rings"] == 0
        assert listener.item() == describe("a", pattern(1, LARGE))
        child.tell("end")
        assert child.wait() == 0


def test_views_travel_whole() -> None:
    """Slices, transposed arrays and arrays of one row arrive as they look."""
    base = pattern(3, (1300, 1700))
    views = [base[::2, 5:-3], base.T, base[3:4], base[:, ::-1], np.asfortranarray(base)]
    with listening() as listener, sending() as files:
        for number, view in enumerate(views):
            files.save(view, f"{number}", backend="out")
        assert listener.items(5) == [
            describe(f"{n}", np.ascontiguousarray(view)) for n, view in enumerate(views)
        ]


@pytest.mark.parametrize("nbytes", [PIECE - 2, PIECE, PIECE + 2, 3 * PIECE])
@pytest.mark.parametrize("share", [True, False], ids=["ring", "frames"])
@pytest.mark.slow
def test_pieces_fit_exactly(nbytes: int, share: bool) -> None:
    """Values of about one piece, or of several, arrive whole."""
    data = pattern(nbytes, (2, nbytes // 4))
    with listening() as listener:
        with connect_to(listener.endpoint, share_memory=share) as connection:
            connection.wait_for(connection.send(image("a", data), data, awaited=True))
        assert listener.item() == describe("a", data)
