"""The names on a disk: what stands where, and how names come, go and move."""

from __future__ import annotations

import errno
import os
import shutil
import stat
from abc import abstractmethod
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, BinaryIO

from polystore_core import (
    HIDDEN_PREFIX,
    Entry,
    IfExists,
    PendingFile,
    Place,
    StorageBackend,
    check_if_exists,
    check_new,
    checked,
    claim,
    follow_links,
    full_path,
    is_litter,
    join,
    natural_order,
    not_regular,
    path_of,
)
from polystore_core.errors import (
    AlreadyExistsError,
    InvalidOptionError,
    NotAFileError,
    PathOutsideRootError,
    PolystoreError,
    StorageError,
    explained,
)

from .places import FreePlaces, Places, RootedPlaces, open_file
from .syscalls import (
    flush_bytes,
    flush_name,
    lstat,
    make_link,
    open_directory,
    read_link,
    remove,
    remove_leftover,
    rename,
    rename_directory,
    scan_directory,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator

    from polystore_core import Path

__all__ = ["DiskTree"]

_COPY_BYTES = 1 << 24
_NOTHING_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
_STAYS = "it exists, and a folder never replaces anything: delete it first"


class DiskTree(StorageBackend):
    """All of a disk that needs no format."""

    def __init__(
        self, *, root: str | os.PathLike[str] | None = None, durable: bool | None = None
    ) -> None:
        self.root = None if root is None else full_path(root)
        self.durable = durable
        self._places: Places = FreePlaces() if root is None else RootedPlaces(root)

    @contextmanager
    def _translated(
        self, path: Path, operation: str, check: Callable[[Path], str] = checked
    ) -> Iterator[str]:
        """Give the checked path; complete errors, and translate those of the system."""
        try:
            yield check(path)
        except (PolystoreError, OSError) as error:
            raise self._explained(error, path, operation)  # noqa: B904 - it carries its cause

    def _explained(self, error: Exception, path: Path, operation: str) -> Exception:
        return explained(error, self.name, os.fspath(path), operation)

    def _identity(self, path: Path) -> Hashable:
        """Return the place of ``path`` with all links followed: only to find twins."""
        with self._translated(path, "look") as text:
            place = follow_links(os.path.join(self.root or "", text))
            folder, name = os.path.split(place)
            try:
                found = os.stat(folder or ".")
            except FileNotFoundError:
                return os.path.realpath(folder), name
            return found.st_dev, found.st_ino, name

    # ── what stands where ────────────────────────────────────────────────────────────────

    def _stat(self, path: Path, *, follow: bool = True) -> os.stat_result | None:
        """Stat, or ``None`` where nothing stands and where a link leads nowhere."""
        try:
            with (
                self._translated(path, "look") as text,
                self._places.at(text, follow=follow) as place,
            ):
                return lstat(place)
        except StorageError as error:
            if error.errno not in _NOTHING_THERE:
                raise
            return None

    def exists(self, path: Path, /) -> bool:
        return self._stat(path) is not None

    def is_file(self, path: Path, /) -> bool:
        found = self._stat(path)
        return found is not None and not stat.S_ISDIR(found.st_mode)

    def is_dir(self, path: Path, /) -> bool:
        found = self._stat(path)
        return found is not None and stat.S_ISDIR(found.st_mode)

    def is_symlink(self, path: Path, /) -> bool:
        found = self._stat(path, follow=False)
        return found is not None and stat.S_ISLNK(found.st_mode)

    def list_dir(self, path: Path, /) -> list[str]:
        return natural_order(entry.name for entry in self.scan(path))

    def scan(self, directory: Path, /) -> Iterable[Entry]:
        with (
            self._translated(directory, "list") as text,
            self._places.at(text) as place,
            scan_directory(place) as found,
        ):
            return [
                Entry(entry.name, self._leads_to_dir(text, entry), entry.is_symlink())
                for entry in found
                if not (entry.name.startswith(HIDDEN_PREFIX) or _is_litter(entry))
            ]

    def _leads_to_dir(self, directory: str, entry: os.DirEntry[str]) -> bool:
        try:
            if self.root is None or not entry.is_symlink():
                return entry.is_dir()
            # The system would follow the link out of the root.
            return self.is_dir(join(directory, entry.name))
        except PathOutsideRootError:
            return False
        except OSError as error:  # one bad link must not hide the other names
            if error.errno not in (*_NOTHING_THERE, errno.EACCES):
                raise
            return False

    def _link_target(self, path: str) -> str | None:
        with self._places.at(path, follow=False) as place:
            try:
                return read_link(place)
            except OSError as error:
                if error.errno == errno.EINVAL:  # no link
                    return None
                raise

    # ── change ───────────────────────────────────────────────────────────────────────────

    def ensure_directory(self, path: Path, /) -> None:
        with self._translated(path, "create the directory") as text:
            self._make_directory(text)

    def _make_directory(self, text: str) -> None:
        with self._places.at(join(text, "_"), follow=False, create=True, durable=self.durable):
            pass  # the place of a name in it is there: so is the directory

    def delete(self, path: Path, /, *, recursive: bool = False) -> None:
        with (
            self._translated(path, "delete") as text,
            self._places.at(text, follow=False) as place,
        ):
            if place.name in (".", "/"):
                raise InvalidOptionError("path", text, "a path below the root")
            if recursive or not stat.S_ISDIR(lstat(place).st_mode):
                remove(place)
                return
            self._remove_hidden(place)
            # No rmtree: it would take along what somebody has saved since we looked.
            os.rmdir(place.name, dir_fd=place.dir_fd)

    def _remove_hidden(self, folder: Place) -> None:
        """Remove the hidden files of a directory that listings show as empty.

        They are lock files, leftovers, and what file browsers keep there.
        """
        with scan_directory(folder) as found:
            litter = {entry.name: _is_litter(entry) for entry in found}
        if not all(litter[name] or name.startswith(HIDDEN_PREFIX) for name in litter):
            return
        with open_directory(folder) as descriptor:
            for name in litter:
                if litter[name]:
                    os.unlink(name, dir_fd=descriptor)
                elif not remove_leftover(name, descriptor):
                    holder = f"another writer is saving into it (it holds {name!r})"
                    reason = f"{holder}: try again later"
                    raise OSError(errno.ENOTEMPTY, reason, folder.name)

    @abstractmethod
    def _converts(self, source: str, target: str) -> bool:
        """Whether the bytes of a file at ``source`` are another format's at ``target``.

        Raises ``InvalidOptionError`` where nothing converts them.
        """

    def copy(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        self._copy(checked(source), check_new(target), if_exists, self.durable)

    def _copy(
        self, source: str, target: str, if_exists: IfExists, durable: bool | None
    ) -> None:
        if self.is_dir(source):
            self._copy_directory(source, target, durable)
        elif self._converts(source, target):
            if self._identity(source) == self._identity(target):  # a link with another suffix
                raise InvalidOptionError("target", target, "a path other than the source")
            save: Callable[..., None] = self.save
            save(self.load(source), target, if_exists=if_exists, durable=durable)
        else:
            with (
                self._translated(source, "copy"),
                open_file(self._places, source) as file,
                self._translated(target, "copy to"),
            ):
                self._copy_bytes(file, target, if_exists, durable)

    def _copy_bytes(
        self, file: BinaryIO, target: str, if_exists: IfExists, durable: bool | None
    ) -> None:
        pending = self._pending(target, if_exists, durable=durable)
        if pending is None:
            return
        try:
            shutil.copyfileobj(file, pending.file, _COPY_BYTES)
            pending.seal()
            self._commit(pending, if_exists)
            if pending.durable:
                pending.sync_directory()
        finally:
            pending.discard()

    def _copy_directory(self, source: str, target: str, durable: bool | None) -> None:
        _refuse_inside(source, target)
        if self._stat(target, follow=False) is not None:
            raise AlreadyExistsError(self.name, target, "copy a folder", reason=_STAYS)
        # Built beside its name and renamed when it is complete, like a file.
        name = HIDDEN_PREFIX + os.urandom(8).hex()
        with (
            self._translated(target, "copy to"),
            self._places.at(target, follow=False, create=True, durable=durable) as place,
        ):
            hidden = Place(os.path.join(os.path.dirname(place.name), name), place.dir_fd)
            try:
                os.mkdir(hidden.name, dir_fd=hidden.dir_fd)
                with claim(path_of(*hidden)):
                    self._fill_directory(source, join(os.path.dirname(target), name), durable)
                    rename_directory(hidden, place)
            except BaseException:
                with suppress(FileNotFoundError):  # not made yet
                    remove(hidden)
                raise
            if durable:
                flush_name(place)

    def _fill_directory(self, source: str, target: str, durable: bool | None) -> None:
        for entry in self.scan(source):
            old, new = join(source, entry.name), join(target, entry.name)
            with self._translated(old, "copy"):
                if entry.is_symlink:
                    with self._places.at(old, follow=False) as a, self._places.at(new) as b:
                        make_link(read_link(a), b, replace=False)
                elif entry.is_dir:
                    self._make_directory(new)
                    self._fill_directory(old, new, durable)
                else:
                    with open_file(self._places, old) as file:
                        self._copy_bytes(file, new, "replace", durable)

    def move(self, source: Path, target: Path, /, *, if_exists: IfExists = "replace") -> None:
        check_if_exists(if_exists)
        origin, place = checked(source), check_new(target)
        try:
            if not self.is_symlink(origin) and self._converts(origin, place):
                self._copy_and_delete(origin, place, replace=if_exists == "replace")
            else:
                self._move(origin, place, replace=if_exists == "replace")
        except AlreadyExistsError:
            is_folder = self.is_dir(origin) and not self.is_symlink(origin)
            if if_exists != "skip" or is_folder:
                raise

    def _copy_and_delete(self, source: str, target: str, *, replace: bool) -> None:
        # The copy reaches the device before the source goes, or a power cut could take both.
        durable = self.durable is not False
        self._copy(source, target, "replace" if replace else "error", durable)
        self.delete(source, recursive=True)

    def _move(self, source: str, target: str, *, replace: bool) -> None:
        with (
            self._translated(source, "move"),
            self._places.at(source, follow=False) as old,
        ):
            moved = lstat(old)
            if stat.S_ISDIR(moved.st_mode) and source != target:
                _refuse_inside(source, target)
            with (
                self._translated(target, "move to"),
                self._places.at(target, follow=False, create=True, durable=self.durable) as new,
            ):
                try:
                    present = lstat(new)
                except FileNotFoundError:
                    present = None
                if present is not None and self._is_same(moved, present, target, replace):
                    return
                try:
                    if present is not None and self.durable is not False:
                        flush_bytes(old, moved)
                    rename(old, new, moved, replace=replace)
                    if self.durable:
                        flush_name(new, "move")
                except OSError as error:
                    if error.errno != errno.EXDEV:
                        raise
                    if stat.S_ISLNK(moved.st_mode):
                        make_link(read_link(old), new, replace=replace)
                        os.unlink(old.name, dir_fd=old.dir_fd)
                    else:
                        self._copy_and_delete(source, target, replace=replace)

    def _is_same(
        self, moved: os.stat_result, present: os.stat_result, target: str, replace: bool
    ) -> bool:
        """Whether ``present`` is what is to be moved; raise if it may not be replaced."""
        if os.path.samestat(moved, present):
            return True
        if stat.S_ISDIR(present.st_mode) and not stat.S_ISDIR(moved.st_mode):
            raise NotAFileError(self.name, target, "move")
        if stat.S_ISDIR(moved.st_mode):
            raise AlreadyExistsError(self.name, target, "move a folder", reason=_STAYS)
        if not replace:
            raise AlreadyExistsError(self.name, target, "move")
        _refuse_special(present, target)
        return False

    def create_symlink(self, source: Path, link: Path, /, *, overwrite: bool = False) -> None:
        with self._translated(source, "link to") as origin, self._places.at(origin) as place:
            found = lstat(place)
        with (
            self._translated(link, "link", check_new) as text,
            self._places.at(text, follow=False, create=True) as place,
        ):
            target = self._places.link_text(origin, text)
            try:
                make_link(target, place, replace=False)
            except FileExistsError:
                if not overwrite:
                    raise
                present = lstat(place)
                if stat.S_ISDIR(present.st_mode):
                    raise NotAFileError(self.name, text, "link") from None
                _refuse_special(present, text)
                if os.path.samestat(found, present):  # nothing would be left but the link
                    raise InvalidOptionError(
                        "link", text, "a path other than the source"
                    ) from None
                make_link(target, place, replace=True)

    # ── writing ──────────────────────────────────────────────────────────────────────────

    def _pending(
        self, path: str, if_exists: IfExists, *, durable: bool | None
    ) -> PendingFile | None:
        """Start new content for ``path``; ``None`` if what stands there is to stay."""
        present = None if if_exists == "replace" else self._stat(path, follow=False)
        if present is not None:
            if stat.S_ISDIR(present.st_mode):
                raise NotAFileError(self.name, path, "save")
            if if_exists == "error":
                raise AlreadyExistsError(self.name, path, "save")
            return None
        place = partial(self._places.at, path, create=True, durable=durable)
        return PendingFile(
            path,
            durable=durable,
            exclusive=if_exists != "replace",
            place=None if self.root is None else place,
        )

    def _commit(self, pending: PendingFile, if_exists: IfExists) -> None:
        try:
            pending.commit()
        except FileExistsError:
            if if_exists != "skip":  # somebody else was first, which is what skip asks for
                raise

    def close(self) -> None:
        self._places.close()

    def __repr__(self) -> str:
        root = "" if self.root is None else f", root={self.root!r}"
        return f"<{type(self).__name__} {self.name or 'disk'!r}{root}>"


def _refuse_inside(source: str, target: str) -> None:
    if f"{target}/".startswith(f"{source.rstrip('/')}/"):
        raise InvalidOptionError("target", target, "a path outside the source folder")


def _refuse_special(present: os.stat_result, path: str) -> None:
    """Refuse to replace a device, a pipe or a socket, which is not a value."""
    if not (stat.S_ISREG(present.st_mode) or stat.S_ISLNK(present.st_mode)):
        raise not_regular(present, path)


def _is_litter(entry: os.DirEntry[str]) -> bool:
    return is_litter(entry.name) and not entry.is_dir()
