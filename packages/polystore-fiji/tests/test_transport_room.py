"""Room in the inbox of the Java transport: which saves wait for it, and which values make it."""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import RejectedError
from polystore_stream.receiving.inbox import Inbox
from polystore_stream.receiving.viewer import Delivery
from polystore_stream.wire.messages import Query
from polystore_testing.processes import becomes, left_in

from .echo import Echo, compile_echo, connect, echo, image, pattern, read_back, send

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [
    pytest.mark.screen,
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("classes")
    compile_echo(folder)
    return folder


@pytest.fixture
def small_receiver(
    classes: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Echo]:
    """A receiver with 8 MiB of room, for one test."""
    # Short, because the kernel limits the length of the name of a socket.
    folder = tmp_path_factory.mktemp("ps")
    folder.chmod(0o700)
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
    with echo(classes, "alone", heap="64m") as running:
        yield running
        assert becomes(running.has_no_producers)
    assert running.complaints == b""
    assert not [name for name in left_in(folder) if str(running.pid) in name]


@pytest.mark.parametrize("shares", [True, False], ids=["ring", "frames"])
def test_block_waits(small_receiver: Echo, shares: bool) -> None:
    """A producer waits for room and loses no value."""
    small_receiver.tell("hold")
    data = [pattern(number, (1024, 1024)) for number in range(10)]  # 2 MiB each
    with connect(small_receiver.endpoint, share_memory=shares) as producer:
        transfers = [
            producer.send(image(f"{n}", value), value, awaited=True)
            for n, value in enumerate(data)
        ]
        time.sleep(3)
        producer.listen()
        assert sum(transfer.outcome is not None for transfer in transfers) == 4
        assert small_receiver.ask("state")["nbytes"] == 8 << 20
        with (
            connect(small_receiver.endpoint) as other,
            pytest.raises(Exception, match="answered"),
        ):
            send_in_time(other, pattern(0, (9, 9)))
        small_receiver.tell("go")
        assert {producer.wait_for(t).stage for t in transfers} == {"received"}
        for number, value in enumerate(data):
            np.testing.assert_array_equal(read_back(producer, f"{number}")[0], value)
    assert [path for path in small_receiver.taken if path.isdigit()] == [
        f"{n}" for n in range(10)
    ]


def send_in_time(producer: Any, data: Any) -> None:
    producer.timeout = 0.5
    send(producer, "small", data)


def test_large_value_needs_no_room(small_receiver: Echo) -> None:
    """A single value may be larger than the room, and many times larger than a slot."""
    data = pattern(4, (3000, 2000))
    with connect(small_receiver.endpoint) as producer:
        for _ in range(3):
            send(producer, "large", data)
        np.testing.assert_array_equal(read_back(producer, "large")[0], data)


@pytest.mark.parametrize("policy", ["drop_oldest", "coalesce"])
def test_old_values_make_room(small_receiver: Echo, policy: Any) -> None:
    """Without waiting, the newest values arrive in order, and the producer counts the others."""
    small_receiver.tell("hold")
    path = "same" if policy == "coalesce" else "p{}"
    with connect(small_receiver.endpoint) as producer:
        for number in range(12):
            send(producer, path.format(number), pattern(number, (1024, 1024)), policy=policy)
        small_receiver.tell("go")
        last = path.format(11)
        np.testing.assert_array_equal(read_back(producer, last)[0], pattern(11, (1024, 1024)))
        counters = producer.counters
        stage = "coalesced" if policy == "coalesce" else "dropped"
        kept = 1 if policy == "coalesce" else 4
        assert becomes(lambda: producer.listen() or getattr(counters, stage) == 12 - kept)
        assert counters.received == 12
    assert small_receiver.taken == [path.format(n) for n in range(12 - kept, 12)]


def test_makes_room_as_python_does(small_receiver: Echo) -> None:
    """With values of all policies, both receivers keep the same values in the same order."""
    small_receiver.tell("hold")
    assert small_receiver.ask("state")["nbytes"] == 0
    chance, like = random.Random(0), Inbox(8 << 20)
    with connect(small_receiver.endpoint) as producer:
        for number in range(200):
            policy = chance.choice(["drop_oldest", "coalesce", "coalesce", "block"])
            data = pattern(number, (chance.randrange(1, 1024), 1024))
            item = image(f"p{chance.randrange(12)}", data, policy=policy, at=(("n", "1"),))
            if not like.may_begin(item) or (policy == "block" and number > 20):
                continue
            producer.wait_for(producer.send(item, data, awaited=True))
            like.reserve(item.nbytes)
            like.push(Delivery(item, data, b"", number))
        small_receiver.tell("go")
        kept = [delivery.item.path for delivery in like.take()]
        assert len(kept) > 5
        assert becomes(lambda: small_receiver.taken == kept)


def test_full_memory_is_refused(small_receiver: Echo) -> None:
    """A value that is too large for ImageJ's memory is refused with advice. Others go on."""
    big = np.zeros((10_000, 10_000), "u1")
    with connect(small_receiver.endpoint) as producer:
        with pytest.raises(RejectedError, match=r"64 MiB.*Memory & Threads"):
            send(producer, "big", big)
        stages = [is_received(producer, f"{number}", big[:200]) for number in range(60)]
        assert any(stages)
        assert not all(stages)
        producer.ask(Query(name="clear"), 5)
        assert becomes(lambda: is_received(producer, "again", big[:200]))


def is_received(producer: Any, path: str, data: Any) -> bool:
    """Return whether a value is received. Memory is free some time after images were closed."""
    try:
        return bool(send(producer, path, data).stage == "received")
    except RejectedError as error:
        if "Memory & Threads" not in str(error):
            raise
        return False
