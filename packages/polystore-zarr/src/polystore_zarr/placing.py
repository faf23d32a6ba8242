"""Give a new array or image its name, and make the groups above it."""

from __future__ import annotations

from contextlib import ExitStack
from copy import copy
from itertools import zip_longest
from typing import TYPE_CHECKING

from polystore_core import (
    IfExists,
    check_lengths,
    check_new,
    check_options,
    is_litter,
    run_batch,
)
from polystore_core.errors import (
    AlreadyExistsError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
)

from .batches import SaveBatch, saving_batch
from .growing import check_unowned
from .kinds import Surroundings
from .lookup import ZarrLookup
from .members import gathering_members, join_members
from .store.base import StorePath
from .store.entries import is_directory
from .store.layout import Address, refuse_reserved, split_key
from .store.nodes import Document, Node, ZarrFormat, make_group, read_document
from .store.slots import new_name

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from polystore_core import Option, Path, Progress, Value

    from .memberships import Above
    from .store.base import Slot

__all__ = ["ZarrPlacing"]

_TRIES = 32
"""How often a save makes folders again that another process deletes."""


class ZarrPlacing(ZarrLookup):
    """The part of the backend that gives trees their names."""

    _batch: SaveBatch | None = None
    """The batch, in the copy of the backend that ``save_batch`` uses."""

    def save_batch(
        self,
        data: Sequence[Value],
        paths: Sequence[Path],
        /,
        *,
        progress: Progress = False,
        **options: Option,
    ) -> None:
        """Save many arrays in order. Threads encode some of them ahead."""
        with (
            self._translate(".", "save_batch"),
            self._files.keep_open() as files,
            gathering_members(self.name),
            saving_batch(data, watched=callable(progress)) as batch,
        ):
            sharing = copy(self)
            sharing._files, sharing._batch = files, batch
            check_lengths(data, paths, sharing._identities())
            check_options(type(self).save, options, f"save_batch() of backend {self.name!r}")
            run_batch(
                self.name,
                "save",
                paths,
                lambda i: sharing.save(batch.value(i), paths[i], **options),
                progress=progress,
                stop_at_failure=True,
            )

    def _surroundings(self, place: Address) -> Surroundings:
        """Read the documents around a path. A batch reads a document again only after a change."""
        if self._batch is None:
            return Surroundings.of(place)
        around = Surroundings.of(place, known := self._batch.documents)
        for group, document in zip(place.groups(), around.above, strict=True):
            if document is not None:
                known[group] = document
        return around

    def _complete(self, path: Path) -> None:
        with self._translate(path, "save") as place:
            join_members(place, durable=self.durable)

    def ensure_directory(self, path: Path, /) -> None:
        self._check_store("ensure_directory")
        with self._translate(path, "create the directory") as place:
            if place.in_store:
                refuse_reserved(place)
            self._refuse_arrays_above(place, "create the directory")
            node = self._look(place)
            if node is not None and node.holds_pixels:
                raise NotADirectoryInPathError(self.name, place.path, "create the directory")
            if not is_directory(place.folder):
                place.folder.files.make_folders(place.folder.key, durable=self.durable)
            if place.in_store:
                self._make_groups(place, None, durable=self.durable)
                if read_document(place.node) is None:
                    parent = read_document(place.groups()[-1]) if place.inner else None
                    zarr_format = parent.zarr_format if parent else 3
                    make_group(place.node, zarr_format, durable=self.durable)

    def _make_groups(
        self,
        place: Address,
        zarr_format: ZarrFormat | None,
        *,
        durable: bool | None,
        above: Above | None = None,
        slot: Slot | None = None,
    ) -> Above:
        """Make all groups above a node.

        Args:
            place: the node.
            zarr_format: the format, or ``None`` for that of the store.
            durable: whether the groups survive a power cut.
            above: documents of the groups that were read a moment ago.
            slot: a hidden directory of the store, if the caller has one.

        Returns:
            The document of each group, ``None`` for a new one.
        """
        documents: list[Document | None] = []
        for directory, below, known in zip_longest(place.groups(), place.inner, above or ()):
            document = None if known is None else read_document(directory, known)
            if document is None:
                made = zarr_format or 3
                document = self._make_group(place, directory, made, durable=durable, slot=slot)
            documents.append(document)
            if document is None:
                continue
            is_image = bool(document.attributes) and document.is_image
            if document.kind == "array" or (is_image and below != "labels"):
                kind = "image" if is_image else "array"
                raise self._in_the_way(place, "save", f"{directory!r} is an {kind}")
            if zarr_format is None:
                zarr_format = document.zarr_format
            elif document.zarr_format != zarr_format:
                found = document.zarr_format
                expected = f"{found}, because {directory!r} is a group of Zarr {found}"
                raise InvalidOptionError("zarr_format", zarr_format, expected)
        return documents

    def _make_group(
        self,
        place: Address,
        directory: StorePath,
        zarr_format: ZarrFormat,
        *,
        durable: bool | None,
        slot: Slot | None,
    ) -> Document | None:
        """Make a group above a node, or return the document of an existing node."""
        assert place.store is not None
        files, key = directory
        files.settle(place.store.key)  # the group may have stepped aside for a moment
        if not files.make_folder(key, durable=durable):
            found = read_document(directory)
            if found is not None:
                return found
        if make_group(directory, zarr_format, durable=durable, slot=slot):
            return None
        return read_document(directory)  # another process was faster

    def _target(
        self,
        place: Address,
        if_exists: IfExists,
        operation: str,
        around: Surroundings | None = None,
    ) -> Node | None:
        """Return the node that a value can replace at ``place``. Raise if a value cannot be there.

        ``around`` has the documents that the caller has read.
        """
        if not place.store:
            raise NotAFileError(self.name, place.path, operation)
        if place.inner and is_litter(place.inner[-1]):
            # It raises the error that every backend has for such names.
            check_new(place.path)
        refuse_reserved(place)
        files = place.node.files
        if if_exists != "replace":
            files.require_new(f"if_exists={if_exists!r}")
        if around is None:
            node = self._look(place)
        elif around.is_new:
            return None
        else:
            node = self._node(place, around.present)
            if node is None and not (around.is_free and place.in_store):
                node = self._look(place) if is_directory(place.folder) else None
        is_free = around is not None and around.is_free
        if (
            node is None
            and not is_free
            and (kind := place.node.files.kind(place.node.key)) is not None
        ):
            # A group that was made by its explicit path, or an array that was there a moment ago.
            document = read_document(place.node)
            if document is None and kind != "directory":
                if kind != "symlink":  # a file of another program is never replaced
                    raise NotADirectoryInPathError(self.name, place.path, operation)
            else:
                node = Node(place.node, document)
        if node is None:
            self._refuse_arrays_above(place, operation, () if around is None else around.above)
        elif not node.holds_pixels:
            raise NotAFileError(self.name, place.path, operation)
        elif if_exists == "error":
            raise AlreadyExistsError(self.name, place.path, operation)
        elif if_exists == "replace":
            self._check_replacing(place, node.document)
        return node

    def _check_replacing(self, place: Address, present: Document | None) -> None:
        """Raise ``UnsupportedOperationError`` if the store cannot replace the present value."""
        if present is not None and (present.kind == "array" or present.is_image):
            place.node.files.require("trees", "replacing an array")
            place.node.files.require("replace", "replacing an array")
            check_unowned(place.node, present)

    def _landing(self, place: Address) -> tuple[StorePath, StorePath]:
        """Return the place and the store of a value that is saved at ``place``.

        A symbolic link stays, and its target gets the value.
        """
        assert place.store is not None
        files, key = place.node
        if not files.is_link(key):
            return place.node, place.store
        real = files.resolve(key)
        store, _ = split_key(real)
        return StorePath(files, real), StorePath(files, store or real)

    def _put(
        self,
        place: Address,
        make: Callable[[StorePath], None],
        if_exists: IfExists,
        *,
        zarr_format: ZarrFormat,
        durable: bool | None,
        above: Above | None = None,
        is_free: bool = False,
    ) -> None:
        """Let ``make`` write a tree at a hidden path, and then give the tree its name.

        Readers find the whole tree or nothing. If another process deletes the folder around the
        store, all steps are repeated.
        """
        for left in reversed(range(_TRIES)):
            with ExitStack() as stack:
                try:
                    store = place.store if is_free else self._landing(place)[1]
                    assert store is not None
                    slot = self._building(store, stack, durable=durable, is_new=is_free)
                except FileNotFoundError:
                    if not left:
                        raise
                    continue
                try:
                    make(tree := slot.path / new_name())
                    # Writing makes missing folders again. If the hidden folder was deleted in
                    # between, the tree lacks files, and must not get its name.
                    if slot.stays():
                        self._settle(
                            tree,
                            place,
                            slot,
                            if_exists,
                            zarr_format=zarr_format,
                            durable=durable,
                            above=above,
                        )
                        # The hidden folder of a batch stays. A tree that was copied, and not
                        # moved, would stay in it.
                        if self._batch is not None:
                            tree.files.remove(tree.key)
                        return
                except Exception:
                    if slot.stays():
                        raise
        raise self._deletion_error(place)

    def _building(
        self, store: StorePath, stack: ExitStack, *, durable: bool | None, is_new: bool
    ) -> Slot:
        # A save that replaces an array puts the old one into its hidden folder, to be removed at
        # the end. So only new arrays share the folder of a batch.
        if self._batch is not None and is_new:
            return self._batch.building(store, durable=durable)
        return stack.enter_context(store.files.building(store.key, durable=durable))

    def _deletion_error(self, place: Address) -> NotFoundError:
        hint = "another process keeps deleting its folder: stop that first"
        return NotFoundError(self.name, place.path, "save", hint=hint)

    def _settle(
        self, tree: StorePath, place: Address, *others: Value, **options: Option
    ) -> bool:
        """Give a complete tree its name. Return ``False`` if another value is there and stays.

        If another process deletes the groups above, they are made again.
        """
        for _ in range(_TRIES):
            try:
                return self._settle_once(tree, place, *others, **options)
            except FileNotFoundError:
                if tree.files.kind(tree.key) is None:
                    raise
                files, folder = self._landing(place)[0].parent
                files.make_folders(folder, durable=options.get("durable"))
        raise self._deletion_error(place)

    def _settle_once(
        self,
        tree: StorePath,
        place: Address,
        slot: Slot,
        if_exists: IfExists,
        *,
        zarr_format: ZarrFormat,
        durable: bool | None,
        above: Above | None = None,
    ) -> bool:
        node, store = self._landing(place)
        files = node.files
        # Flushed before it has its name: a name must not survive a power cut without its chunks.
        # In other stores, the copy flushes.
        if durable and tree.files.base is files.base:
            tree.files.flush_tree(tree.key)
        # A link may lead into a store on another disk, whose hidden folder is on that disk.
        own = slot if store == place.store else None
        above = self._make_groups(place, zarr_format, durable=durable, above=above, slot=own)
        try:
            files.take_place(
                tree,
                node.key,
                store.key,
                slot,
                replace=if_exists == "replace",
                durable=durable,
            )
        except FileExistsError:
            # Another save may have started there, and it may still fail.
            if if_exists != "skip" or files.kind(node.key) is None:
                raise
            return False
        if durable:
            files.flush_name(node.key)
        join_members(place, durable=durable, above=above, slot=own)
        return True
