"""Delete, copy and move arrays, images, groups and folders."""

from __future__ import annotations

import errno
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Literal

from polystore_core import IfExists, Renames, check_if_exists
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotFoundError,
    PathOutsideRootError,
)

from .members import check_members, join_members, leave_members
from .placing import ZarrPlacing
from .store.base import suffix_of
from .store.copying import copy_tree
from .store.entries import entries, foreign_files, is_directory, is_node
from .store.layout import FOLDER_STORE, Address, refuse_reserved
from .store.nodes import Node, ZarrFormat, read_document
from .store.reading import read_whole
from .store.slots import new_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Path

    from .store.base import Slot, StorePath

__all__ = ["ZarrTree"]

_STAYS = "it exists, and a folder never replaces anything: delete it first"


class ZarrTree(ZarrPlacing):
    """The part of the backend that deletes, copies and moves. It does not import zarr."""

    # ── deleting ─────────────────────────────────────────────────────────────────────────

    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        self._check_store("delete")
        with self._translate(path, "delete") as place:
            try:
                node = self._find_or_link(place, "delete")
            except NotFoundError:
                # A killed writer may have left chunks without a document.
                if place.store and place.node.files.remove_leftovers(place.node.key):
                    return
                raise
            if self._is_top(place):
                raise InvalidOptionError("path", place.path, "a path below the root")
            whole = node.holds_pixels or recursive
            if not whole and not node.directory.files.is_link(node.directory.key):
                self._refuse_members(node.directory, place)
            if node.directory == place.node:
                with self._leaving(place):
                    self._take_away(node.directory, place, whole=whole)
            else:
                self._delete_folder(node.directory, place, recursive=recursive)

    def _find_or_link(self, place: Address, operation: str) -> Node:
        """Find a node or folder, or a link that is broken or leads out of the root.

        Such a link can be deleted and moved, but its target is not followed.
        """
        try:
            return self._find(place, operation)
        except (NotFoundError, PathOutsideRootError):
            for link in (place.archive or place.node, place.folder):
                if link.key and link.files.is_link(link.key):
                    return Node(link, None)
            raise

    @contextmanager
    def _leaving(self, place: Address) -> Iterator[None]:
        """Remove ``place`` from the documents above, and add it again if it still exists.

        The document comes first: a list that has a deleted image is an error for readers, but an
        image that is not in the list is only not shown.
        """
        try:
            leave_members(place, durable=self.durable)
            yield
        except BaseException:
            with suppress(Exception):  # the first failure is raised
                join_members(place, durable=self.durable)
            raise
        join_members(place, durable=self.durable)

    def _is_top(self, place: Address) -> bool:
        return place.archive is None and (place.store is None or not place.folder.key)

    def _refuse_members(self, directory: StorePath, place: Address) -> None:
        if any(True for _ in entries(directory, inside=place.in_store)):
            raise DirectoryNotEmptyError(self.name, place.path, "delete")

    def _take_away(self, directory: StorePath, place: Address, *, whole: bool) -> None:
        """Hide a tree in one step, and then remove it, so that no reader finds half of it."""
        files, key = directory
        assert place.store is not None
        if files.remove_link(key):
            return
        if whole:
            files.take_away(key, place.store.key)
        else:
            files.remove_empty_group(key, place.store.key)

    def _delete_folder(self, directory: StorePath, place: Address, *, recursive: bool) -> None:
        files, key = directory
        if files.remove_link(key):
            return
        foreign = next(foreign_files(directory), None)
        if foreign is not None:
            reason = (
                f"{foreign!r} is not part of a Zarr store: delete it with backend='disk' first"
            )
            raise DirectoryNotEmptyError(self.name, place.path, "delete", reason=reason)
        if recursive:
            files.take_away(key, key)
            return
        store = directory / FOLDER_STORE
        if is_directory(store):
            files.remove_empty_group(store.key, store.key)
        files.remove_empty_folder(key)

    # ── copying and moving ───────────────────────────────────────────────────────────────

    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        with (
            self._translate(source, "copy") as old,
            self._translate(target, "copy to", old) as new,
        ):
            node = self._find(old, "copy")
            if not node.holds_pixels:
                self._copy_folder(node.directory, old, new)
                return
            present = self._target(new, if_exists, "copy to")
            if present is not None and if_exists == "skip":
                return
            check_members(new, is_image=node.is_image)

            def make(copied: StorePath) -> None:
                def copy() -> None:
                    # An earlier try may have copied a part, before the source was replaced.
                    copied.files.remove(copied.key)
                    copy_tree(node.directory, copied)

                assert old.store is not None
                read_whole(node.directory, old.store, copy)

            self._put(new, make, if_exists, zarr_format=node.zarr_format, durable=self.durable)

    def _copy_folder(self, directory: StorePath, old: Address, new: Address) -> None:
        files, store = self._store_of_folder(new)
        files.require("trees", "copying a group")
        self._check_folder_target(old, new, "copy")
        with files.building(store) as slot:
            copied = slot.path / new_name()
            copy_tree(directory, copied, is_node)
            self._settle_folder(copied, new, slot)

    def _store_of_folder(self, place: Address) -> StorePath:
        """Return the store around a folder, or the folder itself if it is around stores."""
        return place.store if place.in_store and place.store else place.folder

    def _check_folder_target(self, old: Address, new: Address, operation: str) -> None:
        is_same_store = new.folder.files.base == old.folder.files.base
        if is_same_store and f"{new.folder.key}/".startswith(f"{old.folder.key}/"):
            raise InvalidOptionError("target", new.path, "a path outside the source folder")
        if old.in_store != new.in_store:
            kind = "a path in a store" if old.in_store else "a folder outside all stores"
            raise InvalidOptionError("target", new.path, f"{kind}, like the source")
        if new.in_store:
            refuse_reserved(new)
        self._refuse_arrays_above(new, operation)
        if self._look(new) is not None:
            raise AlreadyExistsError(self.name, new.path, operation, reason=_STAYS)

    def _settle_folder(self, tree: StorePath, new: Address, slot: Slot) -> None:
        if new.in_store:
            self._make_groups(new, self._format_of(tree), durable=self.durable)
        files, key = new.folder
        if not is_directory(new.folder.parent):
            files.make_folders(new.folder.parent.key, durable=self.durable)
        if self.durable and tree.files.base is files.base:
            tree.files.flush_tree(tree.key)
        store = self._store_of_folder(new).key
        try:
            files.take_place(tree, key, store, slot, replace=False, durable=self.durable)
        except FileExistsError:
            raise AlreadyExistsError(self.name, new.path, "copy to", reason=_STAYS) from None
        if self.durable:
            files.flush_name(key)
        join_members(new, durable=self.durable)

    def _format_of(self, tree: StorePath) -> ZarrFormat | None:
        try:
            document = read_document(tree)
        except PathOutsideRootError:  # a link, which is moved itself
            return None
        return None if document is None else document.zarr_format

    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        self._check_store("move")
        with (
            self._translate(source, "move") as old,
            self._translate(target, "move to", old) as new,
        ):
            node = self._find_or_link(old, "move")
            if old.archive is not None and _is_renamed(old.archive, new):
                self._move_archive(node, old, new, if_exists)
                return
            if node.holds_pixels:
                self._move_pixels(node, old, new, if_exists)
                return
            if old.folder.base == new.folder.base:
                return
            new.folder.files.require("renames", "moving a group")
            self._check_folder_target(old, new, "move to")
            files, key = node.directory
            foreign = None
            if not old.in_store and not files.is_link(key):
                foreign = next(foreign_files(node.directory), None)
            if foreign is not None:
                reason = (
                    f"{foreign!r} is not part of a Zarr store: move it all with backend='disk'"
                )
                raise AlreadyExistsError(self.name, old.path, "move", reason=reason)
            files, store = self._store_of_folder(new)
            try:
                leave_members(old, durable=self.durable)
                with files.building(store, durable=self.durable) as slot:
                    self._settle_folder(node.directory, new, slot)
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Nothing can be renamed to another file system.
                self._copy_folder(node.directory, old, new)
                self._flush_moved(new.folder)
                files, key = node.directory
                files.take_away(key, self._store_of_folder(old).key)

    def _move_pixels(self, node: Node, old: Address, new: Address, if_exists: IfExists) -> None:
        resolve = node.directory.files.resolve
        if node.directory.files.base == new.node.files.base and (
            resolve(node.directory.key) == resolve(new.node.key)
        ):
            return
        present = self._target(new, if_exists, "move to")
        if present is not None and if_exists == "skip":
            return
        check_members(new, is_image=node.is_image)
        with self._leaving(old):
            try:
                files, store = self._landing(new)[1]
                with files.building(store, durable=self.durable) as slot:
                    self._settle(
                        node.directory,
                        new,
                        slot,
                        if_exists,
                        zarr_format=node.zarr_format,
                        durable=self.durable,
                    )
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
                # Nothing can be renamed to another file system or into an archive.
                self.copy(old.path, new.path, if_exists=if_exists)
                self._flush_moved(new.node)
                self._take_away(node.directory, old, whole=True)

    def _move_archive(
        self, node: Node, old: Address, new: Address, if_exists: IfExists
    ) -> None:
        assert old.archive is not None
        files, key = old.archive
        target = new.archive or new.node
        if node.document is not None and files.resolve(key) == files.resolve(target.key):
            return  # the same archive
        if not node.holds_pixels:
            self._check_folder_target(old, new, "move to")
            # Only an array or image replaces another one.
            if_exists = "error"
        elif self._target(new, if_exists, "move to") is not None and if_exists == "skip":
            return
        condition: Literal["replace", "error"] = (
            "replace" if if_exists == "replace" else "error"
        )
        renames = files.store.require(Renames, "move")
        try:
            renames.rename(key, target.key, if_exists=condition)
        except FileExistsError:
            if if_exists != "skip":
                raise

    def _flush_moved(self, tree: StorePath) -> None:
        """Flush a copy before its source is deleted, so that one survives a power cut."""
        if self.durable is not False:
            tree.files.flush_tree(tree.key)
            tree.files.flush_name(tree.key)


def _is_renamed(archive: StorePath, new: Address) -> bool:
    """Return whether an archive is moved as a file, to a name with the same suffix."""
    if not new.in_store or new.inner or new.store is None:
        return False
    target = new.archive or new.store
    is_free = new.archive is not None or target.files.kind(target.key) is None
    return is_free and suffix_of(archive.name) == suffix_of(target.name)
