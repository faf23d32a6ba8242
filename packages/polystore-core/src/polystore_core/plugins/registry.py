"""``BackendRegistry`` and ``FormatRegistry``: backends by name, formats by suffix."""

from __future__ import annotations

import functools
import os
from contextlib import ExitStack
from types import NoneType
from typing import TYPE_CHECKING, Any, Self, TypeAlias
from weakref import WeakValueDictionary, ref

from ..abc import local
from ..abc.array import Source
from ..abc.backend import DataSink, DataSource
from ..abc.context import Context
from ..abc.store import ByteStore
from ..errors import (
    BackendRequiredError,
    DamagedDataError,
    InvalidOptionError,
    MissingOptionError,
    PolystoreError,
    UnknownOptionError,
    UnknownPluginError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)
from ..errors.base import describe_error, join_some, show_preference, show_value
from ..options import check_options
from ..paths import relative_to, working_folder
from ..values import plain_name
from . import discovery
from .declared import check_prefer
from .discovery import Declaration
from .specs import find_required_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from ..abc.backend import Path
    from ..abc.format import Format
    from ..values import Option, Value

__all__ = ["BackendRegistry", "FormatRegistry", "formats"]

Backend = DataSource | DataSink
_Configured: TypeAlias = "tuple[str, dict[str, Any], str]"
"""The name of a backend, its options, and the folder where their relative paths start."""
_PLAIN = (str, int, float, NoneType)


class BackendRegistry:
    """Backends by name. Each is created once, when you use it first.

    For example:

        registry = BackendRegistry()
        registry.add("raw", "disk", root="/mnt/raw")
        fm = FileManager(registry)
        image = fm.load("a.tif", "raw")

    Names are those of installed plugins, of subclasses of ``StorageBackend`` in this process that
    have ``_backend_type``, and of ``add``. If you define such a class again, its old instance is
    closed, and the next call uses the new class. A registry is pickled as its configuration, and
    another process creates its own backends.

    Args:
        prefer: The distribution to use for a name that several declare, such as
            ``{"raw": "acme-raw"}``. For a class of this process it is the full name of the class,
            such as ``{"shelf": "__main__.Shelf"}``.
    """

    # Locks: there are none. _instances and _given change in single steps of a dict. Two threads may
    # both create a backend, and setdefault keeps the first. _calls is only a cache.

    prefer: Mapping[str, str]
    """The distribution to use for a name that several declare."""
    formats: FormatRegistry
    """The formats of the backends of this registry."""

    def __init__(self, *, prefer: Mapping[str, str] | None = None) -> None:
        self.prefer = check_prefer(prefer)
        self.formats = _formats_for(self.prefer)
        self._configured: dict[str, _Configured] = {}
        self._instances: dict[str, Backend] = {}
        """Backends that were created here, and are closed here."""
        self._given: dict[str, Backend] = {}
        """Backends that users have created, and close themselves."""
        self._calls: dict[tuple[str, str], Callable[..., Any]] = {}
        self._restored = False
        # Identifies this registry when it is unpickled in the process that has it already.
        self._token = os.urandom(16).hex()
        _registries[self._token] = self

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> BackendRegistry:
        """Create a registry from a TOML file.

        For example:

            [backends.raw]            # registry.add("raw", "disk", root="/mnt/raw")
            backend = "disk"
            root = "/mnt/raw"

            [prefer]                  # BackendRegistry(prefer={"disk": "acme-disk"})
            disk = "acme-disk"

        Raises:
            DamagedDataError: The file is not TOML.
            UnknownOptionError: It has another table than ``backends`` and ``prefer``.
            InvalidOptionError: A table has a value of the wrong type.
        """
        import tomllib

        from ..files.system import regular_only

        try:
            with open(path, "rb", opener=regular_only) as file:
                document = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise DamagedDataError(str(error), "toml", os.fspath(path)) from error
        # Checked before anything is added, so that a typing error does not leave half a registry.
        for section, content in document.items():
            if section not in ("backends", "prefer"):
                raise UnknownOptionError(section, os.fspath(path), ("backends", "prefer"))
            kind = dict if section == "backends" else str
            if not isinstance(content, dict) or not _all(content.values(), kind):
                raise InvalidOptionError(section, content, f"a table of {kind.__name__} values")
        registry = cls(prefer=document.get("prefer"))
        for name, options in document.get("backends", {}).items():
            backend = options.pop("backend", None)
            if not isinstance(backend, str):
                expected = 'a str for the key backend, such as backend = "disk"'
                raise InvalidOptionError(f"backends.{name}", options, expected)
            registry.add(name, backend, **options)
        return registry

    def add(self, name: str, backend: str | Backend, /, **options: Option) -> None:
        """Add a backend under a name of your choice.

        For example:

            registry.add("raw", "disk", root="/mnt/raw")
            registry.add("shelf", ShelfBackend(path="a.shelf"))

        Args:
            name: A new name.
            backend: The name of a backend, or an instance that you have created. You must close
                such an instance yourself. It is pickled with the registry.
            **options: Options of the backend, if it is a name. A relative path starts at the
                working folder of this call, also in other processes.

        Raises:
            InvalidOptionError: The name is used already, or an instance was given options.
            PluginError: The backend cannot be used, or needs another option.
            UnknownOptionError: The backend does not have an option.
        """
        name = self._check_name("registry.add", name)
        if name in self:
            raise InvalidOptionError("name", name, "a name that is not in use")
        if isinstance(backend, Backend):
            _check_no_options(name, options)
            self._adopt(name, backend)
            return
        if isinstance(backend, ByteStore):
            expected = "a backend: write FileBackend(store)"
            raise InvalidOptionError("backend", backend, expected)
        backend = self._check_name("registry.add", backend, "or an instance of one")
        declaration = self._declaration(backend)
        # The class is imported now, so that a wrong option is an error here and not at first use.
        cls = discovery.load_target(declaration)
        check_options(cls, options, f"backend {backend!r}")
        _check_required(declaration, cls, options)
        self._configured[name] = (backend, options, working_folder())

    def _adopt(self, name: str, backend: Backend) -> None:
        """Add an instance. If it is in another registry already, it keeps its context."""
        if backend.context.owner() is None:
            backend.context = self._context(backend.name or name)
        self._given[name] = backend

    def _context(self, name: str) -> Context:
        # Weak, because a cycle would leave unused backends open until the collector runs.
        return Context(name, self.formats, self._restored, ref(self))

    def __getitem__(self, name: str) -> Backend:
        """Return the backend ``name``. It is created when it is used first."""
        name = self._check_name("registry.__getitem__", name)
        found = self._instances.get(name)
        if found is None:
            found = self._given.get(name)
        if found is None:
            # Two threads may both create one. setdefault keeps the first for both.
            found = self._instances.setdefault(name, self._make(name))
        return found

    def _check_name(self, operation: str, name: object, place: str = "") -> str:
        """Return ``name`` as a plain ``str``. ``place`` is for the error: where to give a name."""
        if isinstance(name, str) and name:
            return plain_name(name)
        got = "" if name is None else show_value(name)
        raise BackendRequiredError(operation, tuple(self.names()), place, got)

    def _make(self, name: str) -> Backend:
        target, options, folder = self._configured.get(name, (name, {}, ""))
        declaration = self._declaration(target)
        cls = discovery.load_target(declaration)
        _check_required(declaration, cls, options)
        # An error of a backend with options may be about an option, and no mistake of its author.
        passed: type[Exception] = Exception if options else OSError
        with discovery.guard(declaration, PolystoreError, passed), relative_to(folder):
            backend: Backend = cls.with_context(self._context(name), **options)
        return backend

    def _declaration(self, name: str) -> Declaration:
        """Return the distribution, or the class of this process, that provides ``name``."""
        plain = name.rpartition(":")[2]
        mine = [
            Declaration(
                "backend", plain, f"{cls.__module__}.{cls.__qualname__}", "", "", local=cls
            )
            for cls in local.classes(plain)
        ]
        try:
            chosen = discovery.resolve("backend", name, self.prefer, mine)
        except UnknownPluginError as error:
            known = tuple(sorted({*error.known, *self.names()}))
            raise UnknownPluginError("backend", name, known) from None
        # A full name or ``prefer`` is a decision of the user, which needs no warning.
        if chosen.local is None and name == plain and plain not in self.prefer:
            for ignored in mine:
                _log_ignored(ignored, chosen)
        return chosen

    def source(self, name: str, path: Path, options: Mapping[str, Option]) -> Source | None:
        """Return the call with which another process opens a stored array, or ``None``.

        It must be a file of this machine, and the backend must be installed. The option ``mode`` is
        left out, because the other process only reads.
        """
        from ..files.local import LocalStore  # not at the top: many programs do not need it

        store = getattr(self[name], "store", None)
        target, *_ = self._configured.get(name, (name, {}, ""))
        # An instance of the user cannot be created again in another process.
        if not isinstance(store, LocalStore) or name in self._given:
            return None
        if not all(isinstance(option, _PLAIN) for option in options.values()):
            return None
        if self._declaration(target).local is not None:
            return None
        full = os.path.abspath(os.path.join(store.root or "", os.fspath(path)))
        reading = {key: option for key, option in options.items() if key != "mode"}
        return Source(backend=target, path=full, options=reading)

    def _forget_versions_of(self, cls: type[Value]) -> None:
        """Close the instances of older versions of a class that was defined again."""
        with ExitStack() as closing:
            for name, made in list(self._instances.items()):
                made_from: Any = type(made)
                if made_from is not cls and local.identity(made_from) == local.identity(cls):
                    closing.callback(self._instances.pop(name).close)
            self._calls.clear()

    def class_of(self, name: str) -> type[Backend]:
        """Return the class of a backend, also of one that cannot be made without options."""
        if name in self._given:
            return type(self._given[name])
        target, *_ = self._configured.get(name, (name, {}, ""))
        cls: type[Backend] = discovery.load_target(self._declaration(target))
        return cls

    def names(self) -> list[str]:
        """Return the names of all backends that can be used, without importing them."""
        installed = discovery.names("backend", self.prefer)
        return sorted({*self._configured, *self._given, *installed, *local.names()})

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        name = plain_name(name)
        return (
            name in self._configured
            or name in self._given
            or discovery.is_declared("backend", name, self.prefer)
            or bool(local.classes(name))
        )

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def close(self) -> None:
        """Close every backend that was created here. Using its name again creates a new one."""
        self._calls.clear()
        with ExitStack() as closing:  # closes the others if one fails
            while self._instances:
                closing.callback(self._instances.popitem()[1].close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Value, ...]:
        # Checked one by one, because the error of pickle itself does not name the backend.
        for name, backend in self._given.items():
            _check_pickles(name, backend)
        return _restore, (self._token, self.prefer, self._configured, self._given)

    def __repr__(self) -> str:
        return f"<BackendRegistry: {join_some(self.names()) or 'no backends installed'}>"


def _all(values: Iterable[object], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


_registries: WeakValueDictionary[str, BackendRegistry] = WeakValueDictionary()


def _restore(
    token: str,
    prefer: dict[str, str],
    configured: dict[str, _Configured],
    given: dict[str, Backend],
) -> BackendRegistry:
    """Unpickle a registry: the same one in the process that created it, else an equal one."""
    registry = _registries.get(token)
    if registry is None:
        registry = BackendRegistry(prefer=prefer)
        registry._configured = configured
        registry._token, registry._restored = token, True
        for name, backend in given.items():
            registry._adopt(name, backend)
        _registries[token] = registry
    return registry


def _check_pickles(name: str, backend: Backend) -> None:
    """Raise ``UnsupportedOperationError`` for an instance that cannot be pickled."""
    import pickle

    try:
        pickle.dumps(backend)
    except Exception as error:
        reason = (
            f"you added an instance, and it cannot be pickled ({describe_error(error)}). Add the "
            f"name of its plugin with its options, registry.add({name!r}, '…', …), and each "
            "process makes its own instance"
        )
        raise UnsupportedOperationError(name, "pickling", reason) from error


def _forget_versions_of(cls: type[Value]) -> None:
    for registry in list(_registries.values()):
        registry._forget_versions_of(cls)


local.listeners.append(_forget_versions_of)


def _check_required(
    declaration: Declaration, cls: type[Value], options: Mapping[str, Option]
) -> None:
    missing = tuple(option for option in find_required_options(cls) if option not in options)
    if missing:
        raise MissingOptionError(
            declaration.kind, declaration.name, declaration.distribution, missing
        )


def _check_no_options(name: str, options: Mapping[str, Option]) -> None:
    if options:
        given = ", ".join(f"{option}=…" for option in options)
        fault = f"backend {name!r} is an instance: give {given} where you make it"
        raise InvalidOptionError("backend", name, "a name, to give options", fault)


def _log_ignored(ignored: Declaration, chosen: Declaration) -> None:
    """Log that a class of a notebook is not used. An error would make the name useless."""
    import logging

    logging.getLogger("polystore").warning(
        "backend %r is provided by %s: class %s is ignored. To use the class: %s",
        chosen.name,
        chosen.distribution,
        ignored.distribution,
        show_preference(chosen.name, ignored.distribution),
    )


class FormatRegistry:
    """Formats by suffix. Each is imported when its suffix is used first.

    For example:

        FormatRegistry().of("cells.ome.tif").name  # "tiff"
    """

    def __init__(self, *, prefer: Mapping[str, str] | None = None) -> None:
        self.prefer = check_prefer(prefer)
        self._by_suffix: dict[str, Format] = {}

    def of(self, path: str | os.PathLike[str], *, backend: str = "") -> Format:
        """Return the format of the longest known suffix of ``path``. Case is ignored.

        Args:
            path: A path. The file need not exist.
            backend: Name of the backend, for the error.

        Raises:
            UnsupportedFormatError: The path has no suffix, or an unknown one.
            PluginError: The format is installed, but it cannot be used.
        """
        name = os.fspath(path).rpartition("/")[2]
        suffix = name.partition(".")[2]
        found = self._by_suffix.get(suffix)
        return found if found is not None else self._find(suffix.lower(), path, backend)

    def names(self) -> list[str]:
        """Return every suffix that can be asked for, without importing anything."""
        return discovery.names("format", self.prefer)

    def _find(self, suffix: str, path: str | os.PathLike[str], backend: str) -> Format:
        while suffix:
            found = self._by_suffix.get(suffix)
            if found is not None:
                return found
            try:
                return self._by_suffix.setdefault(suffix, self._make(suffix))
            except UnknownPluginError:  # "ome.tif" is longer than "tif", so drop the first part
                suffix = suffix.partition(".")[2]
        raise UnsupportedFormatError(os.fspath(path), tuple(self.names()), backend)

    def _make(self, suffix: str) -> Format:
        declaration = discovery.resolve("format", suffix, self.prefer)
        target = discovery.load_target(declaration)
        with discovery.guard(declaration):
            made: Format = target()
        return made

    def __reduce__(self) -> tuple[Value, ...]:
        return _formats_for, (self.prefer,)

    def __repr__(self) -> str:
        return f"<FormatRegistry: {', '.join(self.names())}>"


@functools.cache
def formats() -> FormatRegistry:
    """Return the formats of this process.

    In a backend use those of its registry, which follow its ``prefer``:

        format = (self.context.formats or formats()).of(path)
    """
    return FormatRegistry()


def _formats_for(prefer: Mapping[str, str]) -> FormatRegistry:
    """Return the shared formats, or formats of their own for a registry with ``prefer``."""
    return FormatRegistry(prefer=prefer) if prefer else formats()
