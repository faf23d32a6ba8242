"""Receivers of protocol 1.1 get several messages of a batch together."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from msgspec.structs import replace

from polystore_core.errors import BatchError
from polystore_stream.sending import connection
from polystore_stream.wire.messages import (
    PIECE,
    PROTOCOL,
    Ack,
    Welcome,
    encode,
    read_reply,
)
from polystore_stream.wire.ring import RingWriter

from .processes import (
    describe,
    hello_to,
    image,
    listening,
    pattern,
    raw,
    running,
    sending,
)

if TYPE_CHECKING:
    import zmq

pytestmark = [
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

SHAPES = [(300, 300), (40, 50), (300, 200), (900, 800), (300, 300), (1500, 1100)]
"""Values for slots, for a frame, and of several pieces."""

COUNTS = """
from polystore_stream.receiving import intake
intake.PROTOCOL = {}
take = intake.Intake.take
def counted(self, identity, frames):
    most[0] = max(most[0], len(frames))
    take(self, identity, frames)
intake.Intake.take = counted
most = [0]
with receive("default") as items:
    say(ready=True)
    for item in items:
        say(path=item.path, shape=item.data.shape, dtype=item.data.dtype.str,
            crc=checksum(item.data), most=most[0])
"""


@pytest.fixture(autouse=True)
def _always_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make values wait for each other, however slow this machine is."""
    monkeypatch.setattr(connection, "_SOON", 1e9)


@pytest.mark.parametrize("protocol", [(1, 0), (1, 1)])
def test_batch_arrives(protocol: tuple[int, int]) -> None:
    """A receiver of 1.0 gets each header alone, and both get every value, in order."""
    data = [pattern(number, SHAPES[number % len(SHAPES)]) for number in range(60)]
    with running(COUNTS.format(protocol)) as child, sending() as files:
        assert child.says() == {"ready": True}
        files.save_batch(data, [f"{number:02}" for number in range(60)], backend="out")
        taken = [child.says() for _ in data]
    most = taken[-1]["most"]
    assert most > 2 if protocol == (1, 1) else most == 2  # a frame behind its header
    assert taken == [
        describe(f"{number:02}", value) | {"most": taken[number]["most"]}
        for number, value in enumerate(data)
    ]


def test_rest_of_a_batch_is_sent() -> None:
    """Values before a failure are sent, and so is a batch with ``wait=None``."""
    data = [pattern(number, (300, 300)) for number in range(3)]
    with listening() as listener, sending() as files:
        files.save(data[0], "first", backend="out")
        with pytest.raises(BatchError, match="object"):
            files.save_batch([*data, np.array([object()])], ["a", "b", "c", "d"], backend="out")
        assert [item["path"] for item in listener.items(4)] == ["first", "a", "b", "c"]
        files.save_batch(data, ["e", "f", "g"], backend="out", wait=None)
        assert [item["path"] for item in listener.items(3)] == ["e", "f", "g"]


def test_batch_passes_a_small_ring() -> None:
    """Waiting values are sent before their producer waits for a slot."""
    data = [pattern(number, (300, 300)) for number in range(20)]
    with listening() as listener, sending(max_in_flight=2 * PIECE) as files:
        files.save_batch(data, [f"{number}" for number in range(20)], backend="out")
        assert listener.items(20) == [describe(f"{n}", value) for n, value in enumerate(data)]


def test_each_header_is_answered() -> None:
    """Each header of a message is answered, also after a rejected one."""
    data = [pattern(number, (300, 300)) for number in range(3)]
    with listening() as listener, raw(listener.endpoint) as socket:
        ring = RingWriter(3)
        socket.send(encode(hello_to(listener.endpoint)))
        welcome = read_reply(socket.recv())
        assert isinstance(welcome, Welcome)
        assert welcome.protocol == PROTOCOL
        socket.send(encode(replace(ring.message, number=2)))
        assert read_reply(socket.recv()) == Ack(number=2, stage="received")
        for slot, value in enumerate(data):
            ring.slot(slot, value.nbytes)[:] = value.reshape(-1).view(np.uint8)
        slots = [0, 1, 7, 2]  # the ring has three
        headers = [
            replace(image(f"{slot}", data[slot % 3]), number=number, slot=slot)
            for number, slot in enumerate(slots, 3)
        ]
        socket.send_multipart([*map(encode, headers)])
        answers = read_answers(socket, 4)
        assert {number: answers[number].stage for number in answers} == {
            3: "received", 4: "received", 5: "rejected", 6: "received",
        }  # fmt: skip
        assert "slot 7 of 3" in answers[5].reason
        assert listener.items(3) == [describe(f"{n}", value) for n, value in enumerate(data)]
        ring.close()


def read_answers(socket: zmq.Socket[bytes], count: int) -> dict[int, Ack]:
    found: dict[int, Ack] = {}
    while len(found) < count:
        ack = read_reply(socket.recv())
        assert isinstance(ack, Ack)
        for number in (ack.number, *ack.others):
            assert number not in found
            found[number] = ack
    return found
