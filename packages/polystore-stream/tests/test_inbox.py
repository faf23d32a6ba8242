import linecache
import sys
import threading
import time
from types import FrameType
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from polystore_stream.receiving.inbox import Inbox
from polystore_stream.receiving.viewer import Delivery
from polystore_stream.wire.messages import Image, Query, Rois

LIMIT = 10
POLICIES = ["block", "drop_oldest", "coalesce"]


def image(path: str, nbytes: int, policy: str = "block", window: str = "") -> Delivery:
    item = Image(
        path=path,
        nbytes=nbytes,
        policy=policy,
        window=window,
        shape=(1, nbytes),
        dtype="|u1",
        axes="yx",
    )
    return Delivery(item, np.zeros((1, nbytes), np.uint8), b"producer", 0)


def rois(path: str, nbytes: int, policy: str = "block") -> Delivery:
    item = Rois(path=path, nbytes=nbytes, policy=policy, count=0)
    return Delivery(item, [], b"producer", 0)


def query(name: str = "layers") -> Delivery:
    return Delivery(Query(name=name), None, b"producer", 0)


def receive(inbox: Inbox, *deliveries: Delivery) -> list[tuple[Delivery, str]]:
    """Receive each delivery, and return those that were discarded."""
    discarded = []
    for delivery in deliveries:
        if not isinstance(delivery.item, Query):
            inbox.reserve(delivery.item.nbytes)
        discarded += inbox.push(delivery)
    return discarded


def count_room(inbox: Inbox) -> int:
    """Return the most bytes that fit. An empty inbox has room for its whole limit."""
    return sum(inbox.has_room(nbytes) for nbytes in range(1, inbox.limit + 1))


# ── order and room ───────────────────────────────────────────────────────────────────────


def test_order_is_kept() -> None:
    inbox = Inbox(LIMIT)
    sent = [image("a", 1), query(), rois("b", 2), image("a", 3)]
    assert receive(inbox, *sent) == []
    assert len(inbox) == 4
    assert inbox.take() == sent
    assert (inbox.take(), len(inbox)) == ([], 0)


@pytest.mark.parametrize("most", [0, 1, 2, 5])
def test_take_is_limited(most: int) -> None:
    inbox = Inbox(LIMIT)
    sent = [image(name, 1) for name in "abc"]
    receive(inbox, *sent)
    assert inbox.take(most=most) == sent[:most]
    assert inbox.take() == sent[most:]


def test_room_is_counted() -> None:
    inbox = Inbox(LIMIT)
    receive(inbox, image("a", 4), query(), rois("b", 3))
    assert count_room(inbox) == 3
    inbox.take(most=1)
    assert count_room(inbox) == 7


def test_reserved_bytes_take_room() -> None:
    inbox = Inbox(LIMIT)
    inbox.reserve(8)
    assert count_room(inbox) == 2
    inbox.release(8)
    assert count_room(inbox) == LIMIT


def test_value_above_the_limit_needs_an_empty_inbox() -> None:
    inbox = Inbox(LIMIT)
    assert inbox.has_room(10 * LIMIT)
    receive(inbox, image("a", 10 * LIMIT))
    assert not inbox.has_room(1)
    inbox.take()
    receive(inbox, image("a", 1))
    assert not inbox.has_room(10 * LIMIT)


def test_questions_need_no_room() -> None:
    inbox = Inbox(LIMIT)
    receive(inbox, image("a", LIMIT), *(query() for _ in range(100)))
    assert len(inbox) == 101
    receive(inbox, image("b", LIMIT, "drop_oldest"), image("b", LIMIT, "coalesce"))
    assert sum(isinstance(one.item, Query) for one in inbox.take()) == 100


# ── policies ─────────────────────────────────────────────────────────────────────────────


def test_block_discards_nothing() -> None:
    inbox = Inbox(LIMIT)
    receive(inbox, image("a", 6, "drop_oldest"), image("b", 3, "coalesce"))
    assert receive(inbox, image("a", 6), image("b", 9)) == []
    assert len(inbox) == 4


def test_oldest_make_room() -> None:
    inbox = Inbox(LIMIT)
    a, b, c = (image(name, 4, "drop_oldest") for name in "abc")
    assert receive(inbox, a, b) == []
    assert receive(inbox, c) == [(a, "dropped")]
    assert inbox.take() == [b, c]


def test_only_needed_room_is_made() -> None:
    inbox = Inbox(LIMIT)
    small = [image(name, 1, "drop_oldest") for name in "abcdefghij"]
    assert receive(inbox, *small) == []
    assert receive(inbox, image("k", 3, "drop_oldest")) == [
        (one, "dropped") for one in small[:3]
    ]


def test_blocking_deliveries_stay() -> None:
    inbox = Inbox(LIMIT)
    kept, gone = image("a", 8), image("b", 2, "coalesce")
    receive(inbox, kept, gone)
    assert receive(inbox, image("c", 5, "drop_oldest")) == [(gone, "dropped")]
    assert inbox.take(most=1) == [kept]


def test_larger_drops_all_others() -> None:
    inbox = Inbox(LIMIT)
    receive(inbox, image("a", 3, "drop_oldest"), image("b", 3, "drop_oldest"))
    large = image("c", 10 * LIMIT, "drop_oldest")
    assert len(receive(inbox, large)) == 2
    assert inbox.take() == [large]


def test_newest_replaces_the_old() -> None:
    inbox = Inbox(LIMIT)
    old, other, new = (image(name, 2, "coalesce") for name in "aba")
    assert receive(inbox, old, other) == []
    assert receive(inbox, new) == [(old, "coalesced")]
    assert inbox.take() == [other, new]


def test_other_paths_make_room() -> None:
    inbox = Inbox(LIMIT)
    a, b = image("a", 5, "coalesce"), image("b", 5, "coalesce")
    receive(inbox, a, b)
    new = image("b", 8, "coalesce")
    assert receive(inbox, new) == [(b, "coalesced"), (a, "dropped")]
    assert inbox.take() == [new]


def test_replacing_may_suffice() -> None:
    inbox = Inbox(LIMIT)
    a, b = image("a", 5, "coalesce"), image("b", 5, "coalesce")
    receive(inbox, a, b)
    assert receive(inbox, image("b", 5, "coalesce")) == [(b, "coalesced")]


@pytest.mark.parametrize(
    "other",
    [
        image("a", 1),
        image("a", 1, "drop_oldest"),
        image("a", 1, "coalesce", "B02"),
        rois("a", 1, "coalesce"),
    ],
)
def test_others_are_not_replaced(other: Delivery) -> None:
    inbox = Inbox(LIMIT)
    receive(inbox, other)
    assert receive(inbox, image("a", 1, "coalesce")) == []


@pytest.mark.parametrize("waiting", POLICIES)
@pytest.mark.parametrize("policy", POLICIES)
def test_push_does_not_search_the_queue(waiting: str, policy: str) -> None:
    """A full queue takes a value in as many steps as a nearly empty one."""

    def steps(count: int) -> int:
        inbox = Inbox(count)
        receive(inbox, *(image(str(number), 1, waiting) for number in range(count)))
        inbox.reserve(1)
        new, calls = image("1", 1, policy), 0

        def count_call(*_: object) -> None:
            nonlocal calls
            calls += 1

        sys.setprofile(count_call)
        try:
            inbox.push(new)
        finally:
            sys.setprofile(None)
        return calls

    assert steps(2000) == steps(5)


@pytest.mark.timeout(30)
def test_interrupted_take_keeps_policies() -> None:
    """After a Ctrl-C at any line of take, the other deliveries keep their policies."""

    source = Inbox.take.__code__.co_filename

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        # No signal comes between the end of a with block and its __exit__.
        text = linecache.getline(source, frame.f_lineno).lstrip()
        if event == "line" and frame.f_code.co_filename == source and text[:5] != "with ":
            left -= 1
            if left == 0:
                raise KeyboardInterrupt
        return trace

    for step in range(1, 200):
        inbox, left = Inbox(LIMIT), step
        kept = [image("a", 2), image("b", 2, "coalesce"), image("c", 2, "drop_oldest")]
        receive(inbox, *kept)
        sys.settrace(trace)
        try:
            inbox.take(most=1)
        except KeyboardInterrupt:
            pass
        else:
            break
        finally:
            sys.settrace(None)
        gone = receive(inbox, image("b", 2, "coalesce"), image("d", LIMIT, "drop_oldest"))
        assert [stage for _, stage in gone] == ["coalesced", "dropped", "dropped"]
        assert len(inbox) == len(inbox.take()) <= 2
        assert count_room(inbox) == LIMIT
    assert 5 < step < 199


# ── waiting ──────────────────────────────────────────────────────────────────────────────


def test_take_waits_for_first() -> None:
    inbox = Inbox(LIMIT)
    one = image("a", 1)
    timer = threading.Timer(0.05, receive, (inbox, one))
    timer.start()
    assert inbox.take(timeout=None) == [one]
    timer.join()


def test_take_gives_up() -> None:
    start = time.monotonic()
    assert Inbox(LIMIT).take(timeout=0.05) == []
    assert time.monotonic() - start >= 0.05


def test_interrupt_ends_wait() -> None:
    inbox = Inbox(LIMIT)
    timer = threading.Timer(0.05, inbox.interrupt)
    timer.start()
    assert inbox.take(timeout=None) == []
    timer.join()
    assert inbox.take(timeout=None) == []


def test_deliveries_come_after_interrupt() -> None:
    inbox = Inbox(LIMIT)
    sent = [image("a", 1), query()]
    receive(inbox, *sent)
    inbox.interrupt()
    assert inbox.take(timeout=None) == sent


# ── any order of events ──────────────────────────────────────────────────────────────────


class Walk(RuleBasedStateMachine):
    """An inbox next to a list of its expected content."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox = Inbox(LIMIT)
        self.held: list[Delivery] = []
        self.on_way: list[Delivery] = []

    @rule(
        make=st.sampled_from([image, rois]),
        path=st.sampled_from("ab"),
        nbytes=st.integers(1, 2 * LIMIT),
        policy=st.sampled_from(POLICIES),
    )
    def begins(self, make, path: str, nbytes: int, policy: str) -> None:
        if policy != "block" or self.inbox.has_room(nbytes):
            self.inbox.reserve(nbytes)
            self.on_way.append(make(path, nbytes, policy))

    @precondition(lambda self: self.on_way)
    @rule(index=st.integers(0, 100))
    def ends(self, index: int) -> None:
        self.push(self.on_way.pop(index % len(self.on_way)))

    @precondition(lambda self: self.on_way)
    @rule()
    def breaks_off(self) -> None:
        self.inbox.release(self.on_way.pop().item.nbytes)

    @rule()
    def asks(self) -> None:
        self.push(query())

    def push(self, new: Delivery) -> None:
        before = list(self.held)
        discarded = dict(self.inbox.push(new))
        self.held = [one for one in before if one not in discarded] + [new]
        assert discarded.keys() <= set(before)
        for old, stage in discarded.items():
            assert old.item.policy != "block"
            assert new.item.policy != "block"
            same = type(old.item) is type(new.item) and (
                (old.item.path, old.item.policy) == (new.item.path, "coalesce")
            )
            assert (stage == "coalesced") == (same and new.item.policy == "coalesce")
        if not isinstance(new.item, Query) and new.item.policy == "coalesce":
            alike = [
                one
                for one in before
                if type(one.item) is type(new.item)
                and (one.item.path, one.item.policy) == (new.item.path, "coalesce")
            ]
            assert {one for one, stage in discarded.items() if stage == "coalesced"} == {*alike}
        if not isinstance(new.item, Query) and new.item.policy != "block":
            left = [one for one in self.held if one is not new and droppable(one)]
            assert self.nbytes <= LIMIT or not left

    @rule(most=st.none() | st.integers(0, 3))
    def takes(self, most: int | None) -> None:
        count = len(self.held) if most is None else most
        assert self.inbox.take(most=most) == self.held[:count]
        self.held = self.held[count:]

    @property
    def nbytes(self) -> int:
        items = [one.item for one in (*self.held, *self.on_way)]
        return sum(item.nbytes for item in items if not isinstance(item, Query))

    @invariant()
    def counts_exactly(self) -> None:
        assert len(self.inbox) == len(self.held)
        assert count_room(self.inbox) == (max(0, LIMIT - self.nbytes) if self.nbytes else LIMIT)


def droppable(delivery: Delivery) -> bool:
    return not isinstance(delivery.item, Query) and delivery.item.policy != "block"


TestWalk = Walk.TestCase
TestWalk.settings = settings()  # the settings of the profile


def test_threads_lose_nothing() -> None:
    inbox = Inbox(1000)
    taken: list[Delivery] = []
    discarded: list[Delivery] = []

    def produce(name: str) -> None:
        for number in range(500):
            new = image(f"{name}{number % 5}", 1 + number % 90, POLICIES[1 + number % 2])
            discarded.extend(old for old, _ in receive(inbox, new))

    threads = [threading.Thread(target=produce, args=(name,)) for name in "xyz"]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        taken += inbox.take(timeout=0.01, most=2)
    for thread in threads:
        thread.join(60)
    taken += inbox.take()
    assert len(set(taken) | set(discarded)) == len(taken) + len(discarded) == 1500
    assert count_room(inbox) == 1000
