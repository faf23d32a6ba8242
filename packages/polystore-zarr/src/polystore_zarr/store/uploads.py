"""Put trees that were built in a local folder into a store, key by key."""

from __future__ import annotations

import uuid
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal

from polystore_core import in_threads
from polystore_core.errors import DataError

from .base import DOCUMENTS, MARKER, NODES
from .copying import pieces_of
from .documents import decode_document, encode_document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from polystore_core import ByteStore, Sink

    from .base import Pieces, StorePath

__all__ = ["Upload", "documents_last", "is_document"]

_MOST_READ = 64 << 20


class Upload:
    """One tree on its way to ``place``. Documents are put last, and the outermost one at the end.

    Each array and image gets a random id. Without it, an array that is deleted and saved again
    could have the same document, and a reader could mix the chunks of both.

    Locks: none. Threads put chunks, and only add items to ``_put``.
    """

    def __init__(
        self, store: ByteStore, tree: StorePath, place: str, *, durable: bool | None
    ) -> None:
        self._store, self._tree, self._place, self._durable = store, tree, place, durable
        self._put: dict[str, None] = {}
        # With "error", only our own keys are in ``_put``, and ``undo`` deletes no others.
        self._condition: Literal["replace", "error"] = (
            "error" if store.features.create_only != "none" else "replace"
        )
        names = sorted(_files_below(tree, ""), key=documents_last)
        self._chunks = [name for name in names if not is_document(name)]
        documents = [name for name in names if is_document(name)]
        given = {name: pieces_of(tree / name) for name in documents} | _mark(tree, documents)
        self._documents = {name: given[name] for name in sorted(given, key=documents_last)}

    def put_chunks(self) -> None:
        """Put all chunks, in threads if the store allows it, and flush them."""

        def put(name: str) -> None:
            self._put_one(name, pieces_of(self._tree / name))

        threads = self._store.features.threads
        with ExitStack() as stack:
            run = stack.enter_context(in_threads(threads)) if threads > 1 else map
            # Asking for the results raises the errors of the threads.
            for _ in run(put, self._chunks):
                pass
        self._sync(self._chunks)

    def put_documents(self) -> None:
        """Put all documents, the inner ones first, and flush them."""
        for name, pieces in self._documents.items():
            self._put_one(name, pieces)
        self._sync(self._documents)

    def put_together(self, check: Callable[[Iterable[str]], None]) -> None:
        """Put all keys in one step, if the store can.

        ``check`` is called with our keys before the first key is there.
        """
        with ExitStack() as sinks, self._store.together() as commit:
            for name, pieces in (*self._all_chunks(), *self._documents.items()):
                commit(self._sink(name, pieces, sinks))
                if len(self._put) == 1:
                    # The first commit has taken the lock of the store, if there is one.
                    check(self._put)
        self._sync((*self._chunks, *self._documents))

    def undo(self) -> None:
        """Delete the keys that were put, and those that may have been put."""
        # The outermost document first, so that no reader finds a tree without all its chunks.
        for key in sorted(self._put, key=documents_last, reverse=True):
            self._store.delete(key)

    def _all_chunks(self) -> Iterator[tuple[str, Pieces]]:
        return ((name, pieces_of(self._tree / name)) for name in self._chunks)

    def _put_one(self, name: str, pieces: Pieces) -> None:
        with ExitStack() as sinks:
            sink = self._sink(name, pieces, sinks)
            try:
                sink.commit()
            except FileExistsError:
                del self._put[self._key(name)]  # another process put it, so undo must keep it
                raise

    def _sink(self, name: str, pieces: Pieces, sinks: ExitStack) -> Sink:
        key = self._key(name)
        sink = self._store.sink(key, if_exists=self._condition, durable=self._durable)
        # After a commit, it does nothing.
        sinks.callback(sink.discard)
        for piece in pieces:
            sink.file.write(piece)
        sink.seal()
        # Noted before the commit: one that fails may have put the key, and `undo` must delete it.
        self._put[key] = None
        return sink

    def _key(self, name: str) -> str:
        return f"{self._place}/{name}"

    def _sync(self, names: Iterable[str]) -> None:
        if self._durable:
            for error in self._store.sync([self._key(name) for name in names]).values():
                raise error


def documents_last(key: str) -> tuple[bool, int, bool, str]:
    """Return a sort key: chunks, then inner documents, then outer ones, attributes first."""
    name = key.rpartition("/")[2]
    return is_document(key), -key.count("/"), name in NODES, key


def is_document(key: str) -> bool:
    """Return whether a key is that of a document."""
    return key.rpartition("/")[2] in DOCUMENTS


def _files_below(tree: StorePath, inner: str) -> Iterator[str]:
    for entry in tree.files.entries((tree / inner if inner else tree).key):
        below = f"{inner}/{entry.name}" if inner else entry.name
        if entry.is_dir:
            yield from _files_below(tree, below)
        else:
            yield below


def _mark(tree: StorePath, names: Iterable[str]) -> dict[str, Pieces]:
    """Return the documents that have attributes, with a random id in them."""
    marked: dict[str, Pieces] = {}
    for name in names:
        folder, _, document = name.rpartition("/")
        prefix = f"{folder}/" if folder else ""
        if document == "zarr.json":
            fields = _decode(tree / name)
            if fields is not None and isinstance(fields.get("attributes") or {}, dict):
                fields = {**fields, "attributes": _with_id(fields.get("attributes") or {})}
                marked[name] = [encode_document(fields)]
        # In Zarr 2 the id is in .zattrs, which may be made only for it.
        elif document in (".zarray", ".zgroup"):
            name = f"{prefix}.zattrs"
            attributes = _decode(tree / name)
            if attributes is not None:
                marked[name] = [encode_document(_with_id(attributes))]
    return marked


def _decode(path: StorePath) -> dict[str, Any] | None:
    """Return the fields of a document, ``{}`` if it is missing, or ``None`` if it is damaged."""
    stored = path.files.read(path.key, _MOST_READ)
    try:
        return {} if stored is None else decode_document(stored.content, path)
    except DataError:
        return None


def _with_id(attributes: dict[str, Any]) -> dict[str, Any]:
    marks = attributes.get(MARKER)
    marks = marks if isinstance(marks, dict) else {}
    return {**attributes, MARKER: {**marks, "id": uuid.uuid4().hex}}
