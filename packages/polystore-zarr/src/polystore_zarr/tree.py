"""Delete, copy and move arrays, images, groups and folders."""

from __future__ import annotations

import errno
import os
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from polystore_core import IfExists, check_if_exists, make_directories, sync_directory
from polystore_core.errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
)

from .members import join_members, leave_members
from .placing import ZarrPlacing
from .store.asides import hide_tree, remove_empty_folder, remove_empty_group, workspace
from .store.entries import entries, foreign_files, ignore_foreign, ignore_hidden
from .store.layout import FOLDER_STORE, Address, refuse_reserved
from .store.nodes import Node, read_document
from .store.reading import read_whole
from .store.slots import new_name
from .store.trees import copy_tree, is_directory, remove, remove_link, sync_tree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Path

__all__ = ["ZarrTree"]

_STAYS = "it exists, and a folder never replaces anything: delete it first"


class ZarrTree(ZarrPlacing):
    """All of the backend that needs no pixels, and so no zarr."""

    # ── deleting ─────────────────────────────────────────────────────────────────────────

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
        if remove_link(directory):
            return
        if whole:
            hide_tree(directory, place.store)
        else:
            remove_empty_group(directory, place.store)

    def _delete_folder(self, directory: str, place: Address, *, recursive: bool) -> None:
        if remove_link(directory):
            return
        foreign = next(foreign_files(directory), None)
        if foreign is not None:
            reason = (
                f"{foreign!r} is not part of a Zarr store: delete it with backend='disk' first"
            )
            raise DirectoryNotEmptyError(self.name, place.path, "delete", reason=reason)
        if recursive:
            hide_tree(directory, directory)
            return
        store = os.path.join(directory, FOLDER_STORE)
        if is_directory(store):
            remove_empty_group(store, store)
        remove_empty_folder(directory)

    # ── copying and moving ───────────────────────────────────────────────────────────────

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
            refuse_reserved(new)
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
                hide_tree(node.directory, old.store if old.in_store else old.folder)

    def _move_pixels(self, node: Node, old: Address, new: Address, if_exists: IfExists) -> None:
        if os.path.realpath(node.directory) == os.path.realpath(new.node):
            return
        present = self._target(new, if_exists, "move to")
        if present is not None and if_exists == "skip":
            return
        with self._leaving(old):
            try:
                with workspace(self._landing(new)[1], durable=self.durable) as hidden:
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
