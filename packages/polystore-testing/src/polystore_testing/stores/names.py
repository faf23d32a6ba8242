"""Promises about renaming and about empty folders."""

from __future__ import annotations

import errno
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from polystore_core import Entry

from ..promises import needs
from .laws import StoreLaws, has, keys, put, top

if TYPE_CHECKING:
    from polystore_core import ByteStore

__all__ = ["FolderLaws", "RenameLaws"]

ROUNDS = 20


class RenameLaws(StoreLaws):
    """A value, or a folder with all its values, gets another key in one step."""

    @needs("renames")
    def test_rename_moves_value(self, bytes_store: Any) -> None:
        """A renamed value has only its new key."""
        put(bytes_store, "a", b"value")
        bytes_store.rename("a", "p/b")
        assert bytes_store.read("p/b") == b"value"
        assert not has(bytes_store, "a")
        assert keys(bytes_store) == ["p/b"]

    @needs("renames")
    @pytest.mark.parametrize("condition", ["replace", "error"])
    def test_missing_source_is_named(self, bytes_store: Any, condition: str) -> None:
        """Renaming a missing key raises ``FileNotFoundError`` with that key."""
        put(bytes_store, "b", b"value")
        with pytest.raises(FileNotFoundError) as caught:
            bytes_store.rename("missing", "b", if_exists=condition)
        assert caught.value.filename == "missing"
        assert bytes_store.read("b") == b"value"

    @needs("renames", "replace")
    def test_rename_replaces(self, bytes_store: Any) -> None:
        """Renaming replaces the value at the target."""
        for key in ("a", "b"):
            put(bytes_store, key, key.encode())
        bytes_store.rename("a", "b")
        assert bytes_store.read("b") == b"a"
        assert keys(bytes_store) == ["b"]

    @needs("renames")
    def test_rename_may_refuse(self, bytes_store: Any) -> None:
        """With ``if_exists="error"``, renaming keeps both values if the target exists."""
        for key in ("a", "b"):
            put(bytes_store, key, key.encode())
        with pytest.raises(FileExistsError) as caught:
            bytes_store.rename("a", "b", if_exists="error")
        assert caught.value.filename == "b"
        assert [bytes_store.read(key) for key in ("a", "b")] == [b"a", b"b"]

    @needs("renames")
    def test_rename_takes_folder(self, bytes_store: Any) -> None:
        """A folder is renamed with all its values."""
        # "f2/a" must stay: a store that compares only the start of keys would move it, too.
        for key in ("f/a", "f/g/b", "f2/a"):
            put(bytes_store, key, key.encode())
        bytes_store.rename("f", "h/i")
        assert keys(bytes_store) == ["f2/a", "h/i/a", "h/i/g/b"]
        assert bytes_store.read("h/i/g/b") == b"f/g/b"

    @needs("renames")
    @pytest.mark.parametrize("condition", ["replace", "error"])
    def test_folders_are_not_replaced(self, bytes_store: Any, condition: str) -> None:
        """Renaming never replaces a folder, nor a value by a folder."""
        before = ["f/a", "g/b", "v"]
        for key in before:
            put(bytes_store, key, key.encode())
        with pytest.raises(FileExistsError):
            bytes_store.rename("f", "g", if_exists=condition)
        with pytest.raises(FileExistsError):
            bytes_store.rename("f", "v", if_exists=condition)
        if not bytes_store.features.nested_values:
            with pytest.raises(IsADirectoryError):
                bytes_store.rename("v", "g", if_exists=condition)
        assert {key: bytes_store.read(key) for key in keys(bytes_store)} == {
            key: key.encode() for key in before
        }

    @needs("renames")
    @pytest.mark.timeout(300)
    @pytest.mark.parametrize("condition", ["replace", "error"])
    def test_rename_is_one_step(self, bytes_store: Any, condition: str) -> None:
        """During a rename, a reader finds the value at exactly one of the two keys."""
        for number in range(ROUNDS):
            source, target = f"s{number}", f"t{number}"
            put(bytes_store, source, b"value")
            # Rename only after the reader has started, and repeat: one round may miss a gap.
            started, over = threading.Event(), threading.Event()
            with ThreadPoolExecutor(1) as pool:
                gaps = pool.submit(_find_gaps, bytes_store, source, target, started, over)
                try:
                    started.wait()
                    bytes_store.rename(source, target, if_exists=condition)
                finally:
                    # Even if the rename raises: the pool waits for the reader, which waits
                    # for this.
                    over.set()
            assert gaps.result() == ""


class FolderLaws(StoreLaws):
    """Folders can exist without values. A store without ``Folders`` has only values."""

    @needs("folders")
    def test_folder_is_made(self, bytes_store: Any) -> None:
        """A folder can exist without values, and its parents exist too."""
        for _ in range(2):
            bytes_store.make_folder("f/g")
        assert [bytes_store.stat(key).kind for key in ("f", "f/g")] == ["directory"] * 2
        assert top(bytes_store) == [Entry("f", True, False)]
        assert list(bytes_store.entries("f")) == [Entry("g", True, False)]
        assert list(bytes_store.entries("f/g")) == []
        assert keys(bytes_store) == [], "a folder is not a value"

    def test_folder_of_a_value(self, bytes_store: ByteStore) -> None:
        """A folder of a value exists only if the store has folders, and it cannot be read."""
        put(bytes_store, "f/a", b"value")
        if bytes_store.features.folders != "none":
            assert bytes_store.stat("f").kind == "directory"
        else:
            with pytest.raises(FileNotFoundError):
                bytes_store.stat("f")
        with pytest.raises((FileNotFoundError, IsADirectoryError)):
            bytes_store.read("f")

    @needs("folders", "delete")
    def test_folder_outlives_its_values(self, bytes_store: Any) -> None:
        """A created folder stays when its last value is deleted."""
        bytes_store.make_folder("f")
        put(bytes_store, "f/a", b"value")
        bytes_store.delete("f/a")
        assert bytes_store.stat("f").kind == "directory"

    @needs("folders")
    def test_empty_folder_is_removed(self, bytes_store: Any) -> None:
        """An empty folder can be removed once."""
        bytes_store.make_folder("f/g")
        bytes_store.remove_folder("f/g")
        assert list(bytes_store.entries("f")) == []
        for recursive in (False, True):
            with pytest.raises(FileNotFoundError):
                bytes_store.remove_folder("f/g", recursive=recursive)

    @needs("folders")
    def test_full_folder_stays(self, bytes_store: Any) -> None:
        """A folder with values is removed only with ``recursive=True``."""
        for key in ("f/a", "f/g/b", "f2/a"):
            put(bytes_store, key, b"value")
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its errno tells
            bytes_store.remove_folder("f")
        assert caught.value.errno == errno.ENOTEMPTY
        assert keys(bytes_store) == ["f/a", "f/g/b", "f2/a"]
        bytes_store.remove_folder("f", recursive=True)
        assert keys(bytes_store) == ["f2/a"]
        with pytest.raises(FileNotFoundError):
            bytes_store.stat("f")


def _find_gaps(
    store: ByteStore, source: str, target: str, started: threading.Event, over: threading.Event
) -> str:
    """Look at both keys until the rename is over. Return a fault, or ""."""
    while not over.is_set():
        # Look at the source first. If it is gone, the rename is over, and the target must exist. In
        # the other order, the rename could happen between the two looks.
        gone = not has(store, source)
        started.set()
        if gone and not has(store, target):
            return "neither key had the value"
        if has(store, target) and has(store, source):
            return "both keys had the value"
    return ""
