"""An honest object store with flat keys, whole values and conditional writes.

The values are files of one folder. A lock next to them is the server, which answers one request
at a time from any process.
"""

import errno
import fcntl
import hashlib
import os
from contextlib import contextmanager, suppress
from pathlib import Path

from polystore_core import ByteStore, FileBackend, Stat, StoreFeatures, Versions
from polystore_core.errors import VersionConflictError


class ObjectStore(ByteStore, Versions):
    features = StoreFeatures(create_only="all", versions="all")

    def __init__(self, folder):
        self.folder = Path(folder)
        self.folder.mkdir(exist_ok=True)

    def _file(self, key):
        return self.folder / key.encode().hex()

    @contextmanager
    def _server(self):
        with open(self.folder / "lock", "w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def stat(self, key):
        content = self.read(key)
        return Stat(key, size=len(content), version=hashlib.blake2b(content).hexdigest())

    def read(self, key, start=0, stop=None):
        return self._file(key).read_bytes()[start:stop]

    def scan(self, folder=""):
        for name in os.listdir(self.folder):
            if "." not in name and name != "lock":
                key = bytes.fromhex(name).decode()
                if not folder or key.startswith(f"{folder}/"):
                    with suppress(FileNotFoundError):  # deleted after it was listed
                        yield Stat(key, size=(self.folder / name).stat().st_size)

    def put(self, key, content, *, if_exists="replace"):
        new = self._file(key).with_suffix(f".{os.urandom(8).hex()}")
        new.write_bytes(content)
        try:
            with self._server():
                if if_exists == "error":
                    os.link(new, self._file(key))
                else:
                    os.replace(new, self._file(key))
        finally:
            new.unlink(missing_ok=True)

    def put_version(self, key, content, *, version):
        with self._server():
            try:
                current = self.stat(key).version
            except FileNotFoundError:
                current = None
            if current != version:
                raise VersionConflictError("", key, "save", current=current)
            new = self._file(key).with_suffix(f".{os.urandom(8).hex()}")
            new.write_bytes(content)
            os.replace(new, self._file(key))

    def delete(self, key):
        with self._server():
            self._file(key).unlink(missing_ok=True)


class Objects(FileBackend):
    _backend_type = "objects"

    def __init__(self, *, folder):
        super().__init__(ObjectStore(folder))


class Archive(ObjectStore):
    """Takes only new values, like a zip file."""

    features = StoreFeatures(replace="none", create_only="all", delete="none")

    def put(self, key, content, *, if_exists="replace"):
        assert if_exists == "error", "the store does not claim to replace values"
        super().put(key, content, if_exists=if_exists)

    def delete(self, key):
        raise AssertionError("the store does not claim to delete values")


class Plain(ObjectStore):
    """Has no conditional writes, and a size limit."""

    features = StoreFeatures(max_value=1 << 22)

    def put(self, key, content, *, if_exists="replace"):
        assert if_exists == "replace", "the store does not claim conditional writes"
        if len(content) > self.features.max_value:
            raise OSError(errno.EFBIG, "too large", key)
        super().put(key, content)
