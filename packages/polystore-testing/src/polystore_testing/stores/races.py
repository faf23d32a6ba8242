"""Promises about several writers of one key, and about writers that are killed."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from polystore_core import Versions
from polystore_core.errors import LockTimeoutError, VersionConflictError

from ..promises import needs
from .contests import CONTESTANTS, Meet, contests, in_process, kill_while
from .laws import SHARED, StoreLaws, has, is_shared, keys, put

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import ByteStore

__all__ = ["LockLaws", "RaceLaws", "VersionLaws"]

ROUNDS = 12
_ENOUGH = 20
"""Values that a process writes before it is killed."""


class RaceLaws(StoreLaws):
    """Several writers and readers can use one key at once."""

    @needs("create_only")
    @pytest.mark.timeout(300)
    def test_one_writer_creates(self, bytes_store: ByteStore) -> None:
        """If several writers create a key, exactly one succeeds, and its value is stored."""
        scope = bytes_store.features.create_only
        for word, won in contests(scope, _create, bytes_store):
            for number in range(ROUNDS):
                winners = [who for who in range(CONTESTANTS) if won[who][number]]
                assert len(winners) == 1, f"{word}: {winners} have all made one key"
                assert bytes_store.read(f"{word}/{number}") == _make_value(winners[0])

    @needs("replace")
    @pytest.mark.timeout(300)
    def test_readers_see_whole_values(self, bytes_store: ByteStore) -> None:
        """A reader finds the old value or the new one, never a mixture."""
        # There must be a value before the first reader looks.
        for word in ("threads", "processes"):
            bytes_store.put(word, _make_value(0))
        for word, results in contests(bytes_store.features.replace, _replace, bytes_store):
            assert all(results), word
            assert _is_whole(bytes_store.read(word))

    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("way", ["put", "sink"])
    def test_killed_writer_leaves_whole_values(self, bytes_store: ByteStore, way: str) -> None:
        """If a writer is killed, no value is damaged, and no value that was put before is lost."""
        if not is_shared(bytes_store):
            return  # the values end with their process, so there is nothing to find
        replaces = bytes_store.features.replace != "none"
        put(bytes_store, "p/0", _make_value(0))
        # A value was acknowledged if the process has reported it. Such a value must be there. The
        # next one may be there too, because the kill can come after the put and before the report.
        told = kill_while(_put_for_ever, bytes_store, way, replaces, told=_ENOUGH)
        found = {key: bytes_store.read(key) for key in keys(bytes_store)}
        assert all(map(_is_whole, found.values())), "half of a value is left"
        if replaces:
            assert list(found) == ["p/0"]
            assert found["p/0"] in (_make_value(len(told)), _make_value(len(told) + 1))
        else:
            assert {f"p/{number}" for number in range(len(told) + 1)} <= found.keys()
        # Leftovers of the killed process, such as locks, must not block the next writer.
        put(bytes_store, "next", b"next")
        assert bytes_store.read("next") == b"next"


class VersionLaws(StoreLaws):
    """A value is replaced only if it has the version that the writer has read."""

    @needs("versions")
    def test_version_follows_content(self, bytes_store: ByteStore) -> None:
        """Every change of a value changes its version."""
        put(bytes_store, "a", b"first")
        version = _version(bytes_store, "a")
        assert version == _version(bytes_store, "a")  # reading does not change it
        _versions(bytes_store).put_version("a", b"second", version=version)
        assert bytes_store.read("a") == b"second"
        assert _version(bytes_store, "a") != version
        if bytes_store.features.replace != "none":
            version = _version(bytes_store, "a")
            bytes_store.put("a", b"third!")  # of equal size, and within the same moment
            assert _version(bytes_store, "a") != version

    @needs("versions")
    def test_stale_version_conflicts(self, bytes_store: ByteStore) -> None:
        """A write with an old version raises ``VersionConflictError`` and changes nothing."""
        put(bytes_store, "a", b"first")
        stale = _version(bytes_store, "a")
        _versions(bytes_store).put_version("a", b"other", version=stale)
        # An unknown version and an empty one must conflict, too, and not mean "any version".
        for wrong in (stale, "no version", ""):
            with pytest.raises(VersionConflictError) as caught:
                _versions(bytes_store).put_version("a", b"third", version=wrong)
            assert caught.value.current == _version(bytes_store, "a")
            assert bytes_store.read("a") == b"other"

    @needs("versions")
    def test_missing_value_conflicts(self, bytes_store: ByteStore) -> None:
        """A write with a version of a missing value raises ``VersionConflictError``."""
        put(bytes_store, "a", b"first")
        version = _version(bytes_store, "a")
        with pytest.raises(VersionConflictError) as caught:
            _versions(bytes_store).put_version("b", b"second", version=version)
        assert caught.value.current is None
        assert keys(bytes_store) == ["a"]

    @needs("versions")
    @pytest.mark.timeout(300)
    def test_no_increment_is_lost(self, bytes_store: ByteStore) -> None:
        """If several writers increment a number by its version, no increment is lost."""
        for word in ("threads", "processes"):
            put(bytes_store, word, b"0")
        for word, _ in contests(bytes_store.features.versions, _increment, bytes_store):
            assert int(bytes_store.read(word)) == CONTESTANTS * ROUNDS


class LockLaws(StoreLaws):
    """A lock has one holder at a time, and ends with the process that holds it."""

    @needs("locks", "replace")
    @pytest.mark.timeout(300)
    def test_lock_excludes(self, bytes_store: ByteStore) -> None:
        """A lock has one holder at a time, in threads and in processes."""
        for word in ("threads", "processes"):
            put(bytes_store, word, b"0")
        for word, _ in contests(bytes_store.features.locks, _increment_locked, bytes_store):
            assert int(bytes_store.read(word)) == CONTESTANTS * ROUNDS

    @needs("locks")
    @pytest.mark.timeout(300)
    def test_waiting_for_lock_ends(self, bytes_store: ByteStore) -> None:
        """Waiting for a lock ends after its timeout, and a released lock is free."""
        with _lock(bytes_store, "a", 60):
            assert _in_thread(_is_locked, bytes_store)
            # Check both: a lock of a file may exclude processes but not threads, and the reverse.
            if bytes_store.features.locks in SHARED:
                assert in_process(_is_locked, bytes_store)
        assert not _in_thread(_is_locked, bytes_store)

    @needs("locks")
    @pytest.mark.timeout(300)
    def test_lock_ends_with_process(self, bytes_store: ByteStore) -> None:
        """The lock of a killed process is free."""
        if bytes_store.features.locks in SHARED:
            assert kill_while(_lock_for_ever, bytes_store, told=1) == ["locked"]
            with _lock(bytes_store, "a", 60):
                pass


# ── the work of one contestant ───────────────────────────────────────────────────────────


def _create(store: ByteStore, who: int, meet: Meet, word: str) -> list[bool]:
    won = []
    for number in range(ROUNDS):
        meet()  # all contestants start each round together, or they would rarely collide
        try:
            # Stores often implement `put` apart from sinks, so both must exclude other writers.
            if number % 2:
                store.put(f"{word}/{number}", _make_value(who), if_exists="error")
            else:
                with store.writing(f"{word}/{number}", if_exists="error") as file:
                    file.write(_make_value(who))
        except FileExistsError:
            won.append(False)
        else:
            won.append(True)
    return won


def _replace(store: ByteStore, who: int, meet: Meet, word: str) -> bool:
    """Let the first contestant write, and the others read until it has finished."""
    meet()
    if who == 0:
        for number in range(ROUNDS):
            store.put(word, _make_value(number))
        put(store, f"{word}-done", b"")
        return True
    whole = True
    while whole and not has(store, f"{word}-done"):
        whole = _is_whole(store.read(word))
    return whole


def _put_for_ever(
    store: ByteStore, way: str, replaces: bool, tell: Callable[[int], None]
) -> None:
    number = 0
    while True:
        number += 1
        key, condition = ("p/0", "replace") if replaces else (f"p/{number}", "error")
        if way == "put":
            store.put(key, _make_value(number), if_exists=condition)  # type: ignore[arg-type]
        else:
            with store.writing(key, if_exists=condition) as file:  # type: ignore[arg-type]
                file.write(_make_value(number))
        # Report after the put has returned, because only then is the value acknowledged.
        tell(number)


def _increment(store: ByteStore, _who: int, meet: Meet, word: str) -> None:
    meet()
    for _ in range(ROUNDS):
        while True:
            version = _version(store, word)  # read it first: a newer value then conflicts
            value = int(store.read(word)) + 1
            with suppress(VersionConflictError):
                _versions(store).put_version(word, b"%d" % value, version=version)
                break


def _increment_locked(store: ByteStore, _who: int, meet: Meet, word: str) -> None:
    meet()
    for _ in range(ROUNDS):
        with _lock(store, word, 60):
            store.put(word, b"%d" % (int(store.read(word)) + 1))


def _is_locked(store: ByteStore) -> bool:
    try:
        with _lock(store, "a", 0.1):
            return False
    except LockTimeoutError:
        return True


def _lock_for_ever(store: ByteStore, tell: Callable[[str], None]) -> None:
    with _lock(store, "a", 60):
        tell("locked")
        threading.Event().wait()  # hold the lock until the process is killed


# ── words ────────────────────────────────────────────────────────────────────────────────


def _make_value(number: int) -> bytes:
    """Return a value of equal bytes. Its length depends on the byte, so that a mix is noticed."""
    return bytes([number % 256]) * (1000 + 500 * (number % 256))


def _is_whole(content: bytes) -> bool:
    return bool(content) and content == _make_value(content[0])


def _versions(store: ByteStore) -> Versions:
    return store.require(Versions, "a test")


def _version(store: ByteStore, key: str) -> str:
    version = store.stat(key).version
    assert version is not None
    return version


def _lock(store: Any, key: str, timeout: float) -> Any:
    return store.lock(key, timeout=timeout)


def _in_thread(work: Callable[[ByteStore], bool], store: ByteStore) -> bool:
    results: list[bool] = []
    # A lock may let its own thread in again, so another thread has to ask.
    thread = threading.Thread(target=lambda: results.append(work(store)))
    thread.start()
    thread.join()
    return results[0]
