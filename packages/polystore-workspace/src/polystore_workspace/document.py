"""The document of a workspace: the source of each virtual path."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from polystore_core import LocalStore, atomic_write, check_new, full_path
from polystore_core.errors import DamagedDataError, InvalidOptionError, with_context

if TYPE_CHECKING:
    from polystore_core import Backends, Path, Progress

__all__ = ["Reference", "Workspace", "find_document", "keys_twice", "read_document"]

_MARK = "polystore_workspace"
_VERSION = 1
_PUBLISHED = "polystore_metadata.json"
"""The document of the published package, in the folder of a plate."""
_LONGEST = 4096
"""The most characters of a virtual path, the limit of Linux for a path.

The folders of one path with 100,000 characters would take gigabytes of memory.
"""


_PART = r"(?!(?:eh)?thumbs\.db|desktop\.ini)[\w-][\w .,()+=@#-]*"
_is_plain = re.compile(rf"{_PART}(?:/{_PART})*", re.ASCII | re.IGNORECASE).fullmatch
"""Returns whether ``check_new`` accepts a path. Only other paths are checked in detail."""


class Reference(NamedTuple):
    """The source of one virtual path."""

    backend: str
    """Name of the backend that has the source."""
    address: str
    """Path of the source in that backend. In the file system of this machine, it is relative to
    the root of the workspace."""
    indices: tuple[int | None, ...] = ()
    """One index for each of the first axes, or ``None`` for the whole axis."""


_Row: TypeAlias = "tuple[str, str, tuple[int | None, ...]] | str"
"""The fields of a reference, before they are checked. A ``str`` is the fault of an entry."""


@dataclass(frozen=True, slots=True, repr=False)
class Workspace:
    """Virtual paths and their sources, as a value.

    Example::

        workspace = Workspace.build("plate", names="{well}_s{site}_w{channel}.tif")
        workspace.save("ws.json")
        registry.add("ws", "virtual_workspace", file="ws.json")

    Raises:
        InvalidOptionError: A virtual path or an entry is not valid. Names the path.
    """

    entries: Mapping[str, Reference]
    root: str = "."
    """The folder that addresses in the file system are relative to."""
    folders: Mapping[str, Mapping[str, bool]] = field(init=False, repr=False, compare=False)
    """For each virtual folder: its names, and whether each is a folder. The top folder is ""."""

    def __post_init__(self) -> None:
        entries = self.entries
        if not isinstance(entries, Mapping):
            raise InvalidOptionError("entries", entries, "a dict: {virtual path: Reference}")
        if not isinstance(self.root, str | os.PathLike):
            raise InvalidOptionError("root", self.root, "the path of a folder")
        for path in entries:
            if not isinstance(path, str):
                raise InvalidOptionError(
                    "entries", path, f"a str as virtual path, not {path!r}"
                )
        # The detailed check takes many times as long, and hardly any path needs it.
        odd = [path for path in entries if len(path) > _LONGEST or not _is_plain(path)]
        faults = {path: _fault_of_path(path) for path in odd}
        faults = {path: fault for path, fault in faults.items() if fault}
        folders = _folders_of([path for path in entries if path not in faults])
        for folder in folders:
            if folder in entries and folder not in faults:
                inner = next(iter(folders[folder]))
                faults[folder] = f"it is also the folder of {folder + '/' + inner!r}"
        if isinstance(entries, _References):
            # The other entries of a document that was read can be used.
            entries.faults = faults
        else:
            for path in entries:
                if fault := faults.get(path) or _fault_of_entry(entries[path]):
                    raise InvalidOptionError("entries", path, "", f"entry {path!r}: {fault}")
        object.__setattr__(self, "folders", folders)  # how a frozen dataclass sets a field
        object.__setattr__(self, "root", os.fspath(self.root))

    @classmethod
    def build(
        cls,
        files: Path | Iterable[Path],
        names: str = "{well}_s{site}_w{channel}.tif",
        *,
        paths: str | None = None,
        split: str = "",
        pattern: str | None = None,
        backend: str = "disk",
        root: Path | None = None,
        registry: Backends | None = None,
        progress: Progress = False,
    ) -> Workspace:
        """Make a workspace of ``files``, arranged by their names.

        Args:
            files: paths of the files, or one folder. From a folder, all files with the suffix of
                ``names`` are used.
            names: template of the names, as for :class:`NameTemplate`.
            paths: template of the virtual paths, such as ``"{well}/s{site}_w{channel}.tif"``.
                It may have the fields of ``names``, the axes of ``split``, ``{file}`` (the
                file's name) and ``{stem}`` (without its suffix). The default is the file's
                name, in a folder for each well if ``names`` has a well.
            split: axes such as ``"zc"``. Each plane of these axes gets a virtual path of its
                own. This reads the header of each file.
            pattern: use only the names in the folder that are like ``"*.tif"``.
            backend: name of the backend that has the files.
            root: folder that addresses are relative to. The default is the folder that all
                files have in common. Only for backends in the file system of this machine.
            registry: registry with the backend. The default is a new one.
            progress: for ``split``, as for ``load_batch``.

        No pixel is read.

        Raises:
            InvalidOptionError: A name does not fit ``names``, two files have one virtual path,
                or a file does not have an axis of ``split``. Names the files.
        """
        from .building import Plan

        plan = Plan(names, paths, split, pattern, backend, root, registry, progress)
        return plan.workspace(files)

    @classmethod
    def load(cls, file: Path) -> Workspace:
        """Read a document. ``root`` becomes absolute.

        Args:
            file: path of the document. It may be the ``polystore_metadata.json`` of the
                published package, or its folder.

        Raises:
            NotFoundError: The document does not exist.
            DamagedDataError: The document is not valid. An entry that is not valid raises this
                error only when you take it from ``entries``.
        """
        path = find_document(full_path(file, "file"))
        try:
            content = LocalStore().read(path)
        except OSError as error:
            raise with_context(error, "", path, "read")  # noqa: B904 - it carries its cause
        return read_document(content, path)

    def save(self, file: Path) -> None:
        """Write the document, whole or not at all, with one entry in each line.

        If the root is the folder of the document, or in it, it is written relative to the
        document. Then you can move both together.
        """
        path = full_path(file, "file")
        root = self.root
        if os.path.isabs(root):
            relative = os.path.relpath(root, os.path.dirname(path))
            root = root if relative.split(os.sep)[0] == os.pardir else relative
        head = _encode({_MARK: _VERSION, "root": root})[:-1]
        lines = ",\n".join(
            _encode({name: _document(entry)})[1:-1] for name, entry in self.entries.items()
        )
        # Readers that look at any time see the old document or the new one.
        with atomic_write(path, "w") as stream:
            stream.write(f'{head}, "entries": {{\n{lines}\n}}}}\n')

    def __repr__(self) -> str:
        entries = self.entries
        rows = entries.rows if isinstance(entries, _References) else entries
        names = {row[0] for row in rows.values() if not _fault_of_entry(row)}
        backends = ", ".join(sorted(names))
        count = len(self.entries)
        files = f"{count:,} {'path' if count == 1 else 'paths'}"
        return f"<Workspace of {files}, root={self.root!r}, on {backends or 'no backend'}>"


class _References(Mapping[str, Reference]):
    """The entries of a document. Each is checked when it is used.

    They are plain tuples of text and numbers, which Python's garbage collector skips. For a
    document of 100,000 entries, the collector would take as long as all other work.
    """

    __slots__ = ("faults", "file", "rows")

    def __init__(self, rows: Mapping[str, _Row], file: str) -> None:
        self.rows, self.file = rows, file
        self.faults: Mapping[str, str] = {}
        """The fault of each virtual path that is not valid."""

    def __getitem__(self, path: str) -> Reference:
        """Raise ``DamagedDataError`` for an entry that is not valid."""
        row = self.rows[path]
        if fault := self.faults.get(path) or _fault_of_entry(row):
            reason = f"its entry in {self.file!r} is not valid: {fault}"
            raise DamagedDataError(reason, "workspace", path)
        return Reference._make(row)

    def __contains__(self, path: object) -> bool:
        return path in self.rows

    def __iter__(self) -> Iterator[str]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return repr(dict(self))


def find_document(file: str) -> str:
    """Return ``file``, or the document of the published package if it is a folder."""
    return os.path.join(file, _PUBLISHED) if os.path.isdir(file) else file


def read_document(content: bytes, file: str) -> Workspace:
    """Return the workspace of a document.

    Args:
        content: the bytes of the document.
        file: its path, for the root and for errors.

    Raises:
        DamagedDataError: The document is not valid.
    """
    try:
        # utf-8-sig, because editors on Windows may put a byte order mark at the start.
        document = json.loads(content.decode("utf-8-sig"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise DamagedDataError(str(error), "json", file) from error
    folder = os.path.dirname(file)
    try:
        if isinstance(document, dict) and _MARK in document:
            rows, root = _rows(document)
            return Workspace(_References(rows, file), full_path(os.path.join(folder, root)))
        if isinstance(document, dict) and "subdirectories" in document:
            from .published import read_published

            return Workspace(_References(read_published(document, folder), file), folder)
    except (InvalidOptionError, _DocumentError) as error:
        raise DamagedDataError(str(error), "workspace", file) from error
    reason = f"expected an object with the key {_MARK!r}, or 'subdirectories'"
    raise DamagedDataError(reason, "workspace", file)


class _Doubled(dict[str, Any]):
    """A JSON object with some keys twice. ``json`` would keep the last value in silence."""

    twice: set[str]


def keys_twice(document: dict[str, Any]) -> set[str]:
    """Return the keys that are twice in an object of a document."""
    return document.twice if isinstance(document, _Doubled) else set()


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any] | _Row:
    """Return a JSON object, or the row of an entry, which needs no dict."""
    keys = [key for key, _ in pairs]
    if keys[:2] == ["backend", "address"]:
        (_, backend), (_, address), *rest = pairs
        # They may also be two virtual paths with these names, whose values are objects.
        if type(backend) is type(address) is str:
            if not rest:
                return backend, address, ()
            if keys[2:] == ["indices"] and type(rest[0][1]) is list:
                return backend, address, tuple(rest[0][1])
    found = dict(pairs)
    if len(found) < len(pairs):
        found = _Doubled(found)
        found.twice = {key for key, count in Counter(keys).items() if count > 1}
    return found


class _DocumentError(Exception):
    """The document is not valid."""


def _rows(document: dict[str, Any]) -> tuple[dict[str, _Row], str]:
    """Return the entries and the root. Unknown keys are ignored."""
    if twice := keys_twice(document) & {_MARK, "root", "entries"}:
        raise _DocumentError(f"it has the key {min(twice)!r} twice")
    # ``true`` in JSON equals 1 in Python.
    if document[_MARK] != _VERSION or isinstance(document[_MARK], bool):
        raise _DocumentError(
            f"{_MARK} is {document[_MARK]!r}, but this version reads {_VERSION}"
        )
    root, entries = document.get("root", "."), document.get("entries")
    if not isinstance(root, str) or not root or "\0" in root:
        raise _DocumentError(f"root is {root!r:.80}, but must be a folder, such as '.'")
    if not isinstance(entries, dict):
        raise _DocumentError("entries must be an object: {virtual path: source}")
    rows = {
        path: entry if type(entry) is tuple else _row(entry) for path, entry in entries.items()
    }
    rows.update(dict.fromkeys(keys_twice(entries), "the document has it twice"))
    return rows, root


def _row(raw: Any) -> _Row:
    try:
        indices = raw.get("indices", [])
        if isinstance(indices, list) and not keys_twice(raw) & {*Reference._fields}:
            return raw["backend"], raw["address"], tuple(indices)
    except (AttributeError, KeyError):
        pass
    example = '{"backend": "disk", "address": "raw/a.tif", "indices": [3]}'
    return f"expected an object such as {example}, got {raw!r:.80}"


def _document(entry: Reference) -> dict[str, Any]:
    found: dict[str, Any] = {"backend": entry.backend, "address": entry.address}
    return found | ({"indices": list(entry.indices)} if entry.indices else {})


def _encode(value: dict[str, Any]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    # Python writes a file name that is not UTF-8 with halves of surrogate pairs. These, and line
    # breaks of Unicode, need escapes, or the document could not be read line by line.
    return text if text.isascii() or text.isprintable() else json.dumps(value)


def _fault_of_path(path: object) -> str:
    try:
        text = check_new(path)  # type: ignore[arg-type]
    except InvalidOptionError as error:
        return str(error)
    if len(text) > _LONGEST:
        return f"a virtual path has at most {_LONGEST:,} characters, not {len(text):,}"
    if text is path and not {"", ".", ".."}.intersection(text.split("/")):
        return ""
    return "a virtual path is a str such as 'B03/a.tif', without '.', '..' and empty parts"


def _fault_of_entry(row: Any) -> str:
    """Return why an entry is not valid, or "" if it is valid."""
    if not isinstance(row, tuple):
        return row if isinstance(row, str) else f"expected a Reference, got {row!r:.80}"
    backend, address, indices = row
    if not (isinstance(backend, str) and backend and isinstance(address, str) and address):
        return f"backend={backend!r:.80} and address={address!r:.80} must be text"
    if not isinstance(indices, tuple):
        return f"indices={indices!r:.80} must be a tuple"
    for index in indices:
        if index is not None and (type(index) is not int or index < 0):
            return (
                f"an index is a number from 0 on, or null for a whole axis, not {index!r:.80}"
            )
    return ""


def _folders_of(paths: Iterable[str]) -> dict[str, dict[str, bool]]:
    folders: dict[str, dict[str, bool]] = {"": {}}
    for path in paths:
        folder, _, name = path.rpartition("/")
        if folder not in folders:
            _add_folder(folders, folder)
        folders[folder].setdefault(name, False)
    return folders


def _add_folder(folders: dict[str, dict[str, bool]], folder: str) -> None:
    folders.setdefault(folder, {})
    while folder:
        folder, _, name = folder.rpartition("/")
        names = folders.setdefault(folder, {})
        if names.get(name):  # this folder is known, and so are all above it
            return
        names[name] = True
