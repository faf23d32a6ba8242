"""Finding, listing, deleting, copying, moving and linking names in a store of bytes."""

from __future__ import annotations

import errno
import os
from abc import abstractmethod
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from ..abc.backend import Entry, Path, StorageBackend
from ..abc.store import Ability, ByteStore, Folders, Links, Renames, Stat, Trees
from ..carrying import carry, save_carried
from ..errors import (
    AlreadyExistsError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotAFileError,
    PolystoreError,
    StorageError,
    UnsupportedOperationError,
    with_context,
)
from ..options import IfExists, check_if_exists
from ..paths import check_new, join, require_local, working_folder
from ..plugins.declared import owner
from ..values import Capabilities, natural_order

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from ..abc.store import IfPresent, Scope

__all__ = ["NamesOfStore"]

_COPY_BYTES = 1 << 24
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_STAYS = "it exists, and a folder never replaces anything: delete it first"
_TOP = ("", ".", "/")
_MADE_OF_FOLDERS = ("ensure_directory", "mirror_directory_with_symlinks")
_MADE_OF_LINKS = ("create_symlink", "mirror_directory_with_symlinks")


class NamesOfStore(StorageBackend):
    """The part of ``FileBackend`` that needs no format."""

    store: ByteStore

    @property
    def capabilities(self) -> Capabilities:
        """All operations except those that need more than the store promises."""
        return Capabilities(super().capabilities.operations - self._lacking().keys())

    def _lacking(self) -> dict[str, str]:
        """Return the operations that the store cannot do, each with the feature that is missing."""
        features, claims = self.store.features, self.store.claims
        lacking: dict[str, str] = {}
        # Without both, no value can be written, and then nothing can be copied or linked either.
        if features.replace == features.create_only == "none":
            writing = ("save", "save_batch", "copy", "move", *_MADE_OF_FOLDERS, *_MADE_OF_LINKS)
            lacking |= dict.fromkeys(writing, "create_only")
        if features.delete == "none":
            lacking |= {"delete": "delete", "delete_all": "delete"}
            if not claims(Renames):
                lacking["move"] = "delete"
        if not claims(Folders):
            lacking |= dict.fromkeys(_MADE_OF_FOLDERS, "folders")
        if not claims(Links):
            lacking |= dict.fromkeys(_MADE_OF_LINKS, "links")
        return lacking

    def _cannot(self, operation: str) -> UnsupportedOperationError:
        feature = self._lacking().get(operation)
        reason = feature and self._lacks(feature)
        return UnsupportedOperationError(self.name, operation, reason or "")

    def _lacks(self, feature: str) -> str:
        return f'the store {self.store!r} has features.{feature} = "none"'

    # ── errors ───────────────────────────────────────────────────────────────────────────

    @contextmanager
    def _translate_errors(
        self, path: Path, operation: str, target: Path | None = None, to_target: str = ""
    ) -> Iterator[None]:
        """Complete the errors of the block with backend and path, and translate those of a store.

        An error whose ``filename`` is the key of ``target`` is about ``target``.
        """
        try:
            yield
        except (PolystoreError, OSError) as error:
            if target is not None and getattr(error, "filename", None) == self._key(target):
                path, operation = target, to_target
            raise self._complete_error(error, path, operation)  # noqa: B904 - it carries its cause

    def _complete_error(self, error: Exception, path: Path, operation: str) -> Exception:
        return with_context(error, self.name, os.fspath(path), operation)

    def _key(self, path: Path, check: Callable[[Path], str] = require_local) -> str:
        try:
            return self.store.key(check(path))
        except PolystoreError as error:
            raise self._complete_error(error, path, "look")  # noqa: B904 - it carries its cause

    def _identity(self, path: Path) -> Hashable:
        with self._translate_errors(path, "look"):
            return self.store.identity(self._key(path))

    def _require_ability(self, ability: type[Ability], operation: str) -> Ability:
        try:
            return self.store.require(ability, operation)
        except UnsupportedOperationError as error:
            error.backend = self.name
            raise

    def _require_scope(self, scope: Scope, operation: str, feature: str) -> None:
        if scope == "none":
            raise UnsupportedOperationError(self.name, operation, self._lacks(feature))

    def _require_writable(self, operation: str) -> None:
        features = self.store.features
        if features.replace == features.create_only == "none":
            raise UnsupportedOperationError(self.name, operation, self._lacks("create_only"))

    # ── find ─────────────────────────────────────────────────────────────────────────────

    def _stat(self, key: str) -> Stat:
        """Stat ``key``, even if it is a folder and the store has no folders."""
        store = self.store
        try:
            return store.stat(key)
        except FileNotFoundError:
            if store.claims(Folders) or (key and not any(True for _ in store.scan(key))):
                raise
            return Stat(key, "directory")

    def _name(self, key: str) -> Stat:
        """Stat ``key`` itself, not the target of a link."""
        store = self.store
        if isinstance(store, Links) and store.features.links != "none":
            target = store.read_link(key)
            if target is not None:
                return Stat(key, "symlink", target=target)
        return self._stat(key)

    def _stat_or_none(self, path: Path) -> Stat | None:
        """Stat ``path``, or return ``None`` if it does not exist."""
        return self._find(path, self._stat)

    def _find(self, path: Path, look: Callable[[str], Stat]) -> Stat | None:
        try:
            return look(self.store.key(require_local(path)))
        except (PolystoreError, OSError) as error:
            if isinstance(error, OSError) and (
                isinstance(error, FileNotFoundError) or error.errno in _NOTHING_THERE
            ):
                return None
            raise self._complete_error(error, path, "look")  # noqa: B904 - it carries its cause

    def exists(self, path: Path, /) -> bool:
        found = self._stat_or_none(path)
        return found is not None and found.kind != "symlink"

    def is_file(self, path: Path, /) -> bool:
        found = self._stat_or_none(path)
        return found is not None and found.kind == "file"

    def is_dir(self, path: Path, /) -> bool:
        found = self._stat_or_none(path)
        return found is not None and found.kind == "directory"

    def is_symlink(self, path: Path, /) -> bool:
        found = self._find(path, self._name)
        return found is not None and found.kind == "symlink"

    def list_dir(self, path: Path, /) -> list[str]:
        return natural_order({entry.name for entry in self.scan(path)})

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        with self._translate_errors(directory, "list"):
            return list(self.store.entries(self._key(directory)))

    # ── change ───────────────────────────────────────────────────────────────────────────

    def ensure_directory(self, path: Path, /) -> None:
        self._require_writable("ensure_directory")
        with self._translate_errors(path, "create the directory"):
            self._require_ability(Folders, "ensure_directory").make_folder(self._key(path))

    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        with self._translate_errors(path, "delete"):
            key = self._key(path)
            self._require_scope(self.store.features.delete, "delete", "delete")
            if key in _TOP:
                raise InvalidOptionError("path", os.fspath(path), "a path below the root")
            is_folder = self._name(key).kind == "directory"
            if not self.store.claims(Folders):
                self._delete_values(path, key, is_folder, recursive)
            elif is_folder:
                folders = self._require_ability(Folders, "delete")
                folders.remove_folder(key, recursive=recursive)
            else:
                self.store.delete(key)

    def _delete_values(self, path: Path, key: str, is_folder: bool, recursive: bool) -> None:
        """Delete from a store without folders, in which "a" and "a/b" can both be values."""
        if is_folder and not recursive:
            raise DirectoryNotEmptyError(self.name, os.fspath(path), "delete")
        # Not in one step: a store without folders has none for many keys.
        keys = [] if is_folder else [key]
        if recursive and (is_folder or self.store.features.nested_values):
            keys += [inner.key for inner in self.store.scan(key)]
        for each in keys:
            self.store.delete(each)

    @abstractmethod
    def _converts(self, source: str, target: str) -> bool:
        """Return whether a copy of the file ``source`` to ``target`` converts its format.

        Raises ``InvalidOptionError`` if nothing can convert the file.
        """

    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        self._require_writable("copy")
        self._copy(require_local(source), check_new(target), if_exists, self.store.durable)

    def _copy(
        self,
        source: str,
        target: str,
        if_exists: IfExists,
        durable: bool | None,
        *,
        alone: bool = False,
    ) -> None:
        with self._translate_errors(source, "copy"):
            is_folder = self._stat(self._key(source)).kind == "directory"
        if is_folder:
            self._copy_folder(source, target, durable)
        elif self._converts(source, target):
            # The link b.npy may lead to a.tif: saving would replace the source before it is read.
            if self._identity(source) == self._identity(target):
                raise InvalidOptionError("target", target, "a path other than the source")
            with carry(self, source, alone=alone) as value:
                options = {"if_exists": if_exists, "durable": durable}
                save_carried(self, value, target, options)
        else:
            self._copy_file(source, target, if_exists, durable)

    def _copy_file(
        self,
        source: str,
        target: str,
        if_exists: IfExists,
        durable: bool | None,
        *,
        origin: NamesOfStore | None = None,
    ) -> None:
        """Copy the bytes of a file, which may be in another backend, ``origin``."""
        origin = self if origin is None else origin
        key = origin._key(source)
        with (
            origin._translate_errors(source, "copy"),
            origin.store.open(key, whole=True) as file,
        ):
            condition = self._condition(target, if_exists, "copy to")
            if condition is None:
                return
            try:
                with self._translate_errors(target, "copy to"):
                    reading = partial(origin._translate_errors, source, "copy")
                    self._copy_bytes(file, reading, self._key(target), condition, durable)
            except AlreadyExistsError:
                if if_exists != "skip":  # another writer was first: "skip" keeps its value
                    raise

    def _has_bytes_of(self, path: str, source: str, origin: NamesOfStore) -> bool:
        """Return whether the file ``path`` has the bytes of the file ``source`` of ``origin``."""
        with (
            origin._translate_errors(source, "load"),
            origin.store.open(origin._key(source), whole=True) as expected,
            self._translate_errors(path, "load"),
            self.store.open(self._key(path), whole=True) as found,
        ):
            while True:
                piece = expected.read(_COPY_BYTES)
                if found.read(_COPY_BYTES) != piece:
                    return False
                if not piece:
                    return True

    def _copy_bytes(
        self,
        file: BinaryIO,
        reading: Callable[[], AbstractContextManager[None]],
        target: str,
        condition: IfPresent,
        durable: bool | None,
    ) -> None:
        """Copy ``file`` to ``target``. ``reading`` completes the errors of its source."""
        with self.store.writing(target, if_exists=condition, durable=durable) as sink:
            while True:
                with reading():
                    piece = file.read(_COPY_BYTES)
                if not piece:
                    return
                sink.write(piece)

    def _condition(self, path: str, if_exists: IfExists, operation: str) -> IfPresent | None:
        """Return the ``if_exists`` for the sink of ``path``, or ``None`` if the old value stays.

        Raises ``UnsupportedOperationError`` if the store does not promise it.
        """
        features = self.store.features
        if if_exists == "replace" and features.replace != "none":
            return "replace"
        self._require_writable("save")
        self._require_scope(features.create_only, f"if_exists={if_exists!r}", "create_only")
        found = self._find(path, self._name if features.folders != "none" else self.store.stat)
        if found is not None:
            if found.kind == "directory":
                raise NotAFileError(self.name, path, operation)
            if if_exists == "replace":
                self._require_scope(features.replace, "replacing a value", "replace")
            if if_exists == "error":
                raise AlreadyExistsError(self.name, path, operation)
            return None
        return "error"

    def _copy_folder(self, source: str, target: str, durable: bool | None) -> None:
        trees = self._require_ability(Trees, "copying a folder")
        origin, key = self._key(source), self._key(target)
        self._refuse_inside(origin, key, target)
        if self._find(target, self._name) is not None:
            raise AlreadyExistsError(self.name, target, "copy a folder", reason=_STAYS)
        # The folder is hidden until it is complete, so that a killed copy leaves no half of it.
        with (
            self._translate_errors(target, "copy to"),
            trees.tree(key, durable=durable) as hidden,
        ):
            self._fill_folder(origin, hidden, durable)

    def _fill_folder(self, source: str, target: str, durable: bool | None) -> None:
        """Copy the content of one folder into another. Both arguments are keys."""
        store = self.store
        waiting = [(source, target)]
        while waiting:  # not by recursion, because folders may be deep
            folder, copied = waiting.pop()
            with self._translate_errors(folder, "list"):
                entries = list(store.entries(folder))
            for entry in entries:
                old, new = join(folder, entry.name), join(copied, entry.name)
                with self._translate_errors(old, "copy"):
                    if entry.is_symlink:
                        self._require_ability(Links, "copying a link").copy_link(old, new)
                    elif entry.is_dir:
                        if store.claims(Folders):
                            self._require_ability(Folders, "copying a folder").make_folder(new)
                        waiting.append((old, new))
                    else:
                        with store.open(old, whole=True) as file:
                            reading = partial(self._translate_errors, old, "copy")
                            self._copy_bytes(file, reading, new, "replace", durable)
            if durable:  # names too: a move deletes the source, and a power cut could take both
                with self._translate_errors(folder, "copy"):
                    for error in store.sync([join(copied, "_")]).values():
                        raise error.__cause__ or error  # nothing is in place yet

    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        self._require_writable("move")
        origin, place = require_local(source), check_new(target)
        with self._translate_errors(source, "move"):
            found = self._name(self._key(origin))
        is_folder = found.kind == "directory"
        # "skip" asks for "error" as well, and its error is dropped below. So the check and the move
        # are one step.
        condition: IfPresent = "replace" if if_exists == "replace" else "error"
        try:
            if found.kind == "file" and self._converts(origin, place):
                self._copy_and_delete(origin, place, condition)
            elif self.store.claims(Renames):
                self._rename(origin, place, condition)
            elif is_folder:
                self._require_ability(Renames, "moving a folder")
            elif self._identity(origin) != self._identity(place):
                self._copy_and_delete(origin, place, condition)
        except AlreadyExistsError:
            if if_exists != "skip" or is_folder:
                raise

    def _rename(self, source: str, target: str, condition: IfPresent) -> None:
        features = self.store.features
        renames = self._require_ability(Renames, "move")
        # A store that cannot replace is asked not to, and its refusal is translated below.
        asked: IfPresent = "error" if features.replace == "none" else condition
        if asked == "error":
            self._require_scope(features.create_only, f"if_exists={condition!r}", "create_only")
        try:
            with self._translate_errors(source, "move", target, "move to"):
                renames.rename(self._key(source), self._key(target), if_exists=asked)
        except AlreadyExistsError:
            if asked != condition:
                self._require_scope(features.replace, "replacing a value", "replace")
            raise
        except StorageError as error:
            if error.errno != errno.EXDEV:
                raise
            # On another file system the system cannot rename.
            self._copy_and_delete(source, target, condition)

    def _copy_and_delete(self, source: str, target: str, condition: IfPresent) -> None:
        self._require_scope(self.store.features.delete, "move", "delete")
        # The copy is flushed before the source is deleted, or a power cut could lose both.
        durable = self.store.features.durable and self.store.durable is not False
        # Of a file of an OME-TIFF set, only its own planes leave: the other files stay.
        self._copy(source, target, condition, durable, alone=True)
        self.delete(source, recursive=True)

    def _refuse_inside(self, source: str, key: str, target: str) -> None:
        if f"{key}/".startswith(f"{source.rstrip('/')}/"):
            raise InvalidOptionError("target", target, "a path outside the source folder")

    def create_symlink(self, source: Path, link: Path, /, *, overwrite: bool = False) -> None:
        self._require_writable("create_symlink")
        links = self._require_ability(Links, "create_symlink")
        origin, key = self._key(source), self._key(link, check_new)
        with self._translate_errors(source, "link to", link, "link"):
            links.link(origin, key, replace=overwrite)

    def _link_files(
        self, source: str, target: str, names: Sequence[str], overwrite: bool
    ) -> None:
        links = self._require_ability(Links, "create_symlink")
        origin, place = self._key(source), self._key(target)
        with self._translate_errors(source, "link", target, "link"):
            left = links.link_files(origin, place, names, replace=overwrite)
        super()._link_files(source, target, left, overwrite)


def find_suffix(path: str) -> str:
    """Return the longest suffix that is the name of a format or a backend ("zarr"), or ""."""
    suffix = path.rpartition("/")[2].partition(".")[2].lower()
    while suffix and not (owner("format", suffix) or owner("backend", suffix)):
        suffix = suffix.partition(".")[2]
    return suffix


def start_folder(store: ByteStore | None) -> str:
    """Return the working folder if relative paths of a store depend on it, or else "".

    Handles and workers outlive a change of the working folder. The new one may have a file of the
    same name.
    """
    from ..files.local import LocalStore  # not at the top: many programs do not need it

    return working_folder() if isinstance(store, LocalStore) and store.root is None else ""
