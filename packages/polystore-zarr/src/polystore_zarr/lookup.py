"""Find the array, image, group or folder at a path."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from polystore_core import (
    Capabilities,
    Entry,
    Info,
    LocalStore,
    StorageBackend,
    StoreFeatures,
    natural_order,
)
from polystore_core.errors import (
    DataError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    PolystoreError,
    StorageError,
    UnsupportedOperationError,
    with_context,
)

from .plategrid import is_plate, way_to_pixels
from .store.archives import archive_at
from .store.base import StorePath
from .store.entries import entries, is_directory, time_of_change, tree_size
from .store.keyed import lacks
from .store.layout import Address, address
from .store.local import LocalFiles
from .store.nodes import Document, Node, read_document
from .store.objects import ObjectFiles
from .store.reading import read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from polystore_core import ByteStore, Path
    from polystore_core import Document as Description

    from .store.base import Files

__all__ = ["ZarrLookup"]

Result = TypeVar("Result")


class ZarrLookup(StorageBackend):
    """The part of the backend that finds and lists names.

    An array or an OME-Zarr image is a file here. Groups and the folders around stores are
    directories. Files of other programs in these folders are never listed.
    """

    def __init__(self, store: ByteStore, *, durable: bool | None) -> None:
        self._files: Files = (
            LocalFiles(store) if isinstance(store, LocalStore) else ObjectFiles(store)
        )
        self.durable = store.durable if durable is None else durable
        if self.durable:
            with self._translate(".", "save"):
                self._files.require("durable", "durable=True")

    @property
    def store(self) -> ByteStore:
        """The store of the files."""
        return self._files.store

    @property
    def features(self) -> StoreFeatures:
        """The promises for arrays and groups in this store."""
        return self._files.features

    @property
    def capabilities(self) -> Capabilities:
        """All operations, without those that need more than the store promises."""
        return Capabilities(super().capabilities.operations - self._files.lacking().keys())

    def _cannot(self, operation: str) -> UnsupportedOperationError:
        feature = self._files.lacking().get(operation)
        if feature is None:
            return super()._cannot(operation)
        error = lacks(self.store, operation, feature)
        error.backend = self.name
        return error

    def _check_store(self, operation: str) -> None:
        """Raise ``UnsupportedOperationError`` if the store cannot do ``operation``."""
        if operation in self._files.lacking():
            raise self._cannot(operation)

    @contextmanager
    def _translate(
        self, path: Path, operation: str, source: Address | None = None
    ) -> Iterator[Address]:
        """Give the address of a path. Translate and complete the errors of the block.

        Args:
            path: the path of the caller.
            operation: the operation, for errors.
            source: the address that is copied or moved to ``path``.
        """
        try:
            with self._files.keep_open() as files:
                place = address(path, files)
                archive = archive_at(place.store) if place.in_store and place.store else None
                if archive is not None:
                    archive.check(operation, place.inner)
                    place = place.with_archive(archive)
                yield place
        except PathOutsideRootError as error:
            # The error may name a file below the path, which the caller does not know.
            if not error.backend and (source is None or not _is_at(error.path, source)):
                error.backend, error.path = self.name, f"{path}"
            raise
        except (PolystoreError, OSError) as error:
            raise with_context(error, self.name, f"{path}", operation)  # noqa: B904
        except MemoryError as error:
            raise StorageError(self.name, f"{path}", operation, errno.ENOMEM) from error

    def _identity(self, path: Path) -> Hashable:
        return self._identities()(path)

    def _identities(self) -> Callable[[Path], Hashable]:
        """Return ``_identity`` for many paths. It follows links in the folders above once."""

        @cache
        def resolve(place: StorePath) -> StorePath:
            key = place.files.resolve(place.key)
            return StorePath(place.files, "" if key == "." else key)

        def identity(path: Path) -> Hashable:
            with self._translate(path, "look") as place:
                node = place.node
                if node.name in ("", ".", "..") or not node.files.is_free(node.key):
                    return node.files.resolve(node.key)
                return (resolve(node.parent) / node.name).key

        return identity

    def _look(self, place: Address) -> Node | None:
        node = self._look_once(place)
        return node or self._find_again(place, lambda: self._look_once(place))

    def _find_again(self, place: Address, look: Callable[[], Result | None]) -> Result | None:
        """Look again for a node that may have stepped aside, while another one replaces it."""
        if place.store is None:
            return None
        files, store = place.store
        return files.find_again(store, look)

    def _look_once(self, place: Address) -> Node | None:
        try:
            node = self._node(place, read_document(place.node) if place.store else None)
        except PathOutsideRootError:  # the store around the folder is a link that leads out
            if place.in_store or not is_directory(place.folder):
                raise
            return Node(place.folder, None)
        if node is None and is_directory(place.folder):
            # Look again: since the first look, the folder may have become a node, or be deleted.
            node = self._node(place, read_document(place.node) if place.store else None)
            if node is None and is_directory(place.folder):
                return Node(place.folder, None)
        return node

    def _node(self, place: Address, document: Document | None) -> Node | None:
        if document is None:
            return None
        node = Node(place.node, document)
        # A group in images.zarr must not hide the folder that has the same name.
        return node if place.in_store or node.holds_pixels else None

    def _find(self, place: Address, operation: str) -> Node:
        node = self._look(place)
        if node is None:
            self._refuse_arrays_above(place, operation)
            hint = place.node.files.why_missing(place.node.key)
            raise NotFoundError(self.name, place.path, operation, hint=hint)
        return node

    def _pixels(self, place: Address, operation: str, found: Node | None = None) -> Node:
        """Return the array or image of a path. Raises the errors of ``load``.

        ``found`` is the node of the path, if the caller already has it.
        """
        node = found or self._find(place, operation)
        if node.holds_pixels:
            return node
        error = NotAFileError(self.name, place.path, operation)
        error.reason = way_to_pixels(node, place.path) or error.reason
        raise error

    def _whole(self, place: Address, operation: str, read: Callable[[], Result]) -> Result:
        """Retry ``read`` until the array or image was not replaced while reading."""
        if place.store is None or not is_directory(place.node):
            self._pixels(place, operation)
        assert place.store is not None
        return read_whole(place.node, place.store, read)

    def _refuse_arrays_above(
        self, place: Address, operation: str, above: Sequence[Document | None] = ()
    ) -> None:
        """Raise an error for a path through an array.

        ``above`` are documents that the caller has already read.
        """
        # If the store exists, the folders above it cannot be those of an array.
        around = [] if place.store and is_directory(place.store) else place.around()
        for directory in around:
            self._refuse_array(place, operation, directory, None)
        if place.store is None:
            return
        for directory, document in zip_longest((*place.groups(), place.node), above):
            if place.in_store and directory is not place.node:
                self._refuse_array(place, operation, directory, document)
            kind = "directory" if document is not None else directory.files.kind(directory.key)
            if kind == "file":
                raise self._in_the_way(
                    place, operation, f"{directory!r} is a file, not a Zarr store"
                )
            if kind is None:  # nothing is here, and nothing below
                return

    def _refuse_array(
        self, place: Address, operation: str, directory: StorePath, document: Document | None
    ) -> None:
        if document is None and is_directory(directory):
            document = read_document(directory)
        if document is not None and document.kind == "array":
            raise self._in_the_way(place, operation, f"{directory!r} is an array")

    def _in_the_way(
        self, place: Address, operation: str, what: str
    ) -> NotADirectoryInPathError:
        error = NotADirectoryInPathError(self.name, place.path, operation)
        error.add_note(what)
        return error

    def info(self, path: Path, /) -> Info:
        with self._translate(path, "describe") as place:
            found = self._find(place, "describe")
            if not found.holds_pixels:
                modified = time_of_change(found.directory)
                more = self._describe_plate(found, place) if is_plate(found) else {}
                return Info(path=place.path, kind="directory", modified=modified, **more)
            assert place.store is not None
            return read_whole(found.directory, place.store, lambda: self._info(place))

    def _info(self, place: Address) -> Info:
        node = self._pixels(place, "describe")
        described = self._describe(node)
        # Watchers ask for the info of a growing array often, and each of its frames has a file.
        grows = described["metadata"].get("grows", False)
        return Info(
            path=place.path,
            kind="file",
            size=None if grows else self._size(place, node),
            modified=time_of_change(node.directory),
            **described,
        )

    def _size(self, place: Address, node: Node) -> int | None:
        if place.archive is not None and not place.inner:
            return place.archive.files.size(place.archive.key)
        return tree_size(node.directory)

    def _describe(self, node: Node) -> Description:
        raise NotImplementedError

    def _describe_plate(self, node: Node, place: Address) -> Description:
        raise NotImplementedError

    def exists(self, path: Path, /) -> bool:
        return self._kind(path) is not None

    def is_file(self, path: Path, /) -> bool:
        return self._kind(path) == "file"

    def is_dir(self, path: Path, /) -> bool:
        return self._kind(path) == "directory"

    def is_symlink(self, path: Path, /) -> bool:
        self._kind(path)  # the path must be one
        return False

    def _kind(self, path: Path) -> str | None:
        with self._translate(path, "look") as place:
            try:
                node = self._look(place)
            except DataError:
                return "file"  # as in listings. ``load`` raises the error
        if node is None:
            return None
        return "file" if node.holds_pixels else "directory"

    def list_dir(self, path: Path, /) -> list[str]:
        return natural_order(entry.name for entry in self.scan(path))

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        with self._translate(directory, "list") as place:
            node = self._find(place, "list")
            if node.holds_pixels:
                raise NotADirectoryInPathError(self.name, place.path, "list")
            inside = place.in_store
            # By name, because a folder and a member of images.zarr can have the same one.
            found = {entry.name: entry for entry in entries(node.directory, inside=inside)}
            files, store = place.store or place.folder
            # Entries may have stepped aside while they were listed: then list again.
            while inside and files.settle(store):
                found = {entry.name: entry for entry in entries(node.directory, inside=inside)}
            return found.values()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or 'zarr'!r}, store={self.store!r}>"


def _is_at(key: str, place: Address) -> bool:
    """Return whether a key is at or below a place."""
    return any(f"{key}/".startswith(f"{path.key}/") for path in (place.node, place.folder))
