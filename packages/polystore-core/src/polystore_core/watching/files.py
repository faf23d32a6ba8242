"""``Files``: finds new files in a folder in which others write."""

from __future__ import annotations

import time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from ..errors import DataError, NotADirectoryInPathError, NotFoundError
from ..file_backend import FileBackend
from ..paths import join
from ..values import natural_order
from .looks import Look

if TYPE_CHECKING:
    from ..abc.backend import DataSource, Entry
    from .looks import Request

__all__ = ["Files"]

_OLD = 60.0
"""Seconds without a change after which a file counts as complete at the first look.

The time is long, because the clock of a file server may differ from ours.
"""

_UNFINISHED = (".tmp", ".part", ".partial", ".filepart", ".crdownload")
"""Suffixes of incomplete files, which browsers, WinSCP and others rename at the end."""

_State: TypeAlias = "tuple[int | None, float | None] | None"
"""The size and the time of the last change. ``None`` for an empty file or a broken link."""


class _Seen(NamedTuple):
    since: float
    state: _State


class Files:
    """The files of a folder, each found once. A deleted file that is written again is new."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._given: set[str] = set()
        self._waiting: dict[str, _Seen] = {}
        """The names that may be incomplete, each with its last state and since when it has it."""
        self._is_frozen = False

    def look(self) -> Look:
        """Find the files that have not changed for ``settle`` seconds."""
        names = self._names()
        if self._is_frozen:
            names &= self._given | self._waiting.keys()
        self._given &= names  # forgets deleted files, so that they are new when they are back
        settled = self._find_settled(names - self._given)
        self._given |= settled
        waits = any(seen.state for seen in self._waiting.values())
        return Look(natural_order(settled), waits)

    def freeze(self) -> None:
        """Ignore files that appear from now on."""
        self._is_frozen = True

    def _names(self) -> set[str]:
        found: set[str] = set()
        folders = [""]
        while folders:
            folder = folders.pop()
            for entry in self._entries(folder):
                name = f"{folder}{entry.name}"
                if _is_unfinished(entry.name):
                    continue
                if entry.is_dir:
                    if self._request.recursive and not entry.is_symlink:
                        folders.append(f"{name}/")
                elif self._request.pattern is None or fnmatchcase(
                    entry.name, self._request.pattern
                ):
                    found.add(name)
        return found

    def _entries(self, folder: str) -> list[Entry]:
        """Return the entries of a folder, or nothing if it was deleted."""
        source, path, *_ = self._request
        try:
            return list(source.scan(join(path, folder.rstrip("/")) if folder else path))
        except NotFoundError:  # it may also be empty, as some stores have no empty folders
            return []
        except NotADirectoryInPathError as error:
            if folder:  # it was replaced by a file, which the next look finds
                return []
            error.reason = "it was a folder when the watch began, and now it is a file"
            raise

    def _find_settled(self, names: set[str]) -> set[str]:
        """Return the names of complete files. Files that are seen at once are complete at once."""
        source, path, settle = self._request.source, self._request.path, self._request.settle
        if not settle:
            return names
        # Two times, because reading many states takes a while. A file must be unchanged from the
        # end of one look to the start of the next.
        before = time.monotonic()
        states = {name: _state(source, join(path, name)) for name in names}
        after = time.monotonic()
        settled: set[str] = set()
        waiting: dict[str, _Seen] = {}
        for name, state in states.items():
            seen = self._waiting.get(name)
            if seen is None and _is_old(state, settle):
                settled.add(name)
                continue
            if seen is None or seen.state != state:
                seen = _Seen(after, state)
            if state is not None and before - seen.since >= settle:
                settled.add(name)
            else:
                waiting[name] = seen
        self._waiting = waiting
        return settled


def _is_old(state: _State, settle: float) -> bool:
    modified = None if state is None else state[1]
    return modified is not None and time.time() - modified > _OLD + settle


def _is_unfinished(name: str) -> bool:
    """Return whether a name is hidden, as those of rsync while it writes, or temporary."""
    return name.startswith(".") or name.lower().endswith(_UNFINISHED)


def _state(source: DataSource, path: str) -> _State:
    # Not info(), which reads the file: it may be incomplete.
    if isinstance(source, FileBackend):
        found = source._stat_or_none(path)
        if found is None or not found.size:  # it is missing, or nothing is written yet
            return None
        return found.size, found.modified
    try:
        info = source.info(path)
    except (NotFoundError, NotADirectoryInPathError):
        return None
    except DataError:  # ``load`` raises the same error for the user
        return None, None
    return info.size, None if info.modified is None else info.modified.timestamp()
