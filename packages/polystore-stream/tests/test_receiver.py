"""Receivers get wrong messages, and producers die."""

from __future__ import annotations

import os
import random
import secrets
import signal
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import pytest

from polystore_core.errors import InvalidOptionError
from polystore_stream import Receiver, receive
from polystore_stream.wire.messages import (
    PIECE,
    Ack,
    Bye,
    Image,
    Piece,
    Query,
    Ring,
    Rois,
    encode,
    read_reply,
)
from polystore_stream.wire.ring import RingWriter
from polystore_testing.processes import becomes

from .processes import (
    Listener,
    Toy,
    describe,
    hello_to,
    listening,
    pattern,
    raw,
    running,
    sending,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

IMAGE = Image(number=7, path="a", nbytes=12, shape=(3, 4), dtype="|u1", axes="yx")
PIXELS = bytes(range(12))


def large(**changes: Any) -> Image:
    """Return the header of an image of two and a half pieces."""
    nbytes = 2 * PIECE + PIECE // 2
    found: Image = msgspec.structs.replace(
        IMAGE, **{"nbytes": nbytes, "shape": (2, nbytes // 2), **changes}
    )
    return found


Ask = Any


@contextmanager
def greet(listener: Listener) -> Iterator[Ask]:
    """Give a function that sends frames after hello, and returns the answer."""
    with raw(listener.endpoint) as socket:

        def ask(*frames: Any, hear: bool = True) -> Any:
            parts = [
                encode(frame) if isinstance(frame, msgspec.Struct) else frame
                for frame in frames
            ]
            socket.send_multipart(parts)
            return read_reply(socket.recv()) if hear else None

        ask(hello_to(listener.endpoint))
        yield ask


@pytest.fixture(scope="module")
def strong_receiver() -> Iterator[Listener]:
    """Give one receiver, which has to survive all tests of this module."""
    with pytest.MonkeyPatch.context() as patch:
        folder = f"/tmp/ps-{secrets.token_hex(4)}"
        patch.setenv("POLYSTORE_RUNTIME_DIR", folder)
        with listening() as listener:
            yield listener
            listener.close()
            assert listener.has_ended()
        for name in os.listdir(folder):
            os.unlink(f"{folder}/{name}")
        os.rmdir(folder)


@pytest.fixture
def receiver(strong_receiver: Listener, monkeypatch: pytest.MonkeyPatch) -> Iterator[Listener]:
    """Give the strong receiver, and check that it still serves a correct producer afterwards."""
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(strong_receiver.file.parent))
    yield strong_receiver
    data = pattern(1, (1200, 1000))
    with sending() as files:
        files.save(data, "fine", backend="out")
    assert strong_receiver.until("fine")[-1] == describe("fine", data)
    assert becomes(lambda: strong_receiver.state()["producers"] == 0)
    state = strong_receiver.state()
    assert (state["nbytes"], state["rings"]) == (0, 0)


# ── unreadable messages ───────────────────────────────────────────────────────────────────

UNREADABLE: dict[str, list[bytes]] = {
    "empty": [b""],
    "garbage": [b"\x80\x04\x95garbage"],
    "no-object": [b"[1, 2]"],
    "unknown-type": [b'{"type":"launch_missiles","number":1}'],
    "no-type": [b'{"number":1}'],
    "deep": [b"[" * 100_000],
    "wrong-field": [b'{"type":"piece","number":1,"of":"x","start":0,"nbytes":1}'],
    "surrogate": [b'{"type":"query","number":1,"name":"\\ud800"}'],
    "no-utf8": [b'{"type":"query","number":1,"name":"\xff"}'],
    "object-dtype": [encode(msgspec.structs.replace(IMAGE, dtype="|O")), PIXELS],
    "big-endian": [encode(msgspec.structs.replace(IMAGE, dtype=">u2")), PIXELS],
    "negative-shape": [encode(msgspec.structs.replace(IMAGE, shape=(-3, -4))), PIXELS],
    "other-nbytes": [encode(msgspec.structs.replace(IMAGE, nbytes=11)), PIXELS[:11]],
    "no-bytes": [encode(Rois(number=7, path="a", nbytes=0, count=0))],
}


@pytest.mark.parametrize("frames", UNREADABLE.values(), ids=UNREADABLE)
def test_unreadable_ends_session(receiver: Listener, frames: list[bytes]) -> None:
    """A producer with an unreadable message gets one error, and has to say hello again."""
    with greet(receiver) as ask:
        reply = ask(*frames)
        assert (reply.stage, reply.number) == ("rejected", 0)
        assert "(message) is damaged" in reply.reason
        assert ask(IMAGE, PIXELS).reason == "the first message must be hello"
        ask(hello_to(receiver.endpoint))
        assert ask(IMAGE, PIXELS) == Ack(number=7, stage="received")


def test_odd_frames_are_survived(receiver: Listener) -> None:
    """Send an empty message, a thousand frames, and a huge header."""
    with greet(receiver) as ask:
        ask(b"", hear=False)
        ask(*[b"x"] * 1000, hear=False)
        ask(b'{"type":"query","name":"' + b"x" * 8_000_000 + b'"}', hear=False)


def test_hello_comes_first(receiver: Listener) -> None:
    """Messages before hello are rejected."""
    with raw(receiver.endpoint) as socket:
        for header in (IMAGE, Piece(of=1, start=0, nbytes=3), Query(name="layers"), Bye()):
            socket.send_multipart([encode(header), PIXELS])
            assert read_reply(socket.recv()) == Ack(
                number=header.number, stage="rejected", reason="the first message must be hello"
            )


REFUSED: dict[str, tuple[list[Any], str]] = {
    "no-frame": ([IMAGE], "expected one frame of 12 bytes"),
    "short-frame": ([IMAGE, PIXELS[:5]], "expected one frame of 12 bytes"),
    "long-frame": ([IMAGE, PIXELS * 2], "expected one frame of 12 bytes"),
    "two-frames": ([IMAGE, PIXELS, PIXELS], "expected one frame of 12 bytes"),
    "no-ring": (
        [msgspec.structs.replace(IMAGE, slot=0)],
        "this connection does not have a ring",
    ),
    "unknown-message": (
        [Piece(number=7, of=99, start=0, nbytes=3), b"abc"],
        "message 99, which",
    ),
    "too-large": ([large(shape=(1 << 30, 1 << 30), nbytes=1 << 60), PIXELS], "of memory left"),
    "beyond-words": ([large(shape=(1 << 80, 1), nbytes=1 << 80), PIXELS], "of memory left"),
    "rois-no-json": ([Rois(number=7, path="a", nbytes=3, count=1), b"abc"], "damaged"),
    "rois-no-list": ([Rois(number=7, path="a", nbytes=2, count=1), b"{}"], "a list of 1 ROIs"),
    "rois-of-numbers": ([Rois(number=7, path="a", nbytes=3, count=1), b"[5]"], ""),
    "rois-unknown": ([Rois(number=7, path="a", nbytes=4, count=1), b"[{}]"], ""),
    "ring-anywhere": (
        [Ring(number=7, path="/etc/passwd", size=1, nonce="")],
        "not the path of a",
    ),
    "ring-nowhere": (
        [Ring(number=7, path="/proc/1/fd/999", size=1, nonce="")],
        "/proc/1/fd/999",
    ),
    "ring-above": (
        [Ring(number=7, path="/dev/shm/../etc", size=1, nonce="")],
        "not the path of a",
    ),
}


@pytest.mark.parametrize(("frames", "reason"), REFUSED.values(), ids=REFUSED)
def test_wrong_message_is_refused(receiver: Listener, frames: list[Any], reason: str) -> None:
    """A readable but wrong message is rejected with its number, and the session continues."""
    with greet(receiver) as ask:
        reply = ask(*frames)
        assert (reply.stage, reply.number) == ("rejected", 7)
        assert reason in reply.reason
        assert ask(msgspec.structs.replace(IMAGE, number=8), PIXELS).stage == "received"


def test_ring_is_checked(receiver: Listener) -> None:
    """Missing slots, another nonce or size, and other memory are rejected."""
    pipe = os.pipe()
    ring = RingWriter(2)
    honest = ring.message
    with greet(receiver) as ask:
        for changes in (
            {"nonce": "00" * 16},
            {"nonce": "no hexadecimal"},
            {"size": honest.size + PIECE},
            {"path": f"/proc/{os.getpid()}/fd/{pipe[0]}"},
            {"path": f"/proc/{os.getpid()}/fd/{os.open('/dev/null', os.O_RDONLY)}"},
        ):
            reply = ask(msgspec.structs.replace(honest, number=7, **changes))
            assert (reply.number, reply.stage) == (7, "rejected")
        assert ask(msgspec.structs.replace(honest, number=7)).stage == "received"
        for slot in (2, 1 << 40):
            reply = ask(msgspec.structs.replace(IMAGE, slot=slot))
            assert f"12 bytes do not fit slot {slot} of 2 slots" in reply.reason
        assert ask(msgspec.structs.replace(IMAGE, number=9, slot=1)).stage == "received"
    os.close(int(changes["path"].rpartition("/")[2]))
    for end in pipe:
        os.close(end)
    ring.close()


def test_pieces_come_in_order(receiver: Listener) -> None:
    """A piece at the wrong place ends the value, and its room is free again."""
    whole = bytes(PIECE)
    for wrong in (
        Piece(number=8, of=7, start=0, nbytes=PIECE),
        Piece(number=8, of=7, start=2 * PIECE, nbytes=PIECE // 2),
        Piece(number=8, of=7, start=PIECE, nbytes=PIECE + 1),
        Piece(number=8, of=7, start=PIECE, nbytes=0),
        Piece(number=8, of=7, start=PIECE, nbytes=-5),
        Piece(number=8, of=7, start=PIECE, nbytes=PIECE // 2),
    ):
        with greet(receiver) as ask:
            assert ask(large(), whole).stage == "received"
            assert receiver.state()["nbytes"] == large().nbytes
            assert ask(wrong, whole).stage == "rejected"
            assert receiver.state()["nbytes"] == 0
            assert (
                ask(Piece(number=9, of=7, start=PIECE, nbytes=PIECE), whole).stage == "rejected"
            )


def test_number_is_used_once(receiver: Listener) -> None:
    """A second message with the number of an unfinished one, or a second hello, leaks no room."""
    with greet(receiver) as ask:
        ask(large(), bytes(PIECE))
        assert "message number 7 is already in use" in ask(large(), bytes(PIECE)).reason
        assert receiver.state()["nbytes"] == large().nbytes
        assert ask(hello_to(receiver.endpoint)).pid == receiver.pid
        assert receiver.state()["nbytes"] == 0


def test_bye_frees_room(receiver: Listener) -> None:
    """An unfinished value ends at once after bye, or when its connection is lost."""
    with greet(receiver) as ask:
        ask(large(), bytes(PIECE))
        ask(Bye(), hear=False)
        assert becomes(lambda: receiver.state()["nbytes"] == 0, 1)
        assert ask(IMAGE, PIXELS).reason == "the first message must be hello"
    with greet(receiver) as ask:
        ask(large(), bytes(PIECE))
        assert receiver.state()["nbytes"] == large().nbytes
    assert becomes(lambda: receiver.state()["nbytes"] == 0, 1)  # although this process lives


def test_huge_frame_ends_connection(receiver: Listener) -> None:
    """A frame of 100 MB is not read."""
    before = receiver.state()["peak"]
    with greet(receiver) as ask:
        ask(msgspec.structs.replace(IMAGE, nbytes=100 << 20), bytes(100 << 20), hear=False)
        time.sleep(0.2)
    assert receiver.state()["peak"] - before < 50 << 20


def test_random_messages_are_survived(receiver: Listener) -> None:
    """Two thousand honest messages, each with some changed bytes."""
    chance = random.Random(5)
    honest = [
        [encode(IMAGE), PIXELS],
        [encode(large()), bytes(PIECE)],
        [encode(Piece(number=8, of=7, start=PIECE, nbytes=PIECE)), bytes(PIECE)],
        [encode(Rois(number=7, path="a", nbytes=2, count=0)), b"[]"],
        [encode(Ring(number=1, path=f"/proc/{os.getpid()}/fd/1", size=4096, nonce="00"))],
        [encode(Query(number=3, name="layers", arguments={"a": [1, {}]}))],
        [encode(hello_to(receiver.endpoint))],
        [encode(Bye())],
    ]
    with raw(receiver.endpoint) as socket:
        for _ in range(2000):
            frames = [bytearray(frame) for frame in chance.choice(honest)]
            for _ in range(chance.choice((0, 0, 1, 1, 2, 5))):
                frame = chance.choice(frames)
                frame[chance.randrange(len(frame))] = chance.choice(
                    b'0123456789-."{}[]ax\xff\0'
                )
            if chance.random() < 0.1:
                chance.shuffle(frames)
            socket.send_multipart(frames)
            while socket.poll(0):
                read_reply(socket.recv_multipart()[0])


# ── producers that die ────────────────────────────────────────────────────────────────────

PRODUCER = """
files = FileManager()
files.registry.add("out", "streaming", max_in_flight=4 << 20)
files.save(pattern(1, (1200, 1000)), "before", backend="out")
say(saved=True)
hear()
number = 0
while True:
    files.save(pattern(1, (4000, 4000)), "large", backend="out", wait=None)
"""


@pytest.mark.faults
@pytest.mark.parametrize("trial", range(3))
def test_killed_producer_frees_all(trial: int) -> None:
    """The receiver releases its ring and its unfinished image, and serves another producer."""
    with listening() as listener, sending() as files:
        with running(PRODUCER) as producer:
            assert producer.says() == {"saved": True}
            assert listener.state()["rings"] == 1
            producer.tell("go")
            assert listener.until("before")
            time.sleep(0.3 + trial * 0.05)
            producer.kill()
            assert becomes(lambda: listener.state()["rings"] == 0, 3)
            assert becomes(lambda: listener.state()["producers"] == 0, 3)
        files.save(pattern(2, (1200, 1000)), "after", backend="out")
        taken = listener.until("after")
        assert taken[-1] == describe("after", pattern(2, (1200, 1000)))
        large = describe("large", pattern(1, (4000, 4000)))
        assert taken[:-1] == [large] * (len(taken) - 1)
        assert listener.state()["nbytes"] == 0


@pytest.mark.faults
def test_killed_while_waiting_for_room() -> None:
    """A producer that dies while it waits for room leaves no room reserved."""
    with listening(max_queued=1 << 20, hold=True) as listener:
        with running(PRODUCER) as producer:
            assert producer.says() == {"saved": True}
            producer.tell("go")
            time.sleep(0.3)
            producer.kill()
        listener.go_on()
        assert becomes(lambda: listener.state()["producers"] == 0, 3)
        with sending() as files:
            files.save(pattern(2, (1200, 1000)), "after", backend="out")
        assert listener.until("after")[-1] == describe("after", pattern(2, (1200, 1000)))
        assert becomes(lambda: listener.state()["producers"] == 0)  # its goodbye is on its way
        state = listener.state()
        assert (state["nbytes"], state["rings"]) == (0, 0)


@pytest.mark.faults
def test_killed_while_its_child_lives() -> None:
    """A child that inherited the descriptors of a dead producer keeps nothing open."""
    code = PRODUCER.replace("hear()", "os.fork() or time.sleep(8) or os._exit(0)")
    with listening() as listener, running(code) as producer:
        assert producer.says() == {"saved": True}
        children = Path(f"/proc/{producer.pid}/task/{producer.pid}/children")
        assert becomes(children.read_text)
        child = int(children.read_text())
        time.sleep(0.2)
        producer.process.kill()
        try:
            assert becomes(lambda: listener.state()["producers"] == 0, 3)
            assert becomes(lambda: listener.state()["rings"] == 0, 3)
        finally:
            os.kill(child, signal.SIGKILL)


# ── life of a receiver ────────────────────────────────────────────────────────────────────


def test_name_is_taken_once() -> None:
    """Only one viewer of a name can run. Its name is free when it has ended."""
    with Toy("one").receiver as first:
        with pytest.raises(InvalidOptionError, match=r"'one'.*a free name"):
            Toy("one")
        with Toy("other").receiver as other:
            assert other.endpoint.name == "other"
        assert not first.is_closed
    with Toy("one").receiver:
        pass


def test_killed_name_is_free() -> None:
    """The name of a killed viewer can be used at once, and its files are removed."""
    with running("viewer = Toy('one'); say(ready=True); viewer.show()") as viewer:
        assert viewer.says() == {"ready": True}
        viewer.kill()
        with Toy("one").receiver as receiver:
            assert len(list(receiver.connection_file.parent.glob("*.sock"))) == 1


def test_bad_address_is_error() -> None:
    """An address that cannot be bound leaves nothing behind."""
    for address in ("tcp://256.1.1.1:0", "nowhere", "ipc:///no/such/folder/socket"):
        with pytest.raises(InvalidOptionError, match="listen"):
            receive(listen=address)


def test_close_ends_iteration() -> None:
    """A receiver that is closed by another thread, or twice, ends its loop and leaves nothing."""
    with listening() as listener:
        listener.close()
        listener.close()
        assert listener.has_ended()
        assert not listener.file.exists()


def test_forgotten_receiver_is_closed() -> None:
    """A script that ends without closing its receiver leaves no file."""
    with running("items = receive(); say(file=str(items.receiver.connection_file))") as child:
        file = child.says()["file"]
        assert child.wait() == 0
        assert not os.path.exists(file)
        assert not [name for name in os.listdir(os.path.dirname(file)) if "~" not in name]


def test_receiver_has_text() -> None:
    """The text of a receiver has its address and the number of producers."""
    with Toy("one").receiver as receiver:
        assert isinstance(receiver, Receiver)
        assert repr(receiver).endswith(".sock: 0 producers>")
    assert repr(receiver).endswith(".sock: closed>")


def test_values_are_its_own() -> None:
    """A received array does not change when the producer sends the next one."""
    code = """
held = []
with receive() as items:
    say(ready=True)
    for item in items:
        held.append(item.data)
        if len(held) == 6:
            break
say(sums=[checksum(data) for data in held], writable=[data.flags.writeable for data in held])
"""
    with running(code) as child, sending(max_in_flight=4 << 20) as files:
        assert child.says() == {"ready": True}
        data = np.empty((1200, 1000), "u2")
        expected = []
        for number in range(6):
            data[:] = pattern(number, (1200, 1000))
            files.save(data, "same", backend="out")
            expected.append(describe("same", data)["crc"])
        assert child.says() == {"sums": expected, "writable": [True] * 6}
