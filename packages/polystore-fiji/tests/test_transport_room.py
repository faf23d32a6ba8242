"""Room in the inbox of the Java transport: who waits for it, and who makes it."""

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

from .echo import Echo, compile_echo, connected, echo, held, image, pattern, send

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
def alone(
    classes: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Echo]:
    """A receiver of 8 MiB of room, which belongs to one test."""
    folder = tmp_path_factory.mktemp("ps")  # short: the kernel allows sockets no long names
    folder.chmod(0o700)
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(folder))
    with echo(classes, "alone", heap="64m") as running:
        yield running
        assert becomes(running.is_left)
    assert running.complaints == b""
    assert not [name for name in left_in(folder) if str(running.pid) in name]


@pytest.mark.parametrize("shares", [True, False], ids=["ring", "frames"])
def test_block_waits(alone: Echo, shares: bool) -> None:
    """A producer waits for room, and loses nothing."""
    alone.tell("hold")
    data = [pattern(number, (1024, 1024)) for number in range(10)]  # 2 MiB each
    with connected(alone.endpoint, share_memory=shares) as producer:
        transfers = [
            producer.send(image(f"{n}", value), value, awaited=True)
            for n, value in enumerate(data)
        ]
        time.sleep(3)
        producer.listen()
        assert sum(transfer.outcome is not None for transfer in transfers) == 4
        assert alone.ask("state")["nbytes"] == 8 << 20
        with connected(alone.endpoint) as other, pytest.raises(Exception, match="answered"):
            send_in_time(other, pattern(0, (9, 9)))
        alone.tell("go")
        assert {producer.wait_for(t).stage for t in transfers} == {"received"}
        for number, value in enumerate(data):
            np.testing.assert_array_equal(held(producer, f"{number}")[0], value)
    assert [path for path in alone.taken if path.isdigit()] == [f"{n}" for n in range(10)]


def send_in_time(producer: Any, data: Any) -> None:
    producer.timeout = 0.5
    send(producer, "small", data)


def test_large_value_alone(alone: Echo) -> None:
    """One value may be larger than all the room, and than a slot many times."""
    data = pattern(4, (3000, 2000))
    with connected(alone.endpoint) as producer:
        for _ in range(3):
            send(producer, "large", data)
        np.testing.assert_array_equal(held(producer, "large")[0], data)


@pytest.mark.parametrize("policy", ["drop_oldest", "coalesce"])
def test_old_values_make_room(alone: Echo, policy: Any) -> None:
    """Without waiting: what comes is the newest, in order, and the producer learns of the rest."""
    alone.tell("hold")
    path = "same" if policy == "coalesce" else "p{}"
    with connected(alone.endpoint) as producer:
        for number in range(12):
            send(producer, path.format(number), pattern(number, (1024, 1024)), policy=policy)
        alone.tell("go")
        last = path.format(11)
        np.testing.assert_array_equal(held(producer, last)[0], pattern(11, (1024, 1024)))
        counters = producer.counters
        stage = "coalesced" if policy == "coalesce" else "dropped"
        kept = 1 if policy == "coalesce" else 4
        assert becomes(lambda: producer.listen() or getattr(counters, stage) == 12 - kept)
        assert counters.received == 12
    assert alone.taken == [path.format(n) for n in range(12 - kept, 12)]


def test_makes_room_as_python_does(alone: Echo) -> None:
    """Of values of all policies, both receivers keep the same ones, in the same order."""
    alone.tell("hold")
    assert alone.ask("state")["nbytes"] == 0
    chance, like = random.Random(0), Inbox(8 << 20)
    with connected(alone.endpoint) as producer:
        for number in range(200):
            policy = chance.choice(["drop_oldest", "coalesce", "coalesce", "block"])
            data = pattern(number, (chance.randrange(1, 1024), 1024))
            item = image(f"p{chance.randrange(12)}", data, policy=policy, at=(("n", "1"),))
            if not like.may_begin(item) or (policy == "block" and number > 20):
                continue
            producer.wait_for(producer.send(item, data, awaited=True))
            like.reserve(item.nbytes)
            like.push(Delivery(item, data, b"", number))
        alone.tell("go")
        kept = [delivery.item.path for delivery in like.take()]
        assert len(kept) > 5
        assert becomes(lambda: alone.taken == kept)


def test_no_memory_is_refused(alone: Echo) -> None:
    """What ImageJ's memory cannot hold is refused with the remedy; the rest goes on."""
    big = np.zeros((10_000, 10_000), "u1")
    with connected(alone.endpoint) as producer:
        with pytest.raises(RejectedError, match=r"64 MiB.*Memory & Threads"):
            send(producer, "big", big)
        stages = [is_taken(producer, f"{number}", big[:200]) for number in range(60)]
        assert any(stages)
        assert not all(stages)
        producer.ask(Query(name="clear"), 5)
        assert becomes(lambda: is_taken(producer, "again", big[:200]))


def is_taken(producer: Any, path: str, data: Any) -> bool:
    """Whether there is memory again: not the same moment in which images were closed."""
    try:
        return bool(send(producer, path, data).stage == "received")
    except RejectedError as error:
        if "Memory & Threads" not in str(error):
            raise
        return False
