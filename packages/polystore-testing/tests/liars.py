"""Object stores that break the promises that they claim.

Some promises break only between two callers. There the liar waits in its gap for the other
caller, so that the kit meets the gap each time.
"""

import multiprocessing
import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import replace

from objectstore import ObjectStore

from polystore_core import Locks, Renames, Sink, Stat, Trees
from polystore_core.errors import VersionConflictError

HONEST = ObjectStore.features


class IgnoresCondition(ObjectStore):
    """A store that ignores the unknown header of a conditional write."""

    def put(self, key, content, *, if_exists="replace"):
        super().put(key, content)


class ChecksThenPuts(ObjectStore):
    def put(self, key, content, *, if_exists="replace"):
        if if_exists == "error":
            if self._file(key).exists():
                raise FileExistsError(key)
            self.wait_for_another(key)
        super().put(key, content)

    def wait_for_another(self, key):
        """Return when a second caller has come this far with the same key."""
        mark = self._file(key).name
        (self.folder / f"{mark}.check{os.urandom(8).hex()}").touch()
        while len(list(self.folder.glob(f"{mark}.check*"))) < 2:
            time.sleep(0.001)


class ChecksUnderThreadLock(ChecksThenPuts):
    """Excludes the threads of one process, and claims to exclude all machines."""

    _lock = threading.Lock()

    def put(self, key, content, *, if_exists="replace"):
        with self._lock:
            super().put(key, content, if_exists=if_exists)

    def wait_for_another(self, key):
        if multiprocessing.parent_process() is not None:
            super().wait_for_another(key)


class ChecksVersionThenPuts(ChecksThenPuts):
    def put_version(self, key, content, *, version):
        current = self.stat(key).version
        if current != version:
            raise VersionConflictError("", key, "save", current=current)
        if self.read(key) == b"0":
            self.wait_for_another(key)
        ObjectStore.put(self, key, content)


class IgnoresVersions(ObjectStore):
    def put_version(self, key, content, *, version):
        self.put(key, content)


class MakesMissingVersions(ObjectStore):
    def put_version(self, key, content, *, version):
        try:
            super().put_version(key, content, version=version)
        except VersionConflictError as error:
            if error.current is not None:
                raise
            self.put(key, content)


class SizeIsVersion(ObjectStore):
    def stat(self, key):
        found = super().stat(key)
        return found._replace(version=str(found.size))


class WritesHalf(ObjectStore):
    """Replaces a value in two steps, and lets a reader in between once."""

    def __init__(self, folder):
        super().__init__(folder)
        self.replaced, self.half, self.was_read = 0, b"", threading.Event()

    def read(self, key, start=0, stop=None):
        content = super().read(key, start, stop)
        if content == self.half:
            self.was_read.set()
        return content

    def put(self, key, content, *, if_exists="replace"):
        if self._file(key).exists():
            self.replaced += 1
            self.half = bytes(content[: len(content) // 2])
            super().put(key, self.half)
            self.in_gap()
        super().put(key, content, if_exists=if_exists)

    def in_gap(self):
        if self.replaced == 1:
            self.was_read.wait()


class DiesHalfway(WritesHalf):
    """Kills itself when it has replaced half of the fifth value."""

    def __reduce__(self):
        return type(self), (self.folder,)

    def in_gap(self):
        if self.replaced == 5:
            os.kill(os.getpid(), signal.SIGKILL)


class ForgetsNewKeys(ObjectStore):
    def __init__(self, folder):
        super().__init__(folder)
        self.listed = {}

    def scan(self, folder=""):
        return self.listed.setdefault(folder, list(super().scan(folder)))


class TakesPrefixes(ObjectStore):
    def scan(self, folder=""):
        return [stat for stat in super().scan() if stat.key.startswith(folder)]


class ReadsNoSlices(ObjectStore):
    def read(self, key, start=0, stop=None):
        with self._file(key).open("rb") as file:
            file.seek(max(start, 0))
            return file.read() if stop is None else file.read(stop - start)


class MissesDeleted(ObjectStore):
    def delete(self, key):
        self._file(key).unlink()


class KnowsFolders(ObjectStore):
    """Reports a folder for a prefix, but has no folders."""

    def stat(self, key):
        if any(self.scan(key)):
            return Stat(key, "directory")
        return super().stat(key)


class ClaimsRenames(ObjectStore):
    features = replace(HONEST, renames="all")


class PutsFirst(ObjectStore, Renames):
    """Renames in two steps, and waits with the second until a reader has seen both keys."""

    features = replace(HONEST, renames="all")

    def __init__(self, folder):
        super().__init__(folder)
        self.awaited = []
        """The next things that a reader must see: a key, and whether it has a value."""

    def rename(self, source, target, *, if_exists="replace"):
        self.awaited = [(target, True), (source, True)]
        self.put(target, self.read(source), if_exists=if_exists)
        self.wait_for_reader()
        self.delete(source)

    def wait_for_reader(self):
        while self.awaited:
            time.sleep(0.001)

    def stat(self, key):
        try:
            found = super().stat(key)
        except FileNotFoundError:
            self.observe(key, False)
            raise
        self.observe(key, True)
        return found

    def observe(self, *observation):
        if self.awaited[:1] == [observation]:
            self.awaited.pop(0)


class DeletesFirst(PutsFirst):
    """Waits with the second step until a reader has seen neither key."""

    def rename(self, source, target, *, if_exists="replace"):
        content = self.read(source)
        self.awaited = [(source, False), (target, False)]
        self.delete(source)
        self.wait_for_reader()
        self.put(target, content, if_exists=if_exists)


class LocksNothing(ObjectStore, Locks):
    features = replace(HONEST, locks="all")

    @contextmanager
    def lock(self, key, *, timeout=30.0):
        yield


class LocksForEver(LocksNothing):
    """Has files as locks, which a killed process leaves."""

    @contextmanager
    def lock(self, key, *, timeout=30.0):
        file = self._file(key).with_suffix(".lock")
        file.touch(exist_ok=False)
        yield
        file.unlink()


class GrowsTrees(ObjectStore, Trees):
    features = replace(HONEST, trees="all")

    @contextmanager
    def tree(self, key, *, if_exists="error", durable=None):
        yield key


class DeletesTreeFirst(ObjectStore, Trees):
    """Replaces a tree in two steps, and waits with the second until a reader was in the gap."""

    features = replace(HONEST, trees="thread")

    def __init__(self, folder):
        super().__init__(folder)
        self.in_gap, self.was_read = False, threading.Event()
        self.reads = {}
        """The keys that each thread has read in the gap."""

    @contextmanager
    def tree(self, key, *, if_exists="error", durable=None):
        hidden = f".~ps-{os.urandom(8).hex()}"
        yield hidden
        new = [found.key for found in self.scan(hidden)]
        if old := [found.key for found in self.scan(key)]:
            self.change(key, hidden, old, new)
        for name in new:
            self.put(key + name.removeprefix(hidden), self.read(name))
            self.delete(name)

    def change(self, key, hidden, old, new):
        for name in old:
            self.delete(name)
        self.wait_for_reader()

    def wait_for_reader(self):
        if not self.was_read.is_set():
            self.in_gap = True
            self.was_read.wait()

    def read(self, key, start=0, stop=None):
        try:
            return super().read(key, start, stop)
        finally:
            if self.in_gap and key.endswith("/a"):
                self.was_read.set()


class FillsOldTree(DeletesTreeFirst):
    """Puts the new values over the old ones, one after another."""

    def change(self, key, hidden, old, new):
        self.put(f"{key}/a", self.read(f"{hidden}/a"))
        self.wait_for_reader()
        for name in old:
            self.delete(name)

    def read(self, key, start=0, stop=None):
        content = ObjectStore.read(self, key, start, stop)
        if self.in_gap:
            done = self.reads.setdefault(threading.get_ident(), [])
            done.append(key.rpartition("tree/")[2])
            if done[-3:] == ["a", "g/b", "a"]:
                self.was_read.set()
        return content


class _StraightSink(Sink):
    def __init__(self, file):
        self.file = file

    def seal(self, *, flush=True):
        self.file.flush()

    def commit(self):
        self.file.close()

    def discard(self):
        self.file.close()


class WritesStraight(ObjectStore):
    def sink(self, key, *, if_exists="replace", durable=None):
        return _StraightSink(self._file(key).open("w+b", buffering=0))
