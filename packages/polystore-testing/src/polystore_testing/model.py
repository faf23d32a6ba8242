"""Compare random operations on a backend with a dictionary, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)

from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PolystoreError,
)

from .examples import examples

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import Value

    from .conformance import Bound

__all__ = ["check_against_model"]

FILE, FOLDER = "file", "folder"

# Use few names, so that operations meet: the same name is a file, a folder and a parent.
PATHS = st.sampled_from(
    ["a.npy", "b.npy", "f", "f/a.npy", "f/b.npy", "f/g", "f/g/a.npy", "a.npy/a.npy", "h.npy"]
)
FILES = PATHS.filter(lambda path: path.endswith(".npy"))
IF_EXISTS = st.sampled_from(["replace", "error", "skip"])


class Model:
    """A tree in a dictionary: a path has a number (content of a file) or ``None`` (a folder)."""

    def __init__(self) -> None:
        self.tree: dict[str, int | None] = {"": None}

    def kind(self, path: str) -> str | None:
        """Return "file", "folder", or ``None`` if nothing is there."""
        if path not in self.tree:
            return None
        return FOLDER if self.tree[path] is None else FILE

    def check_parents(self, path: str) -> None:
        """Raise ``NotADirectoryInPathError`` if a parent of ``path`` is a file."""
        for parent in _parents(path):
            if self.kind(parent) == FILE:
                raise NotADirectoryInPathError("", path, "")

    def add_parents(self, path: str) -> None:
        """Create the missing parents of ``path``."""
        for parent in _parents(path):
            self.tree.setdefault(parent, None)

    def inside(self, path: str) -> list[str]:
        """Return all paths below a folder."""
        return [other for other in self.tree if other.startswith(f"{path}/")]

    def save(self, path: str, content: int, if_exists: str) -> None:
        """Save a file."""
        self.check_parents(path)
        if self.kind(path) == FOLDER:
            raise NotAFileError("", path, "")
        if path in self.tree and if_exists == "error":
            raise AlreadyExistsError("", path, "")
        if path in self.tree and if_exists == "skip":
            return
        self.add_parents(path)
        self.tree[path] = content

    def load(self, path: str) -> int:
        """Return the content of a file."""
        self.check_parents(path)
        if path not in self.tree:
            raise NotFoundError("", path, "")
        content = self.tree[path]
        if content is None:
            raise NotAFileError("", path, "")
        return content

    def ensure_directory(self, path: str) -> None:
        """Create a folder and its parents."""
        # With one more part, `path` itself is one of the parents, none of which may be a file.
        self.check_parents(f"{path}/x")
        self.add_parents(f"{path}/x")

    def delete(self, path: str, recursive: bool) -> None:
        """Delete a file or a folder."""
        self.check_parents(path)
        if path not in self.tree:
            raise NotFoundError("", path, "")
        if self.inside(path) and not recursive:
            raise DirectoryNotEmptyError("", path, "")
        for gone in [path, *self.inside(path)]:
            del self.tree[gone]

    def copy(self, source: str, target: str, if_exists: str) -> None:
        """Copy a file or a folder."""
        self.check_parents(source)
        if self.kind(source) == FOLDER:
            self._check_folder_target(source, target)
            self.add_parents(target)
            for old in [source, *self.inside(source)]:
                self.tree[target + old[len(source) :]] = self.tree[old]
        else:
            self.save(target, self.load(source), if_exists)

    def move(self, source: str, target: str, if_exists: str) -> None:
        """Move a file or a folder."""
        if source == target and source in self.tree:
            return
        # Look before the copy: after it, there is always a file at the target.
        stays = if_exists == "skip" and self.kind(target) == FILE
        self.copy(source, target, if_exists)
        if not stays:
            self.delete(source, recursive=True)

    def _check_folder_target(self, source: str, target: str) -> None:
        if f"{target}/".startswith(f"{source}/"):
            raise InvalidOptionError("target", target, "")
        self.check_parents(target)
        if target in self.tree:
            raise AlreadyExistsError("", target, "")

    def list_dir(self, path: str) -> list[str]:
        """Return the names in a folder, sorted."""
        self.check_parents(f"{path}/x" if path else "x")
        if path not in self.tree:
            raise NotFoundError("", path, "")
        skip = len(path) + 1 if path else 0
        names = {
            other[skip:].split("/")[0]
            for other in self.tree
            if other[skip:] and (not path or other.startswith(f"{path}/"))
        }
        return sorted(names)


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _outcome(action: Callable[[], Value]) -> Value:
    # Compare the type of an error, and not its text: backends may add advice.
    try:
        return action()
    except PolystoreError as error:
        return type(error)


def check_against_model(
    make_store: Callable[[], Bound], *, max_examples: int = 150, steps: int = 25
) -> None:
    """Run random operations on new stores. Every result must equal that of a dictionary.

    Args:
        make_store: Returns an empty store.
        max_examples: Number of walks.
        steps: Operations of one walk.

    Raises ``AssertionError`` with the shortest walk that differs.
    """

    class Walk(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.store = make_store()
            self.model = Model()

        def both(self, real: Callable[[], Value], expected: Callable[[], Value]) -> None:
            assert _outcome(real) == _outcome(expected)

        @rule(path=FILES, content=st.integers(0, 99), if_exists=IF_EXISTS)
        def save(self, path: str, content: int, if_exists: str) -> None:
            self.both(
                lambda: self.store.save(np.full(3, content), path, if_exists=if_exists),
                lambda: self.model.save(path, content, if_exists),
            )

        @rule(path=FILES)
        def load(self, path: str) -> None:
            self.both(
                lambda: self.store.load(path).tolist(), lambda: [self.model.load(path)] * 3
            )

        @rule(path=PATHS)
        def ensure_directory(self, path: str) -> None:
            self.both(
                lambda: self.store.ensure_directory(path),
                lambda: self.model.ensure_directory(path),
            )

        @rule(path=PATHS, recursive=st.booleans())
        def delete(self, path: str, recursive: bool) -> None:
            self.both(
                lambda: self.store.delete(path, recursive=recursive),
                lambda: self.model.delete(path, recursive),
            )

        def would_lose_suffix(self, source: str, place: str) -> bool:
            """Whether the target would be a file without a suffix, which cannot be loaded."""
            return self.model.kind(source) == FILE and not place.endswith(".npy")

        @rule(source=PATHS, place=PATHS, if_exists=IF_EXISTS)
        def move(self, source: str, place: str, if_exists: str) -> None:
            if self.would_lose_suffix(source, place):
                return
            self.both(
                lambda: self.store.move(source, place, if_exists=if_exists),
                lambda: self.model.move(source, place, if_exists),
            )

        @rule(source=PATHS, place=PATHS, if_exists=IF_EXISTS)
        def copy(self, source: str, place: str, if_exists: str) -> None:
            if self.would_lose_suffix(source, place):
                return
            self.both(
                lambda: self.store.copy(source, place, if_exists=if_exists),
                lambda: self.model.copy(source, place, if_exists),
            )

        @rule(path=PATHS)
        def list_dir(self, path: str) -> None:
            self.both(
                lambda: sorted(self.store.list_dir(path)), lambda: self.model.list_dir(path)
            )

        @invariant()
        def trees_are_equal(self) -> None:
            folders, files = self.store.collect_dirs_and_files(".")
            assert sorted([*folders, *files]) == sorted(filter(None, self.model.tree))
            assert {path: int(self.store.load(path)[0]) for path in files} == {
                path: content
                for path, content in self.model.tree.items()
                if content is not None
            }

    run_state_machine_as_test(
        Walk,
        settings=settings(
            max_examples=examples(max_examples),
            stateful_step_count=steps,
            # No deadline: a store may be slow. No database: it would leave files next to the
            # author's tests.
            deadline=None,
            database=None,
            report_multiple_bugs=False,  # raise one AssertionError, not an exception group
        ),
    )
