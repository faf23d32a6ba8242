"""Allow one save or deletion of a place at a time, in a store without locks and trees.

A process that changes a place claims it. It puts a key there with ``if_exists="error"``, which
only one of several processes can do. Then it looks for claims of others, in all groups around the
place, and below the place if it deletes. If one place contains the other, at least one of the two
processes sees the claim of the other.

A claim names its process. If this process is killed, the claim and the chunks stay. Readers do not
find them. Only a deletion removes them, because another machine cannot distinguish a killed
process from a slow one.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import uuid
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from hashlib import sha256
from typing import TYPE_CHECKING

from polystore_core import HIDDEN_PREFIX, Locks, Versions, claim
from polystore_core.errors import VersionConflictError

from .scratch import scratch_folder
from .slots import machine

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from polystore_core import ByteStore

__all__ = ["CLAIM", "Claim", "hold_claim", "is_exclusive", "refuse_claims"]

CLAIM = f"{HIDDEN_PREFIX}claim"
"""The name of a claim in its place."""


def is_exclusive(store: ByteStore) -> bool:
    """Return whether only claims keep other writers out.

    Chunks without a document may then belong to a running process. Under a lock, or if only one
    process can write, they belong to a killed one.
    """
    return store.features.create_only != "none" and not store.claims(Locks)


class Claim:
    """The claim on one place."""

    def __init__(self, store: ByteStore, place: str, folder: str) -> None:
        self._store = store
        self.key = f"{place}/{CLAIM}"
        self.is_unfinished = False
        """Whether there are chunks without a document. The claim then stays."""
        fields = {
            "machine": _here(),
            "host": platform.node(),
            "process": os.getpid(),
            "folder": folder,
            # Two claims of one process on the same place must differ, for ``is_held``.
            "id": uuid.uuid4().hex,
        }
        self._content = json.dumps(fields).encode()

    def put(self, *, take_over: bool) -> None:
        """Put the claim.

        Raises:
            OSError: (``EEXIST``, or ``EBUSY`` with ``take_over``) Another process has it.
        """
        # Under a lock no other writer is here, and an old claim is that of a killed one.
        if not is_exclusive(self._store):
            # This one only tells readers that the place is not whole yet.
            self._store.put(self.key, self._content)
            return
        try:
            self._store.put(self.key, self._content, if_exists="error")
        except FileExistsError:
            content = _read(self._store, self.key)
            if not take_over:
                raise _claim_error(errno.EEXIST, self.key, content) from None
            if content is not None and _is_running(content):
                raise _claim_error(errno.EBUSY, self.key, content) from None
            try:
                self._replace(content)
            except (FileExistsError, VersionConflictError):
                raise _claim_error(errno.EBUSY, self.key, content) from None

    def _replace(self, content: bytes | None) -> None:
        if content is not None and self._store.claims(Versions):
            # Only the version that was judged is replaced. If its owner has renewed it, this fails.
            versions = self._store.require(Versions, "delete")
            found = self._store.stat(self.key)
            if found.version is not None and _read(self._store, self.key) == content:
                versions.put_version(self.key, self._content, version=found.version)
                return
        # Two processes may do this at once. Only one of them can then create the claim.
        self._store.delete(self.key)
        self._store.put(self.key, self._content, if_exists="error")

    @property
    def is_held(self) -> bool:
        """Whether the claim is still there, and ours."""
        return _read(self._store, self.key) == self._content

    def check(self) -> None:
        """Raise ``OSError`` (``ESTALE``) if another process has deleted it."""
        if not self.is_held:
            reason = "another process has deleted it while it was saved"
            raise OSError(errno.ESTALE, reason, self.key)

    def drop(self) -> None:
        """Delete the claim, unless it must stay for chunks without a document."""
        if not self.is_unfinished and self.is_held:
            self._store.delete(self.key)


@contextmanager
def hold_claim(store: ByteStore, place: str, *, take_over: bool = False) -> Iterator[Claim]:
    """Hold the claim on ``place``, and its lock if the store has locks.

    Args:
        store: the store.
        place: key of the place.
        take_over: whether to take the claim of a process that is not known to run.

    Raises:
        OSError: (``EEXIST``, or ``EBUSY`` with ``take_over``) Another process has the claim.
            (``EBUSY``) Another process deletes a group around the place.
    """
    with ExitStack() as stack:
        if store.claims(Locks):
            stack.enter_context(store.require(Locks, "lock").lock(place))
        folder = stack.enter_context(scratch_folder())  # locked while this process runs
        mine = Claim(store, place, folder)
        try:
            mine.put(take_over=take_over)
            # In this order, at least one of two processes sees the claim of the other.
            if is_exclusive(store):
                refuse_claims(store, _above(place))
            yield mine
        finally:
            # If this fails, the claim stays next to an array. Readers do not see it, and the next
            # deletion takes it over.
            with suppress(OSError):
                mine.drop()


def refuse_claims(store: ByteStore, keys: Iterable[str], *, running: bool = False) -> None:
    """Raise ``OSError`` (``EBUSY``) if one of ``keys`` is a claim.

    With ``running``, only claims of processes that are known to run count.
    """
    for key in keys:
        content = _read(store, key)
        if content is not None and (not running or _is_running(content)):
            raise _claim_error(errno.EBUSY, key, content)


@cache
def _here() -> str:
    return sha256(machine()).hexdigest()[:16]


def _above(place: str) -> Iterator[str]:
    while place := place.rpartition("/")[0]:
        yield f"{place}/{CLAIM}"


def _read(store: ByteStore, key: str) -> bytes | None:
    try:
        return store.read(key)
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_running(content: bytes) -> bool:
    """Return whether the process of a claim is known to run, by the lock of its folder."""
    fields = _fields(content)
    folder = fields.get("folder")
    # On another machine, a folder with this path is not the one of the claim.
    if fields.get("machine") != _here() or not isinstance(folder, str):
        return False
    # A process locks its folder while it runs, so only a running one keeps us from claiming it.
    with claim(folder) as mine:
        # ``claim`` is also False for a folder that does not exist any more.
        return mine is False and os.path.isdir(folder)


def _claim_error(code: int, key: str, content: bytes | None) -> OSError:
    fields = _fields(content or b"{}")
    place = key.rpartition("/")[0]
    reason = (
        f"process {fields.get('process', '?')} on {fields.get('host', '?')} is saving or deleting "
        f"{place!r}, or was killed while it did. If it has ended, delete {place!r} first"
    )
    return OSError(code, reason, place)


def _fields(content: bytes) -> dict[str, object]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
