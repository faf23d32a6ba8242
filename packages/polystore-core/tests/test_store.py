"""Features that every store of bytes inherits."""

import errno
import io

import numpy as np
import pytest

from polystore_core import BackendRegistry, ByteStore, FileBackend, FileManager, Stat


class ReplacingStore(ByteStore):
    """Another writer replaces the value after each part that is read."""

    def __init__(self, versions):
        self.content, self.version, self.versions = b"", 0, versions
        self.parts = 0

    def stat(self, key):
        version = str(self.version) if self.versions else None
        return Stat(key, size=len(self.content), version=version)

    def read(self, key, start=0, stop=None):
        content = self.content[start:stop]
        if stop is not None:
            self.parts += 1
            self.put(key, encode(self.version))
        return content

    def scan(self, folder=""):
        return [self.stat("a.npy")]

    def put(self, key, content, *, if_exists="replace"):
        self.content, self.version = bytes(content), self.version + 1

    def delete(self, key):
        raise NotImplementedError


def encode(number):
    file = io.BytesIO()
    np.save(file, np.full(3_000_000, number, "uint8"))
    return file.getvalue()


@pytest.mark.parametrize("versions", [True, False])
def test_region_is_of_one_version(versions):
    store = ReplacingStore(versions)
    store.put("a.npy", encode(0))
    with BackendRegistry() as registry:
        registry.add("bytes", FileBackend(store))
        part = FileManager(registry).load("a.npy", "bytes", region=slice(5, 2_999_999))
    assert np.unique(part).size == 1
    assert store.parts == versions


def test_open_refuses_parts_of_two_versions():
    store = ReplacingStore(versions=True)
    store.put("a.npy", encode(0))
    with (
        pytest.raises(OSError, match="replaced while it was read") as caught,
        store.open("a.npy") as file,
    ):
        file.read(10)
    assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, "a.npy")
