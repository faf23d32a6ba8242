"""Receivers are killed or closed, producers are interrupted, memory is full."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_testing.processes import becomes

from .processes import (
    Child,
    describe,
    listening,
    pattern,
    running,
    sending,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import FileManager

pytestmark = [
    pytest.mark.faults,
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SMALL, LARGE, HUGE = (40, 50), (1500, 1100), (4000, 5000)
SOON = 60.0
"""Seconds after which a call that hangs fails. It takes less than one on an idle machine."""


def save(files: FileManager, path: str = "a", shape: Any = SMALL, **options: Any) -> None:
    files.save(pattern(1, shape), path, backend="out", **options)


WAITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "shown": ({}, {"shape": SMALL, "wait": "shown"}),
    "large-shown": ({}, {"shape": LARGE, "wait": "shown"}),
    "room": ({"max_queued": 1 << 20}, {"shape": HUGE}),
    "room-unawaited": ({"max_queued": 1 << 20}, {"shape": HUGE, "wait": None}),
}
waits = pytest.mark.parametrize(("options", "call"), WAITS.values(), ids=WAITS)
"""A save that waits for the viewer, and one that waits for room in the middle of its pixels."""


def start_blocked_save(
    pool: ThreadPoolExecutor, files: FileManager, call: dict[str, Any]
) -> Future[None]:
    """Start a save that waits, and return its future."""
    save(files, "first", LARGE)
    pattern(1, call["shape"])
    waiting = pool.submit(save, files, **call)
    time.sleep(0.3)
    assert not waiting.done()
    return waiting


def settle(files: FileManager, waiting: Future[None]) -> None:
    """Raise the error of a save, or of the next call if the save has ``wait=None``."""
    waiting.result(timeout=SOON)
    backend: Any = files.registry["out"]
    backend.flush()


# ── the receiver ends ─────────────────────────────────────────────────────────────────────


@waits
def test_receiver_dies_during_a_wait(options: dict[str, Any], call: dict[str, Any]) -> None:
    """A waiting save fails at once if the receiver dies. A new receiver gets the next save."""
    with sending() as files, ThreadPoolExecutor(1) as pool:
        with listening(hold=True, **options) as listener:
            waiting = start_blocked_save(pool, files, call)
            listener.kill()
            with pytest.raises(ReceiverUnavailableError, match="died"):
                waiting.result(timeout=SOON)
        with listening() as listener:
            save(files, "next", LARGE)
            assert listener.item() == describe("next", pattern(1, LARGE))


def test_receiver_dies_between_saves() -> None:
    """Every save fails until there is a receiver again."""
    with sending() as files:
        with listening() as listener:
            save(files, "first", LARGE)
            assert listener.item()["path"] == "first"
            listener.kill()
            for _ in range(3):
                with pytest.raises(ReceiverUnavailableError):
                    save(files, shape=LARGE)
        with listening() as listener:
            save(files, "next", LARGE)
            assert listener.item() == describe("next", pattern(1, LARGE))


def test_receiver_dies_before_acknowledgement() -> None:
    """A later save reports values with ``wait=None`` that died with the receiver."""
    with sending() as files:
        with listening(hold=True, max_queued=1 << 20) as listener:
            save(files, "first", LARGE)
            save(files, "lost", SMALL, wait=None)
            time.sleep(0.2)
            listener.kill()
        with listening() as listener:
            with pytest.raises(ReceiverUnavailableError, match="died"):
                save(files, "next", LARGE)
            save(files, "next", LARGE)
            assert listener.item() == describe("next", pattern(1, LARGE))


def test_one_of_two_dies() -> None:
    """The save reports that one receiver has died. The other one gets all later values."""
    with listening() as one, listening() as other, sending() as files:
        save(files, "both", LARGE)
        one.kill()
        try:
            save(files, "perhaps", LARGE)
        except ReceiverUnavailableError:
            save(files, "after", LARGE)
        save(files, "last", LARGE)
        paths = [item["path"] for item in other.until("last")]
        assert paths[0] == "both"
        assert {"perhaps", "after"} & {*paths}


@waits
def test_receiver_is_closed_during_a_wait(
    options: dict[str, Any], call: dict[str, Any]
) -> None:
    """A save that waits learns that the user closed the receiver."""
    with (
        sending() as files,
        ThreadPoolExecutor(1) as pool,
        listening(hold=True, **options) as listener,
    ):
        waiting = start_blocked_save(pool, files, call)
        listener.close()
        with pytest.raises(ReceiverUnavailableError, match="was closed"):
            settle(files, waiting)
        assert listener.has_ended()
        # The first error may come from the receiver itself, before its connection ends. The next
        # save then finds the lost connection.
        with pytest.raises(ReceiverUnavailableError, match=r"has no receiver|was closed"):
            save(files)
        with pytest.raises(ReceiverUnavailableError, match="has no receiver"):
            save(files)


def test_restarted_receiver_is_found() -> None:
    """The next save finds a receiver that was closed and started again, any number of times."""
    with sending() as files:
        for _ in range(3):
            with listening() as listener:
                save(files, "a", LARGE)
                assert listener.item() == describe("a", pattern(1, LARGE))
                listener.close()
                assert listener.has_ended()


# ── Ctrl-C ───────────────────────────────────────────────────────────────────────────────

INTERRUPTED = """
files = FileManager()
first, data = (pattern(1, tuple(shape)) for shape in json.loads(sys.argv[1]))
files.save(first, "first", backend="streaming")
try:
    say(ready=True)
    files.save(data, "a", backend="streaming", wait=json.loads(sys.argv[2]))
    say(end="saved")
except KeyboardInterrupt:
    say(end="interrupted")
hear()
files.save(first, "next", backend="streaming")
files.registry.close()
say(end="closed")
"""


@waits
def test_interrupted_save_ends(options: dict[str, Any], call: dict[str, Any]) -> None:
    """Ctrl-C ends a waiting save at once. The next save works, and no room stays reserved."""
    arguments = json.dumps([LARGE, call["shape"]]), json.dumps(call.get("wait", "received"))
    with listening(hold=True, **options) as listener, running(INTERRUPTED, *arguments) as child:
        assert child.says() == {"ready": True}
        time.sleep(0.4)
        child.send_signal(signal.SIGINT)
        assert child.says() == {"end": "interrupted"}
        listener.go_on()
        child.tell("go")
        assert listener.until("next")[-1] == describe("next", pattern(1, LARGE))
        assert child.says() == {"end": "closed"}
        assert child.wait() == 0
        assert becomes(lambda: listener.state()["producers"] == 0)
        state = listener.state()
        assert (state["nbytes"], state["rings"]) == (0, 0)


STORM = """
files = FileManager()
data = [pattern(n, shape) for n, shape in enumerate([(40, 50), (300, 300), (1500, 1100)])]
files.save(data[0], "first", backend="streaming")
say(ready=True)
number = interrupted = 0
ends = False
while not ends:
    try:
        while True:
            number += 1
            wait = (None, "received", "shown")[number // 3 % 3]
            files.save(data[number % 3], str(number % 3), backend="streaming", wait=wait)
    except KeyboardInterrupt:
        interrupted += 1
        ends = interrupted == 25
say(number=number)
files.save(data[0], "last", backend="streaming")
files.registry.close()
"""


def test_interrupts_damage_nothing() -> None:
    """Values arrive whole although Ctrl-C comes at any time, and later saves work."""
    chance = random.Random(3)
    whole = {
        str(n): describe(str(n), pattern(n, shape))
        for n, shape in enumerate([SMALL, (300, 300), LARGE])
    }
    with listening() as listener, running(STORM) as child:
        assert child.says() == {"ready": True}
        taken = []
        for _ in range(25):
            taken.append(listener.item())  # the child continues between two interrupts
            time.sleep(0.03 + chance.uniform(0, 0.02))
            child.send_signal(signal.SIGINT)
        while True:
            said = child.says()
            if said is None or "number" in said:
                break
        taken += listener.until("last")
        assert child.wait() == 0
        assert all(item == whole[item["path"]] for item in taken[1:-1])
        assert becomes(lambda: listener.state()["producers"] == 0)
        state = listener.state()
        assert (state["nbytes"], state["rings"]) == (0, 0)


def test_interrupted_receiver_ends() -> None:
    """Ctrl-C ends a receiving loop at once, and the receiver leaves nothing."""
    code = """
try:
    for item in receive():
        say(path=item.path)
except KeyboardInterrupt:
    say(end="interrupted")
"""
    with running(code) as child, sending() as files:
        assert becomes(lambda: has_receiver(files))
        assert child.says() == {"path": "a"}
        time.sleep(0.2)
        child.send_signal(signal.SIGINT)
        while (said := child.says()) == {"path": "a"}:
            pass
        assert said == {"end": "interrupted"}
        assert child.wait() == 0


def has_receiver(files: FileManager) -> bool:
    try:
        save(files)
    except ReceiverUnavailableError:
        return False
    return True


# ── no shared memory ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def on_full_memory() -> Callable[..., Child]:
    """Run code with a /dev/shm that holds a few MiB."""
    tried = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", "/dev/shm"],
        capture_output=True,
        text=True,
    )
    if tried.returncode:
        pytest.skip(f"system: no tmpfs can be mounted: {tried.stderr.strip()}")

    def begin(code: str, *, size: str) -> Any:
        mount = f'mount -t tmpfs -o size={size} tmpfs /dev/shm && exec "$@"'
        return running(code, before=["unshare", "-m", "/bin/sh", "-c", mount, "sh"])

    return begin


def test_full_memory_is_survived(on_full_memory: Any) -> None:
    """Values arrive although /dev/shm is full, as in containers."""
    code = """
from polystore_stream.wire.ring import RingWriter
with open("/dev/shm/filler", "wb", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
with sending() as files:
    for number in range(4):
        files.save(pattern(number, (1500, 1100)), str(number), backend="out")
try:
    RingWriter(4, named=True)
except OSError as error:
    say(refused=error.errno, left=os.listdir("/dev/shm"))
"""
    with listening() as listener, on_full_memory(code, size="1m") as child:
        assert listener.items(4) == [describe(f"{n}", pattern(n, LARGE)) for n in range(4)]
        assert child.says() == {"refused": 28, "left": ["filler"]}
        assert child.wait() == 0


def test_half_full_memory_is_used(on_full_memory: Any) -> None:
    """If a slot has no memory, its payload travels as a frame instead."""
    code = """
from polystore_stream.sending.connection import Connection
from polystore_stream.wire.ring import RingWriter
with listening() as listener:
    connection = Connection(listener.endpoint, "out", share_memory=False)
    # As on a system that has no memory without a name.
    connection._ring = RingWriter(8, named=True)
    connection._ask(connection._ring.message, 5)
    connection._in_flight.free.extend(range(8))
    connection._ring.forget_name()
    values = [pattern(n, (1500, 1100) if n % 2 else (300, 300)) for n in range(6)]
    for number, data in enumerate(values):
        connection.wait_for(connection.send(image(str(number), data), data, awaited=True))
    whole = listener.items(6) == [describe(str(n), data) for n, data in enumerate(values)]
    say(whole=whole, left=os.listdir("/dev/shm"), reserved=len(connection._ring._reserved))
    say(free=sorted(connection._in_flight.free), in_flight=connection._in_flight.nbytes)
    connection.close()
"""
    with on_full_memory(code, size="5m") as child:
        assert child.says() == {"whole": True, "left": [], "reserved": 2}
        assert child.says() == {"free": [*range(8)], "in_flight": 0}
        assert child.wait() == 0


@pytest.mark.parametrize("limit", ["FSIZE, (1 << 20, -1)", "NOFILE, (opened, opened)"])
def test_frames_replace_a_ring(limit: str) -> None:
    """If the system gives no shared memory, pixels travel as frames."""
    code = f"""
import resource
with sending() as files:
    files.save(pattern(0, (40, 50)), "first", backend="out")
    opened = len(os.listdir("/proc/self/fd")) - 1
    resource.setrlimit(resource.RLIMIT_{limit})
    for number in range(4):
        files.save(pattern(number, (1500, 1100)), str(number), backend="out")
    hear()
"""
    with listening() as listener, running(code) as child:
        assert listener.item()["path"] == "first"
        assert listener.items(4) == [describe(f"{n}", pattern(n, LARGE)) for n in range(4)]
        assert listener.state()["rings"] == 0
        child.tell("end")
        assert child.wait() == 0
