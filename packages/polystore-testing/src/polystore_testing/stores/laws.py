"""The base class of the tests of stores, and their helpers."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from ..conformance import Conformance
from ..promises import condition_of

if TYPE_CHECKING:
    from polystore_core import ByteStore, Entry

__all__ = ["SHARED", "StoreLaws", "has", "is_shared", "keys", "names_in", "put", "top"]

SHARED = ("host", "all")
"""The scopes of promises that hold between processes."""


class StoreLaws(Conformance):
    """Base of the tests. If a store does not make a promise, its test checks the refusal."""

    @pytest.fixture
    def bytes_store(self) -> ByteStore:
        """Return an empty store of bytes. Supply it."""
        raise NotImplementedError(
            "there is no fixture `bytes_store`: supply one that returns an empty store"
        )

    @pytest.fixture
    def reopened(self, bytes_store: ByteStore) -> ByteStore:
        """Return a copy of the store, as another process gets it."""
        copy: ByteStore = pickle.loads(pickle.dumps(bytes_store))  # noqa: S301
        return copy


def put(store: ByteStore, key: str, content: bytes | bytearray | memoryview) -> None:
    """Put a new value into any store, even one that cannot replace values."""
    store.put(key, content, if_exists=condition_of(store))


def has(store: ByteStore, key: str) -> bool:
    """Whether ``key`` holds a value."""
    # Below a value, some stores raise NotADirectoryError: the key does not exist either.
    try:
        return store.stat(key).kind == "file"
    except (FileNotFoundError, NotADirectoryError):
        return False


def keys(store: ByteStore, folder: str = "") -> list[str]:
    """Return the keys of all values below ``folder``."""
    return sorted(stat.key for stat in store.scan(folder))


def top(store: ByteStore) -> list[Entry]:
    """Return the entries at the top of the store."""
    # Only the store knows how it spells its own top.
    return sorted(store.entries(store.key(".")))


def names_in(store: ByteStore, folder: str) -> list[str]:
    """Return the names in ``folder``."""
    return sorted(entry.name for entry in store.entries(folder))


def is_shared(store: ByteStore) -> bool:
    """Whether other processes see the values."""
    features = store.features
    return features.replace in SHARED or features.create_only in SHARED
