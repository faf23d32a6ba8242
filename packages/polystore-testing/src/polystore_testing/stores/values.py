"""Promises about values of a store: put, read, find and delete them."""

from __future__ import annotations

import errno
import pickle
from itertools import product
from typing import TYPE_CHECKING, Any, get_args

import pytest

from polystore_core import Entry, Scope
from polystore_core.errors import PathOutsideRootError

from ..promises import ABILITIES, check_store_refuses, needs
from ..storage import OUTSIDE
from .contests import in_process
from .laws import StoreLaws, has, is_shared, keys, names_in, put, top

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import ByteStore

__all__ = ["ValueLaws"]

DIGITS = b"0123456789"
ENDS = (None, *range(-12, 13))
# Each name has broken some store: a space, an accent, an escape of URLs, characters of URLs and of
# patterns, a repeated part, an option of programs, and an accent as a separate character.
NAMES = [
    "ä b/ü.tif",
    "a%2Fb",
    "p/a b+c#d?e=f&g",
    "p/[1]*.tif",
    "deep/er/and/deep/er",
    "-",
    "e\u0301",
]

_NOT_NESTED = (NotADirectoryError, IsADirectoryError, FileExistsError)


class ValueLaws(StoreLaws):
    """A store maps keys to bytes. A value is stored completely or not at all."""

    # ── claims ───────────────────────────────────────────────────────────────────────────

    def test_claims_are_inherited(self, bytes_store: ByteStore) -> None:
        """The class of a store inherits every ability that its ``features`` claim."""
        features = bytes_store.features
        for name in ("replace", "create_only", "delete", *ABILITIES):
            assert getattr(features, name) in get_args(Scope), name
        for name, ability in ABILITIES.items():
            claimed = getattr(features, name) != "none"
            assert not claimed or isinstance(bytes_store, ability), f"features.{name}"
            assert bytes_store.claims(ability) == claimed
        assert features.threads >= 1
        assert features.max_value is None or features.max_value > 0

    @pytest.mark.parametrize("name", ABILITIES)
    def test_ability_is_given_or_refused(self, bytes_store: ByteStore, name: str) -> None:
        """``require`` returns the store for each ability it has, and refuses the others."""
        if bytes_store.claims(ABILITIES[name]):
            assert bytes_store.require(ABILITIES[name], "this") is bytes_store
        else:
            check_store_refuses(bytes_store, name)

    # ── reading ──────────────────────────────────────────────────────────────────────────

    def test_read_is_slice(self, bytes_store: ByteStore) -> None:
        """Reading a part returns the slice of the whole value."""
        put(bytes_store, "a", DIGITS)
        assert type(bytes_store.read("a")) is bytes
        assert bytes_store.read("a") == DIGITS
        # All pairs of ends, also negative ones and ones beyond the value, as for a slice of bytes.
        for start, stop in product(ENDS[1:], ENDS):
            assert bytes_store.read("a", start or 0, stop) == DIGITS[start:stop], (start, stop)

    @pytest.mark.parametrize("key", ["missing", "missing/inner"])
    def test_missing_is_not_found(self, bytes_store: ByteStore, key: str) -> None:
        """Reading a missing key raises ``FileNotFoundError`` from every operation."""
        put(bytes_store, "a", DIGITS)
        calls: list[Callable[[], Any]] = [
            lambda: bytes_store.stat(key),
            lambda: bytes_store.read(key),
            lambda: bytes_store.read(key, 1, 2),
            lambda: bytes_store.open(key),
            lambda: bytes_store.open(key, whole=True),
            lambda: list(bytes_store.entries(key)),
        ]
        for call in calls:
            with pytest.raises(FileNotFoundError):
                call()
        assert keys(bytes_store, key) == []

    def test_file_is_read_in_parts(self, bytes_store: ByteStore) -> None:
        """An open value can be read and sought like a file."""
        # 3 MB are larger than the buffers of most stores, so that a read crosses their borders.
        most = bytes_store.features.max_value or 1 << 30
        content = (bytes(range(256)) * 12_000)[:most]
        put(bytes_store, "a", content)
        with bytes_store.open("a") as file:
            assert file.readable()
            assert file.seekable()
            assert file.read(3) == content[:3]
            assert file.seek(-7, 2) == len(content) - 7
            assert file.read() == content[-7:]
            assert file.read(1) == b""
            for start, count in [(5, 9), (len(content) // 2, 2 << 20), (0, 1), (1 << 20, 1)]:
                file.seek(start)
                assert file.read(count) == content[start : start + count]
            assert file.tell() == min(len(content), (1 << 20) + 1)
        with bytes_store.open("a", whole=True) as file:
            assert file.read() == content

    @needs("replace")
    def test_file_is_of_one_value(self, bytes_store: ByteStore) -> None:
        """If a value is replaced while it is open, the reader gets the old one or an error."""
        size = min(bytes_store.features.max_value or 3 << 20, 3 << 20)
        for new in (b"2" * size, b"2" * (size // 2), b""):
            old = b"1" * size
            bytes_store.put("a", old)
            # Read a part before the value is replaced: the rest must belong to the same value.
            with bytes_store.open("a") as file:
                first = file.read(10)
                bytes_store.put("a", new)
                try:
                    found = first + file.read()
                except OSError as error:
                    assert error.errno == errno.ESTALE  # noqa: PT017 - it may also succeed
                else:
                    assert found == old

    # ── putting ──────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
    @pytest.mark.parametrize("content", [b"", DIGITS], ids=["empty", "full"])
    def test_put_is_found(
        self, bytes_store: ByteStore, kind: type[bytes], content: bytes
    ) -> None:
        """A put value can be read, found and listed, with its size."""
        put(bytes_store, "p/a", kind(content))
        assert bytes_store.read("p/a") == content
        found = bytes_store.stat("p/a")
        assert (found.key, found.kind, found.size) == ("p/a", "file", len(content))
        assert found.target is None
        (listed,) = bytes_store.scan()
        assert (listed.key, listed.kind) == ("p/a", "file")
        assert listed.size in (None, len(content))

    def test_put_value_is_free(self, bytes_store: ByteStore) -> None:
        """Changing a buffer after ``put`` does not change the stored value."""
        content = bytearray(DIGITS)
        put(bytes_store, "a", content)
        content[:] = bytes(len(content))  # a store that keeps the buffer would return zeros
        assert bytes_store.read("a") == DIGITS

    def test_names_come_back(self, bytes_store: ByteStore) -> None:
        """Names with spaces, accents and special characters come back as they are."""
        for number, name in enumerate(NAMES):
            put(bytes_store, bytes_store.key(name), bytes([number]))
        assert keys(bytes_store) == sorted(map(bytes_store.key, NAMES))
        for number, name in enumerate(NAMES):
            assert bytes_store.read(bytes_store.key(name)) == bytes([number])

    @needs("replace")
    def test_put_replaces_whole(self, bytes_store: ByteStore) -> None:
        """A put replaces the old value completely."""
        for content in (DIGITS * 9, b"short", b"", DIGITS):
            bytes_store.put("a", content)
            assert bytes_store.read("a") == content
            assert bytes_store.stat("a").size == len(content)
            assert keys(bytes_store) == ["a"]

    @needs("create_only")
    def test_put_may_refuse(self, bytes_store: ByteStore) -> None:
        """``if_exists="error"`` keeps an existing value."""
        bytes_store.put("p/a", DIGITS, if_exists="error")
        with pytest.raises(FileExistsError):
            bytes_store.put("p/a", b"other", if_exists="error")
        assert bytes_store.read("p/a") == DIGITS
        assert keys(bytes_store) == ["p/a"]

    def test_values_below_values(self, bytes_store: ByteStore) -> None:
        """A value below another value is stored next to it, or refused without a change."""
        if bytes_store.features.nested_values:
            put(bytes_store, "a", DIGITS)
            put(bytes_store, "a/b/c", b"inner")
            assert (bytes_store.read("a"), bytes_store.read("a/b/c")) == (DIGITS, b"inner")
            assert keys(bytes_store, "a") == ["a/b/c"]
            return
        for first, second in [("a", "a/b"), ("f/b", "f")]:
            put(bytes_store, first, DIGITS)
            with pytest.raises(_NOT_NESTED):
                put(bytes_store, second, b"second")
            assert bytes_store.read(first) == DIGITS
            assert not has(bytes_store, second)

    # ── finding ──────────────────────────────────────────────────────────────────────────

    def test_scan_takes_whole_segments(self, bytes_store: ByteStore) -> None:
        """Scanning "plate" does not find "plate2" or "plate.tif"."""
        inside = ["plate/a.tif", "plate/b/c.tif"]
        others = ["plate.tif", "plate2/a.tif", "Zplate/a.tif"]
        if bytes_store.features.nested_values:
            others.append("plate")
        for key in inside + others:
            put(bytes_store, key, DIGITS)
        assert keys(bytes_store) == sorted(inside + others)
        assert keys(bytes_store, "plate") == inside
        assert keys(bytes_store, "plate/b") == inside[1:]
        for folder in ("pla", "plate/a", "plate/a.tif", "a.tif", "missing"):
            assert keys(bytes_store, folder) == []

    def test_scan_sees_changes(self, bytes_store: ByteStore, reopened: ByteStore) -> None:
        """A scan sees every change at once, also a change of another process."""
        assert keys(bytes_store) == []
        put(bytes_store, "p/a", DIGITS)
        assert keys(bytes_store, "p") == keys(bytes_store) == ["p/a"]
        assert names_in(bytes_store, "p") == ["a"]
        # The copy acts as another process: a cached listing does not know its changes.
        if is_shared(bytes_store):
            put(reopened, "p/b", DIGITS)
            assert keys(bytes_store, "p") == keys(bytes_store) == ["p/a", "p/b"]
            assert names_in(bytes_store, "p") == ["a", "b"]

    def test_entries_are_names(self, bytes_store: ByteStore) -> None:
        """``entries`` returns the names in one folder, with their kinds."""
        assert top(bytes_store) == []
        for key in ("p/a", "p/f/b", "p/f/c", "q"):
            put(bytes_store, key, DIGITS)
        assert top(bytes_store) == [Entry("p", True, False), Entry("q", False, False)]
        assert sorted(bytes_store.entries("p")) == [
            Entry("a", False, False),
            Entry("f", True, False),
        ]
        with pytest.raises(NotADirectoryError):
            list(bytes_store.entries("q"))

    # ── deleting ─────────────────────────────────────────────────────────────────────────

    @needs("delete")
    def test_deleted_value_is_gone(self, bytes_store: ByteStore) -> None:
        """A deleted value is gone, and deleting it again is not an error."""
        for key in ("p/a", "p/ab", "p2/a"):
            put(bytes_store, key, DIGITS)
        for _ in range(2):  # a repeated call is safe
            bytes_store.delete("p/a")
            assert not has(bytes_store, "p/a")
            with pytest.raises(FileNotFoundError):
                bytes_store.read("p/a")
            assert keys(bytes_store) == ["p/ab", "p2/a"]
        bytes_store.delete("missing/inner")

    # ── keys ─────────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("path", OUTSIDE)
    def test_nothing_leaves_root(self, bytes_store: ByteStore, path: str) -> None:
        """No path leads out of the root."""
        with pytest.raises(PathOutsideRootError):
            put(bytes_store, bytes_store.key(path), DIGITS)
        with pytest.raises(PathOutsideRootError):
            bytes_store.read(bytes_store.key(path))
        assert keys(bytes_store) == []

    def test_spellings_are_one_key(self, bytes_store: ByteStore) -> None:
        """The spellings "p/a", "./p/a" and "p//a" are one key."""
        key, other = bytes_store.key("p/a"), bytes_store.key("p/b")
        put(bytes_store, key, DIGITS)
        put(bytes_store, other, b"other")
        for path in ("./p/a", "p//a", "p/./a"):
            spelling = bytes_store.key(path)
            assert bytes_store.read(spelling) == DIGITS
            assert bytes_store.identity(spelling) == bytes_store.identity(key)
        # Backends use the identity as the key of a dict, for locks and for duplicates in a batch.
        assert hash(bytes_store.identity(key)) == hash(bytes_store.identity(key))
        assert bytes_store.identity(key) != bytes_store.identity(other)

    # ── the store ────────────────────────────────────────────────────────────────────────

    def test_copy_is_same_store(self, bytes_store: ByteStore, reopened: ByteStore) -> None:
        """A pickled copy of a store is the same store."""
        assert type(reopened) is type(bytes_store)
        assert repr(reopened) == repr(bytes_store)
        assert (reopened.features, reopened.durable) == (
            bytes_store.features,
            bytes_store.durable,
        )
        if is_shared(bytes_store):
            put(bytes_store, "here", DIGITS)
            assert reopened.read("here") == DIGITS
            put(reopened, "there", b"there")
            assert bytes_store.read("there") == b"there"
        reopened.close()

    def test_processes_and_forks_share(self, bytes_store: ByteStore) -> None:
        """Another process and its forked child see the values, and can add some."""
        # A store in memory cannot share its values, but sending it to another process must work:
        # there, each operation says that the values are elsewhere.
        if not is_shared(bytes_store):
            pickle.dumps(bytes_store)
            return
        put(bytes_store, "parent", DIGITS)
        assert in_process(_put_and_fork, bytes_store) == [b"child", b"fork"]
        assert keys(bytes_store) == ["child", "fork", "parent"]

    def test_batch_is_same_store(self, bytes_store: ByteStore) -> None:
        """Values that are put through a batch can be read through the store at once."""
        put(bytes_store, "p/a", DIGITS)
        with bytes_store.batch() as batch:
            for key in ("p/b", "q/c"):
                put(batch, key, DIGITS)
                assert bytes_store.read(key) == batch.read("p/a") == DIGITS
        assert keys(bytes_store) == ["p/a", "p/b", "q/c"]


def _put_and_fork(store: ByteStore) -> list[bytes]:
    import os

    assert store.read("parent") == DIGITS
    put(store, "child", b"child")
    if hasattr(os, "fork"):
        forked = os.fork()
        if not forked:
            try:
                put(store, "fork", store.read("parent") and b"fork")
            finally:
                os._exit(0)  # do not run pytest's exit handlers in the child
        os.waitpid(forked, 0)
    else:
        put(store, "fork", b"fork")
    return [store.read("child"), store.read("fork")]
