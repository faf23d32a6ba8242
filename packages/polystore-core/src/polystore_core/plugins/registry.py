"""Names to instances: backends by the name a call gives, formats by a path's suffix."""

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
"""The name of a backend, its options, and the folder in which their relative paths start."""
_PLAIN = (str, int, float, NoneType)


class BackendRegistry:
    """Backends by name, each made once, when it is first used.

    Names come from installed distributions, from ``StorageBackend`` subclasses of this process
    with ``_backend_type``, and from ``add``. When such a class is defined again, its instance is
    closed, and the next call makes one of the new class. A registry pickles as its
    configuration: another process makes backends of its own.

    Each backend gets its name, this registry and its formats as a ``Context``.
    """

    prefer: Mapping[str, str]
    """Which distribution provides a backend, or a format, that several declare.

    For a class of this process, give its full name: ``{"shelf": "__main__.Shelf"}``.
    """
    formats: FormatRegistry
    """The formats of the backends that this registry makes, chosen by ``prefer``."""

    def __init__(self, *, prefer: Mapping[str, str] | None = None) -> None:
        self.prefer = check_prefer(prefer)
        self.formats = _formats_for(self.prefer)
        self._configured: dict[str, _Configured] = {}
        self._instances: dict[str, Backend] = {}
        """Made here, and closed here."""
        self._given: dict[str, Backend] = {}
        """Made by users, who close them."""
        self._calls: dict[tuple[str, str], Callable[..., Any]] = {}
        self._restored = False
        self._token = os.urandom(16).hex()
        _registries[self._token] = self

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> BackendRegistry:
        """Return the registry that a TOML file describes.

        A table of ``backends`` has the options of ``add``, and ``prefer`` is that of the class::

            [backends.raw]            # registry.add("raw", "disk", root="/mnt/raw")
            backend = "disk"
            root = "/mnt/raw"

            [prefer]                  # BackendRegistry(prefer={"disk": "acme-disk"})
            disk = "acme-disk"
        """
        import tomllib

        from ..files.system import regular_only

        try:
            with open(path, "rb", opener=regular_only) as file:
                document = tomllib.load(file)
        except tomllib.TOMLDecodeError as error:
            raise DamagedDataError(str(error), "toml", os.fspath(path)) from error
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
        """Call ``backend`` with ``options`` (``root=…``) by a ``name`` of your own.

        ``backend`` is a name, or an instance that you made, without ``options``. Only you close
        such an instance. If a registry with instances is pickled, it pickles them. A relative
        path among ``options`` means the working directory of this call, in other processes too.

        Raises ``InvalidOptionError`` for a name that is taken, ``PluginError`` for an unusable
        backend or a missing option, and ``UnknownOptionError`` for one that it does not have.
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
        cls = discovery.load_target(declaration)
        check_options(cls, options, f"backend {backend!r}")
        _check_required(declaration, cls, options)
        self._configured[name] = (backend, options, working_folder())

    def _adopt(self, name: str, backend: Backend) -> None:
        """Take an instance. One that is in another registry keeps the context of that."""
        if backend.context.owner() is None:
            backend.context = self._context(backend.name or name)
        self._given[name] = backend

    def _context(self, name: str) -> Context:
        return Context(name, self.formats, self._restored, ref(self))

    def __getitem__(self, name: str) -> Backend:
        """Return the backend ``name``, made on first use."""
        name = self._check_name("registry.__getitem__", name)
        found = self._instances.get(name)
        if found is None:
            found = self._given.get(name)
        if found is None:
            # Two threads may both make one: setdefault keeps the first for everybody.
            found = self._instances.setdefault(name, self._make(name))
        return found

    def _check_name(self, operation: str, name: object, place: str = "") -> str:
        """Return ``name`` as a plain ``str``. ``place`` says where a call may give it."""
        if isinstance(name, str) and name:
            return plain_name(name)
        got = "" if name is None else show_value(name)
        raise BackendRequiredError(operation, tuple(self.names()), place, got)

    def _make(self, name: str) -> Backend:
        target, options, folder = self._configured.get(name, (name, {}, ""))
        declaration = self._declaration(target)
        cls = discovery.load_target(declaration)
        _check_required(declaration, cls, options)
        passed: type[Exception] = Exception if options else OSError  # the options may be wrong
        with discovery.guard(declaration, PolystoreError, passed), relative_to(folder):
            backend: Backend = cls.with_context(self._context(name), **options)
        return backend

    def _declaration(self, name: str) -> Declaration:
        """Choose the distribution, or the class of this process, that provides ``name``."""
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
        if chosen.local is None and name == plain and plain not in self.prefer:
            for ignored in mine:
                _log_ignored(ignored, chosen)
        return chosen

    def source(self, name: str, path: Path, options: Mapping[str, Option]) -> Source | None:
        """Return how another process opens what ``open`` opens here; ``None`` if none can.

        That is a file of this machine, in a backend that is installed, under its own options.
        The other process only reads, so ``mode`` is not among them.
        """
        from ..files.local import LocalStore  # programs without files do without it

        store = getattr(self[name], "store", None)
        target, *_ = self._configured.get(name, (name, {}, ""))
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
        """Close the instances of a class that was defined before and is defined again now."""
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
        """Return every name that can be asked for, without importing anything."""
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
        """Close every backend that was made here; a later use of its name makes a new one."""
        self._calls.clear()
        with ExitStack() as closing:  # one that fails must not keep the others open
            while self._instances:
                closing.callback(self._instances.popitem()[1].close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Value, ...]:
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
    """Unpickle: the same registry in the process that made it, its like in another one."""
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
    """Raise ``UnsupportedOperationError`` for an instance that cannot go to another process."""
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
    """Tell a notebook why its class is not used. An error would take the name away."""
    import logging

    logging.getLogger("polystore").warning(
        "backend %r is provided by %s: class %s is ignored. To use the class: %s",
        chosen.name,
        chosen.distribution,
        ignored.distribution,
        show_preference(chosen.name, ignored.distribution),
    )


class FormatRegistry:
    """Formats by suffix, each imported when its suffix is first asked for."""

    def __init__(self, *, prefer: Mapping[str, str] | None = None) -> None:
        self.prefer = check_prefer(prefer)
        self._by_suffix: dict[str, Format] = {}

    def of(self, path: str | os.PathLike[str], *, backend: str = "") -> Format:
        """Return the format of the longest suffix of ``path`` that is known; case is ignored.

        Raises ``UnsupportedFormatError`` for no suffix or an unknown one, ``PluginError`` for
        a format that is installed but not usable.
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
            except UnknownPluginError:
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
    """Return the formats of this process, without a preference.

    A backend uses those of its registry: ``self.context.formats or formats()``.
    """
    return FormatRegistry()


def _formats_for(prefer: Mapping[str, str]) -> FormatRegistry:
    """Return formats that are shared wherever nobody prefers one: they keep no state."""
    return FormatRegistry(prefer=prefer) if prefer else formats()
