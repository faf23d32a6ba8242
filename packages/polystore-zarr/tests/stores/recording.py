"""An object store that records its requests, and lets a test act between two requests."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from objectstore import ObjectStore

if TYPE_CHECKING:
    from collections.abc import Callable

DOCUMENTS = ("zarr.json", ".zarray", ".zgroup", ".zattrs")


def is_document(key: str) -> bool:
    return key.rpartition("/")[2] in DOCUMENTS


def _do_nothing(request: str, key: str) -> None:
    """Let the request continue."""


class Recording(ObjectStore):
    """Calls ``before`` with each request, and records it."""

    def __init__(self, folder: Any) -> None:
        super().__init__(folder)
        self.requests: list[tuple[str, str]] = []
        self.before: Callable[[str, str], object] = _do_nothing

    def _record(self, request: str, key: str) -> None:
        self.requests.append((request, key))
        self.before(request, key)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> Any:
        self._record("read", key)
        return super().read(key, start, stop)

    def put(self, key: str, content: Any, *, if_exists: str = "replace") -> None:
        self._record("put", key)
        super().put(key, content, if_exists=if_exists)

    def put_version(self, key: str, content: Any, *, version: str) -> None:
        self._record("put", key)
        super().put_version(key, content, version=version)

    def delete(self, key: str) -> None:
        self._record("delete", key)
        super().delete(key)

    def puts(self) -> list[str]:
        """Return the keys that were put, in order, and forget all requests."""
        found = [key for request, key in self.requests if request == "put"]
        self.requests.clear()
        return found
