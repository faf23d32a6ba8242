"""Small stores of bytes, each with one property in which stores differ."""

import sys
import threading
from dataclasses import replace

import pytest

from polystore_core import (
    ByteStore,
    Folders,
    Links,
    Locks,
    Renames,
    Stat,
    StoreFeatures,
    Trees,
    Versions,
    file_lock,
)
from polystore_core.errors import VersionConflictError

SPACES: dict[str, dict[str, bytes]] = {}
"""The bytes of each store by its name, so that a copy of a store finds them."""
CALLS: dict[str, list[str]] = {}
MUTEX = threading.RLock()


posix = pytest.mark.skipif(sys.platform == "win32", reason="system: links and descriptors")
linux = pytest.mark.skipif(sys.platform != "linux", reason="system: needs /proc")


def keys(found):
    return sorted(stat.key for stat in found)


class Flat(ByteStore):
    """The five methods, and nothing else."""

    features = StoreFeatures(replace="thread", create_only="thread", delete="thread")

    def __init__(self, space):
        self.space = space
        SPACES.setdefault(space, {})
        CALLS.setdefault(space, [])

    @property
    def values(self):
        return SPACES[self.space]

    @property
    def calls(self):
        return CALLS[self.space]

    def stat(self, key, /):
        return Stat(key, size=len(self._at(key)))

    def _at(self, key):
        if key not in self.values:
            raise FileNotFoundError(key)
        return self.values[key]

    def read(self, key, start=0, stop=None, /):
        self.calls.append(f"read {key} {start} {stop}")
        return self._at(key)[start:stop]

    def put(self, key, content, /, *, if_exists="replace"):
        self.calls.append(f"put {key} {if_exists}")
        if if_exists == "replace":
            assert self.features.replace != "none"
            self.values[key] = bytes(content)
            return
        assert self.features.create_only != "none"
        with MUTEX:
            if key in self.values:
                raise FileExistsError(key)
            self.values[key] = bytes(content)

    def delete(self, key, /):
        assert self.features.delete != "none"
        self.values.pop(key, None)

    def scan(self, folder="", /):
        for key in list(self.values):
            if not folder or key.startswith(f"{folder}/"):
                yield Stat(key, size=len(self.values[key]))

    def __repr__(self):
        return f"<{type(self).__name__} {self.space}>"


class Versioned(Flat):
    """Returns versions, so that a value can be read in parts."""

    def stat(self, key, /):
        return super().stat(key)._replace(version=str(hash(self._at(key))))


class ReadOnly(Flat):
    features = StoreFeatures(replace="none", create_only="none", delete="none")


class CreateOnly(Flat):
    """Like a zip archive, never replaces or deletes a value."""

    features = StoreFeatures(replace="none", create_only="thread", delete="none")


class Overwriting(Flat):
    """Like a server without conditions: the last writer wins."""

    features = replace(Flat.features, create_only="none")


class Small(Flat):
    features = replace(Flat.features, max_value=200)


class Broken(Flat):
    """Every write fails halfway."""

    def put(self, key, content, /, *, if_exists="replace"):
        raise OSError("server gone")


class Full(Flat, Renames, Folders, Links, Locks, Versions, Trees):
    """Has every feature of a store. ``values`` holds links as ``("to", text)``."""

    features = StoreFeatures(
        replace="thread",
        create_only="thread",
        delete="thread",
        nested_values=False,
        renames="thread",
        folders="thread",
        links="thread",
        locks="thread",
        versions="thread",
        trees="thread",
    )

    def _make_folders(self, key):
        """Make the folders of ``key``. A folder is a value that is ``None``."""
        parts = key.split("/")[:-1]
        for count in range(1, len(parts) + 1):
            folder = "/".join(parts[:count])
            if isinstance(self.values.setdefault(folder, None), bytes):
                raise NotADirectoryError(folder)

    def _follow(self, key):
        found = self.values.get(key)
        return self._follow(found[1]) if isinstance(found, tuple) else key

    def _at(self, key):
        found = super()._at(self._follow(key))
        if found is None:
            raise IsADirectoryError(key)
        return found

    def stat(self, key, /):
        target = self.read_link(key)
        try:
            content = self._at(key)
        except IsADirectoryError:
            return Stat(key, "directory", target=target)
        except FileNotFoundError:
            if not key:
                return Stat("", "directory")
            if target is None:
                raise
            return Stat(key, "symlink", target=target)
        return Stat(key, size=len(content), target=target, version=str(hash(content)))

    def put(self, key, content, /, *, if_exists="replace"):
        with MUTEX:
            key = self._follow(key) if if_exists == "replace" else key
            self._make_folders(key)
            if self.values.get(key, b"") is None:
                raise IsADirectoryError(key)
            super().put(key, content, if_exists=if_exists)

    def scan(self, folder="", /):
        for key, content in list(self.values.items()):
            if content is not None and (not folder or key.startswith(f"{folder}/")):
                yield self.stat(key)

    def entries(self, folder, /):
        if self.stat(folder).kind != "directory":
            raise NotADirectoryError(folder)
        start = f"{folder}/" if folder else ""
        for key in list(self.values):
            name = key.removeprefix(start)
            if key.startswith(start) and "/" not in name and not name.startswith(".~ps-"):
                kind = self.stat(key).kind
                yield self.entry(name, kind == "directory", self.read_link(key) is not None)

    @staticmethod
    def entry(*values):
        from polystore_core import Entry

        return Entry(*values)

    def rename(self, source, target, /, *, if_exists="replace"):
        with MUTEX:
            if source not in self.values:
                raise FileNotFoundError(source)
            if source == target:
                return
            old, new = self.values[source], self.values.get(target, b"")
            if target in self.values and (old is None or if_exists == "error"):
                raise self._set_key(FileExistsError(), target)
            if new is None:
                raise self._set_key(IsADirectoryError(), target)
            self._make_folders(target)
            for key in [k for k in self.values if f"{k}/".startswith(f"{source}/")]:
                self.values[target + key[len(source) :]] = self.values.pop(key)

    @staticmethod
    def _set_key(error, key):
        error.filename = key
        return error

    def make_folder(self, key, /):
        self._make_folders(f"{key}/_")

    def remove_folder(self, key, /, *, recursive=False):
        with MUTEX:
            below = [inner for inner in self.values if inner.startswith(f"{key}/")]
            if below and not recursive:
                raise OSError(39, "Directory not empty", key)
            for inner in [*below, key]:
                del self.values[inner]

    def link(self, source, key, /, *, replace=False):
        self.stat(source)
        if key in self.values and not replace:
            raise self._set_key(FileExistsError(), key)
        self._make_folders(key)
        self.values[key] = ("to", source)

    def read_link(self, key, /):
        found = self.values.get(key)
        return found[1] if isinstance(found, tuple) else None

    def copy_link(self, source, key, /):
        self.values[key] = self.values[source]

    def lock(self, key, /, *, timeout=30.0):
        return file_lock(key, timeout=timeout)

    def put_version(self, key, content, /, *, version):
        with MUTEX:
            current = self.stat(key).version if key in self.values else None
            if current != version:
                raise VersionConflictError("", key, "put", current=current)
            self.values[key] = bytes(content)

    def tree(self, key, /, *, if_exists="error", durable=None):
        assert if_exists == "error"
        return Tree(self, key)


class Tree:
    def __init__(self, store, key):
        self.store, self.key = store, key
        self.hidden = f"{key.rpartition('/')[0]}/.~ps-1".lstrip("/")

    def __enter__(self):
        if self.key in self.store.values:
            raise FileExistsError(self.key)
        self.store.make_folder(self.hidden)
        return self.hidden

    def __exit__(self, kind, *_):
        if kind is None:
            self.store.rename(self.hidden, self.key, if_exists="error")
        else:
            self.store.remove_folder(self.hidden, recursive=True)
