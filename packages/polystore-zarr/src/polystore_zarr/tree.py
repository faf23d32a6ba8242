"""The names in stores and in the folders around them: what stands where, how it comes and goes."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from polystore_core import (
    Entry,
    IfExists,
    Info,
    StorageBackend,
    check_if_exists,
    check_new,
    full_path,
    make_directories,
    natural_order,
    sync_directory,
)
from polystore_core.errors import (
    AlreadyExistsError,
    DamagedDataError,
    DataError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    PolystoreError,
    StorageError,
    UnsupportedFileError,
    explained,
)

from .asides import (
    building_place,
    found_again,
    remove_empty_folder,
    remove_empty_group,
    settle,
    take_place,
    workspace,
)
from .entries import (
    entries,
    foreign_files,
    ignore_foreign,
    ignore_hidden,
    modified_at,
    tree_size,
)
from .layout import FOLDER_STORE, Address, address
from .members import join_members, leave_members
from .nodes import Node, ZarrFormat, make_group, read_document
from .reading import read_whole
from .regular import open_file
from .slots import new_name
from .trees import copy_tree, file_at, is_directory, is_there, remove, sync_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from polystore_core import Path

__all__ = ["ZarrTree"]

Result = TypeVar("Result")

_STAYS = "it exists, and a folder never replaces anything: delete it first"


class ZarrTree(StorageBackend):
    """All of the backend that needs no pixels, and so no zarr.

    An array, and an OME-Zarr image, is a file here; groups and the folders around stores are
    directories. Other files in those folders are somebody else's: never listed, never touched.
    """

    def __init__(self, *, root: str | os.PathLike[str] | None, durable: bool | None) -> None:
        self.root = None if root is None else full_path(root)
        self.durable = durable

    @contextmanager
    def _translated(self, path: Path, operation: str) -> Iterator[Address]:
        """Give the address; complete errors, and translate those of the system."""
        try:
            yield self._address(path)
        except (PolystoreError, OSError) as error:
            raise explained(error, self.name, os.fspath(path), operation)  # noqa: B904
        except MemoryError as error:
            place = os.fspath(path)
            raise StorageError(self.name, place, operation, errno.ENOMEM) from error

    def _identity(self, path: Path) -> str:
        place = self._address(path)
        return os.path.realpath(place.node or place.folder)

    def _address(self, path: Path) -> Address:
        place = address(path, self.root, self.name)
        if self.root is not None:
            real, top = (
                os.path.realpath(place.node or place.folder),
                os.path.realpath(self.root),
            )
            if not f"{real}/".startswith(top.rstrip("/") + "/"):
                raise PathOutsideRootError(self.name, place.path, self.root)
        return place

    # ── what stands where ────────────────────────────────────────────────────────────────

    def _look(self, place: Address) -> Node | None:
        node = self._seen(place)
        if node is None and place.store:
            return found_again(place.store, lambda: self._seen(place))
        return node

    def _seen(self, place: Address) -> Node | None:
        node = self._node(place)
        if node is None and is_directory(place.folder):
            # Asked again: it may have been saved since, and is no mere folder then, or deleted.
            node = self._node(place)
            if node is None and is_directory(place.folder):
                return Node(place.folder, None)
        return node

    def _node(self, place: Address) -> Node | None:
        document = read_document(place.node) if place.store else None
        if document is None:
            return None
        node = Node(place.node, document)
        return node if place.in_store or node.holds_pixels else None

    def _found(self, place: Address, operation: str) -> Node:
        node = self._look(place)
        if node is None:
            self._refuse_arrays_above(place, operation)
            raise NotFoundError(self.name, place.path, operation)
        return node

    def _pixels(self, place: Address, operation: str) -> Node:
        """Return the array or image of a path. Raises what ``load`` raises without one."""
        node = self._found(place, operation)
        if not node.holds_pixels:
            raise NotAFileError(self.name, place.path, operation)
        return node

    def _whole(self, place: Address, operation: str, read: Callable[[], Result]) -> Result:
        """Call ``read`` on an array or image that stays the same meanwhile."""
        if not is_directory(place.node):
            self._pixels(place, operation)
        return read_whole(place.node, place.store, read)

    def _refuse_arrays_above(self, place: Address, operation: str) -> None:
        # Where the store stands, no array has its folders.
        around = [] if place.store and is_directory(place.store) else place.around()
        for directory in (*around, *(place.groups() if place.in_store else ())):
            if is_directory(directory):
                document = read_document(directory)
                if document is not None and document.kind == "array":
                    raise self._in_the_way(place, operation, f"{directory!r} is an array")
        file = file_at([*place.groups(), place.node]) if place.store else None
        if file is not None and file == place.store and is_zip(file):
            reason = (
                "it is a zipped Zarr store, but polystore reads only folders: unpack it into a "
                "folder whose name ends in .zarr"
            )
            raise UnsupportedFileError(reason, "zarr", place.path, self.name)
        if file is not None:
            raise self._in_the_way(place, operation, f"{file!r} is a file, not a Zarr store")

    def _in_the_way(
        self, place: Address, operation: str, what: str
    ) -> NotADirectoryInPathError:
        error = NotADirectoryInPathError(self.name, place.path, operation)
        error.add_note(what)
        return error

    def info(self, path: Path, /) -> Info:
        with self._translated(path, "describe") as place:
            found = self._found(place, "describe")
            if not found.holds_pixels:
                modified = modified_at(found.directory)
                return Info(path=place.path, kind="directory", modified=modified)
            return read_whole(found.directory, place.store, lambda: self._info(place))

    def _info(self, place: Address) -> Info:
        node = self._pixels(place, "describe")
        return Info(
            path=place.path,
            kind="file",
            size=tree_size(node.directory),
            modified=modified_at(node.directory),
            **self._described(node),
        )

    def _described(self, node: Node) -> dict[str, Any]:
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
        with self._translated(path, "look") as place:
            try:
                node = self._look(place)
            except DataError:
                return "file"  # as it is listed: whoever loads it is told what is wrong
            if node is None and place.in_store and is_zip(place.store):
                if place.inner:
                    self._refuse_arrays_above(place, "look")
                return "file"  # loading it tells that it must be unpacked
        if node is None:
            return None
        return "file" if node.holds_pixels else "directory"

    def list_dir(self, path: Path, /) -> list[str]:
        return natural_order(entry.name for entry in self.scan(path))

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        with self._translated(directory, "list") as place:
            node = self._found(place, "list")
            if node.holds_pixels:
                raise NotADirectoryInPathError(self.name, place.path, "list")
            inside = place.in_store
            found = {entry.name: entry for entry in entries(node.directory, inside=inside)}
            while inside and settle(place.store):
                found = {entry.name: entry for entry in entries(node.directory, inside=inside)}
            return found.values()

    # ── change ───────────────────────────────────────────────────────────────────────────

    def ensure_directory(self, path: Path, /) -> None:
        with self._translated(path, "create the directory") as place:
            if place.in_store:
                _refuse_reserved(place)
            self._refuse_arrays_above(place, "create the directory")
            node = self._look(place)
            if node is not None and node.holds_pixels:
                raise NotADirectoryInPathError(self.name, place.path, "create the directory")
            if not is_directory(place.folder):
                make_directories(place.folder, durable=self.durable)
            if place.in_store:
                self._make_groups(place, None, durable=self.durable)
                if read_document(place.node) is None:
                    parent = read_document(place.groups()[-1]) if place.inner else None
                    zarr_format = parent.zarr_format if parent else 3
                    make_group(place.node, zarr_format, durable=self.durable)

    def _make_groups(
        self, place: Address, zarr_format: ZarrFormat | None, *, durable: bool | None
    ) -> None:
        """Make all groups above a node, of ``zarr_format`` or as the store already is."""
        for directory, below in zip(place.groups(), place.inner, strict=True):
            document = read_document(directory)
            if document is None:
                document = found_again(place.store, partial(read_document, directory))
            if document is None:
                if not is_directory(directory):
                    make_directories(directory, durable=durable)
                make_group(directory, zarr_format or 3, durable=durable)
            elif document.kind == "array" or (document.is_image and below != "labels"):
                kind = "image" if document.is_image else "array"
                raise self._in_the_way(place, "save", f"{directory!r} is an {kind}")
            elif zarr_format is None:
                zarr_format = document.zarr_format
            elif document.zarr_format != zarr_format:
                found = document.zarr_format
                expected = f"{found}, because {directory!r} is a group of Zarr {found}"
                raise InvalidOptionError("zarr_format", zarr_format, expected)

    def _target(self, place: Address, if_exists: IfExists, operation: str) -> Node | None:
        """Return what a value may replace at ``place``. Raises where no value may stand."""
        if not place.store:
            raise NotAFileError(self.name, place.path, operation)
        check_new(place.path)
        _refuse_reserved(place)
        node = self._look(place)
        if node is None and is_there(self._landing(place)[0]):
            # A group that was made by its explicit path; or an array, a moment ago.
            document = read_document(place.node)
            if document is None and is_there(place.node) and not is_directory(place.node):
                # somebody's file, which is not ours to replace
                raise NotADirectoryInPathError(self.name, place.path, operation)
            if document is not None or is_there(place.node):
                node = Node(place.node, document)
        if node is None:
            self._refuse_arrays_above(place, operation)
        elif not node.holds_pixels:
            raise NotAFileError(self.name, place.path, operation)
        elif if_exists == "error":
            raise AlreadyExistsError(self.name, place.path, operation)
        return node

    def _landing(self, place: Address) -> tuple[str, str]:
        """Return the directory and the store of a value saved at ``place``.

        A symbolic link stays, and the value is saved where it leads.
        """
        if not os.path.islink(place.node):
            return place.node, place.store
        real = os.path.realpath(place.node)
        other = address(real)
        return real, other.store if other.in_store else real

    def _workspace(self, place: Address, durable: bool | None) -> AbstractContextManager[str]:
        """Give a hidden directory on the file system where ``place`` is."""
        return workspace(self._landing(place)[1], durable=durable)

    def _put(
        self,
        place: Address,
        make: Callable[[str], None],
        if_exists: IfExists,
        *,
        zarr_format: ZarrFormat,
        durable: bool | None,
    ) -> None:
        """Have ``make`` write a tree at a hidden path, then give the tree its name.

        Begins again if somebody deletes the folder around the store meanwhile.
        """
        for left in reversed(range(_TRIES)):
            with ExitStack() as stack:
                try:
                    hidden, stays = stack.enter_context(
                        building_place(self._landing(place)[1], durable=durable)
                    )
                except FileNotFoundError:
                    if not left:
                        raise
                    continue
                try:
                    make(tree := new_name(hidden))
                    # Missing folders are made again by whoever writes: such a tree lacks files.
                    if stays():
                        self._settle(
                            tree,
                            place,
                            hidden,
                            if_exists,
                            zarr_format=zarr_format,
                            durable=durable,
                        )
                        return
                except Exception:
                    if stays():
                        raise
        raise self._deleted_again(place)

    def _deleted_again(self, place: Address) -> NotFoundError:
        hint = "another process keeps deleting its folder: stop that first"
        return NotFoundError(self.name, place.path, "save", hint=hint)

    def _settle(self, tree: str, place: Address, *others: Any, **options: Any) -> bool:
        """Give a complete tree its name; ``False`` if what stands there was to stay.

        Makes the groups above it again if somebody deletes them meanwhile.
        """
        for _ in range(_TRIES):
            try:
                return self._settle_once(tree, place, *others, **options)
            except FileNotFoundError:
                if not is_there(tree):
                    raise
        raise self._deleted_again(place)

    def _settle_once(
        self,
        tree: str,
        place: Address,
        hidden: str,
        if_exists: IfExists,
        *,
        zarr_format: ZarrFormat,
        durable: bool | None,
        named: bool = False,
    ) -> bool:
        node, store = self._landing(place)
        if durable:
            sync_tree(tree)
        self._make_groups(place, zarr_format, durable=durable)
        if not is_directory(os.path.dirname(node)):
            make_directories(os.path.dirname(node), durable=durable)
        try:
            take_place(
                tree,
                node,
                store,
                hidden,
                replace=if_exists == "replace",
                durable=durable,
                named=named,
            )
        except FileExistsError:
            if if_exists != "skip":
                raise
            return False
        if durable:
            sync_directory(os.path.dirname(node))
        join_members(place, durable=durable)
        return True

    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        with self._translated(path, "delete") as place:
            node = self._found(place, "delete")
            if self._is_top(place):
                raise InvalidOptionError("path", place.path, "a path below the root")
            whole = node.holds_pixels or recursive
            if not whole and not os.path.islink(node.directory):
                self._refuse_members(node.directory, place)
            if node.holds_pixels or place.in_store:
                with self._leaving(place):
                    self._take_away(node.directory, place, whole=whole)
            else:
                self._delete_folder(node.directory, place, recursive=recursive)

    @contextmanager
    def _leaving(self, place: Address) -> Iterator[None]:
        """Strike ``place`` from the documents above it, and enter it again if it is still there."""
        try:
            leave_members(place, durable=self.durable)
            yield
        except BaseException:
            with suppress(Exception):  # the first failure is the one to tell
                join_members(place, durable=self.durable)
            raise
        join_members(place, durable=self.durable)

    def _is_top(self, place: Address) -> bool:
        return not place.store or place.folder == self.root

    def _refuse_members(self, directory: str, place: Address) -> None:
        if any(True for _ in entries(directory, inside=place.in_store)):
            raise DirectoryNotEmptyError(self.name, place.path, "delete")

    def _take_away(self, directory: str, place: Address, *, whole: bool) -> None:
        """Hide a tree, then remove it: a reader never finds half of it."""
        if os.path.islink(directory):  # never what it leads to
            os.unlink(directory)
            return
        with workspace(place.store) as hidden:
            if whole:
                os.rename(directory, new_name(hidden))
            else:
                remove_empty_group(directory, place.store, hidden)

    def _delete_folder(self, directory: str, place: Address, *, recursive: bool) -> None:
        if os.path.islink(directory):
            os.unlink(directory)
            return
        foreign = next(foreign_files(directory), None)
        if foreign is not None:
            reason = (
                f"{foreign!r} is not part of a Zarr store: delete it with backend='disk' first"
            )
            raise DirectoryNotEmptyError(self.name, place.path, "delete", reason=reason)
        if recursive:
            with workspace(directory) as hidden:
                os.rename(directory, new_name(hidden))
            return
        store = os.path.join(directory, FOLDER_STORE)
        if is_directory(store):
            with workspace(store) as hidden:
                remove_empty_group(store, store, hidden)
        remove_empty_folder(directory)

    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        with (
            self._translated(source, "copy") as old,
            self._translated(target, "copy to") as new,
        ):
            node = self._found(old, "copy")
            if not node.holds_pixels:
                self._copy_folder(node.directory, old, new)
                return
            present = self._target(new, if_exists, "copy to")
            if present is not None and if_exists == "skip":
                return

            def make(copied: str) -> None:
                def copy() -> None:
                    remove(copied)
                    copy_tree(node.directory, copied, ignore_hidden)

                read_whole(node.directory, old.store, copy)

            self._put(new, make, if_exists, zarr_format=node.zarr_format, durable=self.durable)

    def _copy_folder(self, directory: str, old: Address, new: Address) -> None:
        self._check_folder_target(old, new, "copy")
        with workspace(new.store if new.in_store else new.folder) as hidden:
            copied = new_name(hidden)
            copy_tree(directory, copied, ignore_hidden if old.in_store else ignore_foreign)
            self._settle_folder(copied, new)

    def _check_folder_target(self, old: Address, new: Address, operation: str) -> None:
        if f"{new.folder}/".startswith(f"{old.folder}/"):
            raise InvalidOptionError("target", new.path, "a path outside the source folder")
        if old.in_store != new.in_store:
            kind = "a path in a store" if old.in_store else "a folder outside all stores"
            raise InvalidOptionError("target", new.path, f"{kind}, like the source")
        if new.in_store:
            _refuse_reserved(new)
        self._refuse_arrays_above(new, operation)
        if self._look(new) is not None:
            raise AlreadyExistsError(self.name, new.path, operation, reason=_STAYS)

    def _settle_folder(self, tree: str, new: Address) -> None:
        if new.in_store:
            document = read_document(tree)
            zarr_format = document.zarr_format if document else None
            self._make_groups(new, zarr_format, durable=self.durable)
        if not is_directory(os.path.dirname(new.folder)):
            make_directories(os.path.dirname(new.folder), durable=self.durable)
        if self.durable:
            sync_tree(tree)
        if is_directory(new.folder):
            raise AlreadyExistsError(self.name, new.path, "copy to", reason=_STAYS)
        os.rename(tree, new.folder)
        if self.durable:
            sync_directory(os.path.dirname(new.folder) or ".")
        join_members(new, durable=self.durable)

    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        with (
            self._translated(source, "move") as old,
            self._translated(target, "move to") as new,
        ):
            node = self._found(old, "move")
            if node.holds_pixels:
                self._move_pixels(node, old, new, if_exists)
                return
            if old.folder == new.folder:
                return
            self._check_folder_target(old, new, "move to")
            foreign = None if old.in_store else next(foreign_files(node.directory), None)
            if foreign is not None:
                reason = (
                    f"{foreign!r} is not part of a Zarr store: move it all with backend='disk'"
                )
                raise AlreadyExistsError(self.name, old.path, "move", reason=reason)
            try:
                leave_members(old, durable=self.durable)
                self._settle_folder(node.directory, new)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self._copy_folder(node.directory, old, new)
                self._flush_moved(new.folder)
                with workspace(old.store if old.in_store else old.folder) as hidden:
                    os.rename(node.directory, new_name(hidden))

    def _move_pixels(self, node: Node, old: Address, new: Address, if_exists: IfExists) -> None:
        if os.path.realpath(node.directory) == os.path.realpath(new.node):
            return
        present = self._target(new, if_exists, "move to")
        if present is not None and if_exists == "skip":
            return
        with self._leaving(old):
            try:
                with self._workspace(new, self.durable) as hidden:
                    self._settle(
                        node.directory,
                        new,
                        hidden,
                        if_exists,
                        named=True,
                        zarr_format=node.zarr_format,
                        durable=self.durable,
                    )
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                self.copy(old.path, new.path, if_exists=if_exists)
                self._flush_moved(new.node)
                self._take_away(node.directory, old, whole=True)

    def _flush_moved(self, tree: str) -> None:
        """Flush a copy before its source is deleted: one of them survives a power cut."""
        if self.durable is not False:
            sync_tree(tree)
            sync_directory(os.path.dirname(tree))

    def __repr__(self) -> str:
        root = "" if self.root is None else f", root={self.root!r}"
        return f"<{type(self).__name__} {self.name or 'zarr'!r}{root}>"


def is_zip(path: str) -> bool:
    """Whether a file is a zip archive, as zipped Zarr stores are."""
    try:
        with open_file(path) as file:
            return file.read(4) in (b"PK\3\4", b"PK\5\6")
    except (DamagedDataError, OSError):  # no regular file, or nobody may read it
        return False


_TRIES = 32
"""How often a save makes the folders again that others delete."""
_RESERVED = ("zarr.json", ".zarray", ".zgroup", ".zattrs", ".zmetadata")


def _refuse_reserved(place: Address) -> None:
    """Refuse names that no array or group can have in a store."""
    if place.is_zipped:
        expected = (
            "a store that is a folder, such as 'x.zarr': polystore does not write zipped stores"
        )
        raise InvalidOptionError("path", place.path, expected)
    for name in place.inner:
        if name in _RESERVED:
            raise InvalidOptionError(
                "path", place.path, f"a path without {name!r}, a name that Zarr reserves"
            )
