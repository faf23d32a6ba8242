"""Promises about sinks, through which new bytes get to a key."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

from ..promises import condition_of, needs
from .laws import StoreLaws, has, keys, put

if TYPE_CHECKING:
    from polystore_core import ByteStore, Sink

__all__ = ["SinkLaws"]

STEPS = ["write", "seal", "flush"]
_WORTH_WRITING = 1 << 24
"""Most bytes that a test writes to exceed a limit."""


class SinkLaws(StoreLaws):
    """Readers see a new value only after ``commit``, and ``discard`` leaves nothing."""

    @pytest.mark.parametrize("last", STEPS)
    def test_new_key_appears_at_commit(self, bytes_store: ByteStore, last: str) -> None:
        """A new value can be seen only after ``commit``."""
        sink = _sink(bytes_store, "p/a")
        try:
            _go(sink, last, b"new")
            assert not has(bytes_store, "p/a")
            assert keys(bytes_store) == []
            _finish(sink, last)
            assert bytes_store.read("p/a") == b"new"
        finally:
            sink.discard()  # after a commit, it must not remove the value
        assert bytes_store.read("p/a") == b"new"
        assert keys(bytes_store) == ["p/a"]

    @needs("replace")
    @pytest.mark.parametrize("last", STEPS)
    def test_old_value_stays_until_commit(self, bytes_store: ByteStore, last: str) -> None:
        """Readers find the old value until ``commit``."""
        bytes_store.put("a", b"the old value")
        sink = bytes_store.sink("a")
        try:
            _go(sink, last, b"new")
            assert bytes_store.read("a") == b"the old value"
            _finish(sink, last)
            assert bytes_store.read("a") == b"new"
        finally:
            sink.discard()
        assert bytes_store.read("a") == b"new"

    @pytest.mark.parametrize("last", STEPS)
    def test_discard_leaves_nothing(self, bytes_store: ByteStore, last: str) -> None:
        """A discarded sink leaves nothing, and its key can be used again."""
        put(bytes_store, "old", b"old")
        sink = _sink(bytes_store, "p/a")
        _go(sink, last, b"new")
        sink.discard()
        # Put the same key afterwards: a leftover of the sink must not block it.
        assert keys(bytes_store) == ["old"]
        put(bytes_store, "p/a", b"later")
        assert bytes_store.read("p/a") == b"later"

    def test_unused_sink_is_discarded(self, bytes_store: ByteStore) -> None:
        """A sink without content can be discarded."""
        _sink(bytes_store, "a").discard()
        assert keys(bytes_store) == []

    @pytest.mark.parametrize("content", [b"", b"0123456789"], ids=["empty", "full"])
    def test_sink_is_a_file(self, bytes_store: ByteStore, content: bytes) -> None:
        """A sink can be written, read and sought like a file."""
        with bytes_store.writing("a", if_exists=condition_of(bytes_store)) as file:
            file.write(content)
            file.seek(2)
            assert file.read(3) == content[2:5]
            file.seek(0)
            # Formats such as TIFF go back to their header when they know where the data is.
            file.write(content[:1].replace(b"0", b"X"))
        assert bytes_store.read("a") == content.replace(b"0", b"X")

    @needs("replace")
    def test_failed_block_leaves_old(self, bytes_store: ByteStore) -> None:
        """If the block that writes raises, the old value stays."""
        bytes_store.put("a", b"old")
        with pytest.raises(ZeroDivisionError):
            _write_half(bytes_store, "a")
        assert bytes_store.read("a") == b"old"
        assert keys(bytes_store) == ["a"]

    def test_failed_block_leaves_nothing(self, bytes_store: ByteStore) -> None:
        """If the block that writes raises, nothing is stored."""
        with pytest.raises(ZeroDivisionError):
            _write_half(bytes_store, "p/a")
        assert not has(bytes_store, "p/a")
        assert keys(bytes_store) == []

    def test_sinks_are_sealed_ahead(self, bytes_store: ByteStore) -> None:
        """Several sinks can be sealed and flushed together, and committed in order."""
        wanted = [f"p/{number}" for number in range(5)]
        # `save_batch` works like this: values are encoded ahead by threads, and named in order.
        sinks = {key: _sink(bytes_store, key) for key in wanted}
        try:
            for key, sink in sinks.items():
                sink.file.write(key.encode())
                sink.seal(flush=False)
            for sink in sinks.values():
                sink.flush()
                assert not sink.wants_flush
            for number, sink in enumerate(sinks.values()):
                assert keys(bytes_store) == wanted[:number]
                sink.commit()
        finally:
            for sink in sinks.values():
                sink.discard()
        assert bytes_store.sync(wanted) == {}
        assert {key: bytes_store.read(key) for key in wanted} == {
            key: key.encode() for key in wanted
        }

    @needs("create_only")
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_sink_may_refuse(self, bytes_store: ByteStore, when: str) -> None:
        """With ``if_exists="error"``, a sink never replaces a value, even one that came later."""
        if when == "before":
            put(bytes_store, "a", b"old")
        sink = bytes_store.sink("a", if_exists="error")
        try:
            sink.file.write(b"the new value")
            if when == "meanwhile":
                put(bytes_store, "a", b"old")
            with pytest.raises(FileExistsError):
                _finish(sink, "write")
        finally:
            sink.discard()
        assert bytes_store.read("a") == b"old"
        assert keys(bytes_store) == ["a"]

    @needs("durable")
    def test_durable_values_are_flushed(self, bytes_store: ByteStore) -> None:
        """A durable sink is flushed to the device before it is committed."""
        condition = condition_of(bytes_store)
        with bytes_store.writing("p/a", if_exists=condition, durable=True) as file:
            file.write(b"new")
        assert bytes_store.sync(["p/a"]) == {}
        sink = bytes_store.sink("p/b", if_exists=condition, durable=True)
        try:
            sink.file.write(b"new")
            sink.seal(flush=False)
            sink.flush()
            assert not sink.wants_flush
            sink.commit()
        finally:
            sink.discard()

    def test_too_large_value_is_refused(self, bytes_store: ByteStore) -> None:
        """A value larger than ``max_value`` raises ``OSError`` with ``EFBIG``."""
        most = bytes_store.features.max_value
        if most is None or most > _WORTH_WRITING:
            most = 1 << 10
            put(bytes_store, "more", bytes(most + 1))
        else:
            for write in (_write_whole, put):
                with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno tells
                    write(bytes_store, "a", bytes(most + 1))
                assert caught.value.errno == errno.EFBIG
                assert not has(bytes_store, "a")
        put(bytes_store, "most", bytes(most))
        assert bytes_store.stat("most").size == most


def _sink(store: ByteStore, key: str) -> Sink:
    return store.sink(key, if_exists=condition_of(store))


def _write_whole(store: ByteStore, key: str, content: bytes) -> None:
    with store.writing(key, if_exists=condition_of(store)) as file:
        file.write(content)


def _write_half(store: ByteStore, key: str) -> None:
    with store.writing(key, if_exists=condition_of(store)) as file:
        file.write(b"half of the new va")
        raise ZeroDivisionError


def _go(sink: Sink, last: str, content: bytes) -> None:
    """Do the steps of a sink up to and including ``last``."""
    sink.file.write(content)
    if last != "write":
        sink.seal(flush=False)
    if last == "flush":
        sink.flush()


def _finish(sink: Sink, last: str) -> None:
    if last == "write":
        sink.seal()
    sink.flush()
    sink.commit()
