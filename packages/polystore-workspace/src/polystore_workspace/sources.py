"""The backends of the entries, and their errors, translated for the user of the workspace."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from polystore_core import Context, DataSource, LocalStore, check_options, known_options
from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    NotFoundError,
    PathOutsideRootError,
    PluginError,
    PolystoreError,
    ReceiverError,
    StorageError,
    UnsupportedDataError,
    UnsupportedFileError,
    UnsupportedFormatError,
    UnsupportedOperationError,
    with_context,
)

from .indices import check_indices, is_basic, narrow
from .plates import NAMED, AnyFolder, is_nameless, takes_stores

if TYPE_CHECKING:
    from polystore_core import Image, Option, Path, Region, Value

    from .backend import VirtualWorkspaceBackend
    from .document import Reference

__all__ = ["Found", "Sources", "is_free"]


class Found(NamedTuple):
    """An entry, its backend, and the path of the source in it."""

    entry: Reference
    source: DataSource
    address: str

    def load(self, region: Region | None, options: dict[str, Option]) -> Value:
        """Load the part that the entry selects, or a region of this part."""
        options = self.options(options)
        if not self.entry.indices and region is None:
            self.check("load", options)
            return self.source.load(self.address, **options)
        part = self.region(region)
        # A backend without region= loads the whole, and the part is cut out below.
        named, is_open = known_options(type(self.source).load)
        if is_open or "region" in named:
            options["region"] = part
        self.check("load", options)
        load: Callable[..., Any] = self.source.load
        value = load(self.address, **options)
        if "region" in options:
            return value
        if not hasattr(value, "shape"):
            got = type(value).__name__
            raise UnsupportedDataError(f"indices and region= need an array, got {got}")
        return np.array(value[part])  # a copy: a view would keep the whole in memory

    def load_image(self, region: Region | None, options: dict[str, Option]) -> Image:
        """Load the same with its metadata."""
        options = self.options(options, "load_image")
        if self.entry.indices or region is not None:
            options["region"] = self.region(region)
        self.check("load_image", options, "load")
        load: Callable[..., Image] = self.source.load_image
        return load(self.address, **options)

    def options(self, options: dict[str, Option], method: str = "load") -> dict[str, Option]:
        """Return the options for the source. ``copy`` is left out if the source has none."""
        shares = "copy" in known_options(getattr(type(self.source), method))[0]
        return {name: options[name] for name in options if shares or name != "copy"}

    def region(self, region: Region | None) -> Region:
        """Return the region of the source for a ``region`` of the part that the entry selects."""
        return narrow(self.entry.indices, is_basic(region), lambda: len(self.shape()))

    def check(self, method: str, options: dict[str, Option], operation: str = "") -> None:
        """Raise ``UnknownOptionError`` if the source does not have an option."""
        if options:
            operation = operation or method
            owner = f"{operation}() of backend {self.entry.backend!r}"
            check_options(getattr(type(self.source), method), options, owner)

    def shape(self) -> tuple[int, ...]:
        """Return the shape of the whole source. Raises ``IndexError`` if it is not an array."""
        shape = self.source.info(self.address).shape
        if shape is None:
            raise IndexError("the source is not an array")
        return shape


def is_free(backend: object) -> bool:
    """Return whether a backend can read every path of this machine's file system."""
    store = getattr(backend, "store", None)
    return isinstance(store, LocalStore) and store.root is None


class Sources:
    """The backends of the entries of a workspace.

    A backend without a root could read the whole file system, and a document may be a stranger's.
    So another instance of its class is used, with the root of the document as its root.

    Locks: none. ``_kept`` and ``_folders`` are dicts whose items threads set in one step. Two
    threads may make an instance for the same key, and either can be used.
    """

    def __init__(self, workspace: VirtualWorkspaceBackend) -> None:
        self._of = workspace
        self._kept: dict[tuple[str, str, str], tuple[object, DataSource]] = {}
        """By name, root and option: the backend of the registry, and our own instance."""
        self._folders: dict[str, AnyFolder] = {}

    def find(self, root: str, entry: Reference, path: Path, operation: str) -> Found:
        """Return the source of an entry, without opening it."""
        try:
            source, address = self._source(entry, root)
            circle = self._circle(source, address)
        except InvalidOptionError as error:  # the fault is in the document, not the caller's
            reason = f"{error}; {self._place(entry)}"
            raise UnsupportedFileError(
                reason, path=os.fspath(path), backend=self._of.name
            ) from error
        except Exception as error:
            # Any error, because a backend of others may raise any when it is created.
            raise self._translate(error, path, entry, operation) from error
        if not isinstance(source, DataSource):
            raise self._damage_error(f"backend {entry.backend!r} only writes", path, entry)
        if circle:
            raise self._damage_error(f"it leads in a circle: {circle}", path, entry)
        return Found(entry, source, address)

    def _source(self, entry: Reference, root: str) -> tuple[Any, str]:
        """Return the backend that reads an entry, and the path of the source in it."""
        made: Any = self._of.context.registry[entry.backend]
        if not is_free(made):
            return made, entry.address
        if takes_stores(made):
            folder = self._folders.get(root)
            if folder is None:
                # setdefault: of two threads, both use the folder of the first.
                folder = self._folders.setdefault(root, AnyFolder(root))
            if is_nameless(folder.files, entry.address):
                return self._limit(
                    made, entry.backend, root, "store"
                ), f"{NAMED}/{entry.address}"
        return self._limit(made, entry.backend, root, "root"), entry.address

    def _limit(self, made: object, name: str, root: str, option: str) -> DataSource:
        """Return an instance like ``made`` that reads only below ``root``."""
        kept = self._kept.get((name, root, option))
        # If the registry has another backend under this name now, make a new instance.
        if kept is not None and kept[0] is made:
            return kept[1]
        cls: Any = type(made)
        if option not in known_options(cls)[0]:
            expected = "a backend with the option root, or one that has a root"
            fault = f"backend {name!r} has no option root, so addresses could lead anywhere"
            raise InvalidOptionError("backend", name, expected, fault)
        own = self._of.context
        context = Context(name, own.formats, own.restored, own.owner)
        value = root if option == "root" else self._folders[root]
        limited: DataSource = cls.with_context(context, **{option: value})
        self._kept[name, root, option] = made, limited
        return limited

    def _circle(self, source: Any, address: str) -> str:
        """Follow the entries through other workspaces. Return the names of a circle, or "".

        Only their documents are read. Loading a circle would recurse without an end.
        """
        chain = [self._of]
        while isinstance(source, type(self._of)):
            if source in chain:
                return " → ".join(repr(one.name) for one in (*chain, source))
            chain.append(source)
            root, entry = source._entry(address)
            if entry is None:
                break
            source, address = source._sources._source(entry, root)
        return ""

    # ── errors ───────────────────────────────────────────────────────────────────────────

    @contextmanager
    def translate_errors(self, path: Path, found: Found, operation: str) -> Iterator[None]:
        """Translate the errors of the block."""
        try:
            yield
        except Exception as error:
            told = self.translate_error(error, path, found, operation)
            if told is error:
                error.add_note(f"{os.fspath(path)!r}: {self._place(found.entry)}")
                raise
            raise told from error

    def translate_error(
        self, error: Exception, path: Path, found: Found, operation: str
    ) -> Exception:
        """Return an error of the source with the virtual path, the source and the document.

        An error of the caller, such as an unknown option, is returned unchanged.
        """
        if isinstance(error, IndexError) and found.entry.indices:
            return self._index_error(error, path, found)
        return self._translate(error, path, found.entry, operation)

    def _translate(
        self, error: Exception, path: Path, entry: Reference, operation: str
    ) -> Exception:
        name, text, place = self._of.name, os.fspath(path), self._place(entry)
        if isinstance(error, OSError) and not isinstance(error, PolystoreError):
            error = with_context(error, name, text, operation)
        if isinstance(error, UnsupportedOperationError):
            reason = f"{text!r}: {error}; {place}"
            return UnsupportedOperationError(name, error.operation, reason)
        if isinstance(error, StorageError | DataError):
            return self._add_place(error, text, entry, operation)
        if isinstance(error, ReceiverError):
            advice = f"{error.advice}; {place}" if error.advice else place
            receiver = f"{text!r}: {error.receiver}"
            return replace(error, backend=name, receiver=receiver, advice=advice)
        if isinstance(error, PathOutsideRootError):
            is_absolute = os.path.isabs(entry.address)
            wrong = "is absolute, but must be relative to" if is_absolute else "leads out of"
            fault = f"its address {wrong} the root {error.root!r}"
            return self._damage_error(fault, path, entry)
        if isinstance(error, InvalidOptionError) and error.option == "path":
            return self._damage_error(f"its address is not valid: {error}", path, entry)
        if isinstance(error, PluginError | UnsupportedFormatError):
            return UnsupportedFileError(f"{error}; {place}", path=text, backend=name)
        return error

    def _add_place(
        self, error: StorageError | DataError, path: str, entry: Reference, operation: str
    ) -> Exception:
        """Add the place of the entry to an error about a stored value."""
        name, place = self._of.name, self._place(entry)
        is_source = error.path in ("", path) or error.path.endswith(entry.address)
        other = "" if is_source else f"{error}"  # the error is about another file of the source
        if isinstance(error, NotFoundError):
            why = other or error.hint or error.reason
            missing = place if other else f"{place}, which does not exist{self._inside(entry)}"
            hint = f"{missing}; {why}" if why else missing
            return NotFoundError(name, path, operation, hint=hint)
        if isinstance(error, StorageError):
            reason = f"{other or error.strerror or error}; {place}"
            return replace(error, backend=name, path=path, operation=operation, reason=reason)
        return replace(
            error, backend=name, path=path, reason=f"{other or error.reason}; {place}"
        )

    def _index_error(self, error: IndexError, path: Path, found: Found) -> Exception:
        """Return the error for an index of the entry, or of the caller's region."""
        try:
            check_indices(found.entry.indices, found.source.info(found.address).shape)
        except IndexError as fault:
            return self._damage_error(str(fault), path, found.entry)
        except Exception:  # the source is gone by now: the first error is the useful one
            return error
        return error

    def _damage_error(self, fault: str, path: Path, entry: Reference) -> DamagedDataError:
        reason = f"{fault}; {self._place(entry)}"
        return DamagedDataError(reason, "workspace", os.fspath(path), self._of.name)

    def _place(self, entry: Reference) -> str:
        read = self._of._read
        document = self._of.file if read is None else read.path
        source = f"{entry.address!r} on backend {entry.backend!r}"
        return f"its entry in {document!r} leads to {source}"

    def _inside(self, entry: Reference) -> str:
        """Return the root in which an address of this machine's file system was looked for."""
        read = self._of._read
        # A copy, because other threads may add to the dict during the loop.
        roots = {root for name, root, _ in list(self._kept) if name == entry.backend}
        root = "" if read is None else read.workspace.root
        return f" in {root!r}" if root in roots else ""

    def close(self) -> None:
        """Close the backends and stores that were made here, all of them also after an error."""
        with ExitStack() as closing:
            while self._kept:
                closing.callback(self._kept.popitem()[1][1].close)
            while self._folders:
                closing.callback(self._folders.popitem()[1].close)
