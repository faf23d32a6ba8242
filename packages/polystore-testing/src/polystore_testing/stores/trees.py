"""Promises about trees: folders that appear complete, and replace others completely."""

from __future__ import annotations

import errno
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from ..promises import needs
from .contests import Meet, contests, kill_while
from .laws import SHARED, StoreLaws, has, keys, names_in, put, top

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ReplacingTreeLaws", "TreeLaws"]

ROUNDS = 20


class TreeLaws(StoreLaws):
    """A tree appears complete or not at all."""

    @needs("trees")
    def test_tree_appears_whole(self, bytes_store: Any) -> None:
        """A tree can be seen only when all its values are there."""
        with bytes_store.tree("p/tree") as hidden:
            for name in ("a", "g/b"):
                put(bytes_store, f"{hidden}/{name}", name.encode())
            assert keys(bytes_store) == []
            assert "tree" not in (names_in(bytes_store, "p") if top(bytes_store) else [])
        assert keys(bytes_store) == ["p/tree/a", "p/tree/g/b"]
        assert bytes_store.read("p/tree/g/b") == b"g/b"
        assert names_in(bytes_store, "p") == ["tree"]

    @needs("trees")
    def test_failed_tree_leaves_nothing(self, bytes_store: Any) -> None:
        """If the block that writes a tree raises, nothing is stored."""
        put(bytes_store, "p/old", b"old")
        hidden: list[str] = []

        def fail(key: str) -> None:
            hidden.append(key)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            _plant(bytes_store, fail)
        # Neither the tree nor its hidden folder may stay.
        assert not has(bytes_store, f"{hidden[0]}/a")
        assert names_in(bytes_store, "p") == ["old"]

    @needs("trees")
    @pytest.mark.parametrize("present", ["value", "folder", "empty folder"])
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_tree_replaces_nothing(self, bytes_store: Any, present: str, when: str) -> None:
        """A tree does not replace a value or a folder that came before or during it."""
        if when == "before":
            _occupy(bytes_store, present)

        def occupy_late(_: str) -> None:
            if when == "meanwhile":
                _occupy(bytes_store, present)

        # The value may come after the start of the tree, so a check at the start is not enough.
        with pytest.raises(FileExistsError):
            _plant(bytes_store, occupy_late)
        assert all(bytes_store.read(key) == b"old" for key in keys(bytes_store))

    @needs("trees")
    @pytest.mark.timeout(300)
    def test_killed_writer_leaves_no_tree(self, bytes_store: Any) -> None:
        """If the writer of a new tree is killed, no part of it can be seen."""
        if bytes_store.features.trees not in SHARED:
            return  # the values die with their process
        assert kill_while(_fill_for_ever, bytes_store, told=1) == ["filling"]
        assert keys(bytes_store) == []
        with bytes_store.tree("p/tree") as hidden:
            put(bytes_store, f"{hidden}/a", b"value")
        assert keys(bytes_store) == ["p/tree/a"]


class ReplacingTreeLaws(StoreLaws):
    """A tree replaces another one in one step.

    A store may refuse that with ``ENOTSUP``, for example on a file system that cannot exchange
    two names. Then the old tree stays.
    """

    @needs("trees", "replace")
    @pytest.mark.parametrize("present", ["value", "folder", "empty folder", "nothing"])
    @pytest.mark.parametrize("when", ["before", "meanwhile"])
    def test_tree_replaces_if_asked(self, bytes_store: Any, present: str, when: str) -> None:
        """With ``if_exists="replace"``, a tree replaces a value or another tree completely."""
        put(bytes_store, "p/tree2", b"other")
        if when == "before":
            _occupy(bytes_store, present)

        def occupy_late(_: str) -> None:
            if when == "meanwhile":
                _occupy(bytes_store, present)

        with _may_refuse():
            _plant(bytes_store, occupy_late, if_exists="replace")
            assert keys(bytes_store) == ["p/tree/a", "p/tree2"]
            assert names_in(bytes_store, "p") == ["tree", "tree2"]
            assert bytes_store.read("p/tree/a") == b"new"

    @needs("trees", "replace")
    @pytest.mark.parametrize("present", ["value", "folder"])
    def test_failed_tree_replaces_nothing(self, bytes_store: Any, present: str) -> None:
        """If the block that writes a tree raises, the old tree stays."""
        _occupy(bytes_store, present)
        before = keys(bytes_store)
        hidden: list[str] = []

        def fail(key: str) -> None:
            hidden.append(key)
            assert keys(bytes_store) == before
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            _plant(bytes_store, fail, if_exists="replace")
        assert not has(bytes_store, f"{hidden[0]}/a")
        assert keys(bytes_store) == before
        assert names_in(bytes_store, "p") == ["tree"]
        assert bytes_store.read(before[0]) == b"old"

    @needs("trees", "replace")
    @pytest.mark.timeout(300)
    def test_readers_see_whole_trees(self, bytes_store: Any) -> None:
        """A reader finds the old tree or the new one, never parts of both."""
        for word in ("threads", "processes"):
            with bytes_store.tree(f"{word}/tree") as hidden:
                _fill(bytes_store, hidden, 0)
        scope = bytes_store.features.trees
        with _may_refuse():
            for word, faults in contests(scope, _replace_trees, bytes_store):
                assert not any(faults), f"{word}: {faults}"
                assert _fault_of(bytes_store, f"{word}/tree") == ""

    @needs("trees", "replace")
    @pytest.mark.timeout(300)
    def test_killed_writer_leaves_whole_tree(self, bytes_store: Any) -> None:
        """If the writer of a tree is killed, the old tree or the new one is there, complete."""
        if bytes_store.features.trees not in SHARED:
            return  # the values die with their process
        with bytes_store.tree("p/tree") as hidden:
            _fill(bytes_store, hidden, 0)
        kill_while(_replace_for_ever, bytes_store, told=ROUNDS)
        assert _fault_of(bytes_store, "p/tree") == ""
        assert names_in(bytes_store, "p") == ["tree"]
        with _may_refuse():
            _plant(bytes_store, lambda _: None, if_exists="replace")
            assert keys(bytes_store) == ["p/tree/a"]


@contextmanager
def _may_refuse() -> Iterator[None]:
    """End a test at a refusal. Other tests check that a refusal does not change the old tree."""
    try:
        yield
    except OSError as error:
        if error.errno != errno.ENOTSUP:
            raise


# ── the work of one contestant ───────────────────────────────────────────────────────────


def _replace_trees(store: Any, who: int, meet: Meet, word: str) -> str:
    """Let the first contestant replace the tree, and the others read until it has finished."""
    meet()
    key, done = f"{word}/tree", f"{word}-done"
    if who == 0:
        try:
            for number in range(1, ROUNDS):
                with store.tree(key, if_exists="replace") as hidden:
                    _fill(store, hidden, number)
        finally:
            # Even if a tree fails: without it, the readers would never stop.
            put(store, done, b"")
        return ""
    fault = ""
    while not fault and not has(store, done):
        fault = _fault_of(store, key)
    return fault


def _replace_for_ever(store: Any, tell: Callable[[int], None]) -> None:
    number = 0
    while True:
        number += 1
        with store.tree("p/tree", if_exists="replace") as hidden:
            _fill(store, hidden, number)
        tell(number)


def _fill(store: Any, hidden: str, number: int) -> None:
    for name in ("a", "g/b", f"n{number}"):
        put(store, f"{hidden}/{name}", b"%d" % number)


def _fault_of(store: Any, key: str) -> str:
    """Read a tree once. Return a fault, or "" if it is complete or was replaced while reading."""
    # Read the same value at the start and at the end. If it differs, the tree was replaced while
    # reading, and then parts of two trees are not a fault.
    try:
        before = store.read(f"{key}/a")
        inner = store.read(f"{key}/g/b")
        names = names_in(store, key)
        after = store.read(f"{key}/a")
    except FileNotFoundError as error:
        return f"a part of the tree is missing: {error!r}"
    found = (inner, names)
    if before == after and found != (before, ["a", "g", f"n{before.decode()}"]):
        return f"tree {before!r} has parts of another: {found}"
    return ""


# ── words ────────────────────────────────────────────────────────────────────────────────


def _plant(store: Any, then: Callable[[str], object], if_exists: str = "error") -> None:
    """Put one value into a new tree, and call ``then`` with its hidden key."""
    with store.tree("p/tree", if_exists=if_exists) as hidden:
        put(store, f"{hidden}/a", b"new")
        then(hidden)


def _occupy(store: Any, present: str) -> None:
    """Put something at "p/tree"."""
    if present == "nothing":
        return
    if present != "empty folder":
        put(store, "p/tree" if present == "value" else "p/tree/old", b"old")
    elif store.features.folders != "none":
        store.make_folder("p/tree")
    else:
        # A store without folders cannot have an empty one, so a value is in the way.
        put(store, "p/tree", b"old")


def _fill_for_ever(store: Any, tell: Callable[[str], None]) -> None:
    with store.tree("p/tree") as hidden:
        put(store, f"{hidden}/a", b"value")
        tell("filling")
        threading.Event().wait()  # stay in the middle of the tree until the process is killed
