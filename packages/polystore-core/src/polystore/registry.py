"""Names to instances: backends by the name a call gives, formats by a path's suffix."""

from __future__ import annotations

import functools
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakValueDictionary

from . import plugins
from .abc.backend import DataSink, DataSource
from .abc.format import Format
from .errors import (
    BackendRequiredError,
    BrokenPluginError,
    DamagedDataError,
    InvalidOptionError,
    PluginConflictError,
    UnknownOptionError,
    UnknownPluginError,
    UnsupportedFormatError,
)
from .options import check_options

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

__all__ = ["BackendRegistry", "FormatRegistry", "formats"]

Backend = DataSource | DataSink


class BackendRegistry:
    """Backends by name, each made once, when it is first used.

    Names come from installed distributions, from ``StorageBackend`` subclasses of this process
    with ``_backend_type``, and from ``add``. A registry pickles as its configuration: another
    process makes backends of its own.
    """

    prefer: Mapping[str, str]
    """Which distribution provides a name that several declare."""

    def __init__(self, *, prefer: Mapping[str, str] | None = None) -> None:
        self.prefer = dict(prefer or {})
        self._configured: dict[str, tuple[str, dict[str, Any]]] = {}
        self._instances: dict[str, Backend] = {}
        self._calls: dict[tuple[str, str], Callable[..., Any]] = {}
        self._restored = False
        self._token = os.urandom(16).hex()
        _registries[self._token] = self

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> BackendRegistry:
        """Read a TOML file::

        [backends.raw]            # registry.add("raw", "disk", root="/mnt/raw")
        backend = "disk"
        root = "/mnt/raw"

        [prefer]                  # BackendRegistry(prefer={"disk": "acme-disk"})
        disk = "acme-disk"
        """
        import tomllib

        from .files import regular_only

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
                raise InvalidOptionError(f"backends.{name}", options, "a text 'backend'")
            registry.add(name, backend, **options)
        return registry

    def add(self, name: str, backend: str, /, **options: Any) -> None:
        """Call ``backend`` with ``options`` (``root=…``) by a ``name`` of your own.

        Raises ``InvalidOptionError`` for a name that is taken, ``PluginError`` for an unusable
        backend and ``UnknownOptionError`` for an option that it does not have.
        """
        if name in self:
            raise InvalidOptionError("name", name, "a name that no backend has yet")
        check_options(self._class(backend), options, f"backend {backend!r}")
        self._configured[name] = (backend, options)

    def __getitem__(self, name: str) -> Backend:
        """Return the backend ``name``, made on first use."""
        found = self._instances.get(name)
        if found is None:
            # Two threads may both make one: setdefault keeps the first for everybody.
            found = self._instances.setdefault(name, self._make(name))
        return found

    def _make(self, name: str) -> Backend:
        target, options = self._configured.get(name, (name, {}))
        backend: Backend = self._class(target)(**options)
        backend.name, backend.restored = name, self._restored
        return backend

    def _class(self, name: str) -> type[Any]:
        if not isinstance(name, str) or not name:
            raise BackendRequiredError("the call", tuple(self.names()))
        local = _local_class(name)
        if local is not None:
            owner = plugins.owner("backend", name)
            if owner is None:
                return local
            if name not in self.prefer:  # no class takes a name over from a distribution
                raise PluginConflictError("backend", name, (owner, local.__module__))
        try:
            declaration = plugins.resolve("backend", name, self.prefer)
        except UnknownPluginError as error:
            known = tuple(sorted({*error.known, *self.names()}))
            raise UnknownPluginError("backend", name, known) from None
        target = plugins.load_target(declaration)
        if not issubclass(target, DataSource | DataSink):
            raise BrokenPluginError(
                "backend",
                name,
                declaration.distribution,
                declaration.version,
                f"{target.__qualname__} is neither a DataSource nor a DataSink",
            )
        return target

    def names(self) -> list[str]:
        """Return every name that can be asked for, without importing anything."""
        local = (cls._backend_type for cls in _subclasses(DataSource, DataSink))
        return sorted({*self._configured, *plugins.names("backend"), *filter(None, local)})

    def __contains__(self, name: object) -> bool:
        return name in self.names()

    def __iter__(self) -> Iterator[str]:
        return iter(self.names())

    def close(self) -> None:
        """Close every backend that was made; a later use of its name makes a new one."""
        self._calls.clear()
        with ExitStack() as closing:  # one that fails must not keep the others open
            while self._instances:
                closing.callback(self._instances.popitem()[1].close)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _restore, (self._token, self.prefer, self._configured)

    def __repr__(self) -> str:
        return f"<BackendRegistry: {', '.join(self.names()) or 'no backends installed'}>"


def _all(values: Iterable[object], kind: type) -> bool:
    return all(isinstance(value, kind) for value in values)


_registries: WeakValueDictionary[str, BackendRegistry] = WeakValueDictionary()


def _restore(
    token: str, prefer: dict[str, str], configured: dict[str, tuple[str, dict[str, Any]]]
) -> BackendRegistry:
    """Unpickle: the same registry in the process that made it, its like in another one."""
    registry = _registries.get(token)
    if registry is None:
        registry = BackendRegistry(prefer=prefer)
        registry._configured = configured
        registry._token, registry._restored = token, True
        _registries[token] = registry
    return registry


def _subclasses(*roots: type[Any]) -> Iterator[type[Any]]:
    for root in roots:
        for cls in root.__subclasses__():
            yield cls
            yield from _subclasses(cls)


def _local_class(name: str) -> type[Any] | None:
    """Find the class of this process with ``_backend_type = name``.

    A class that was defined again (a notebook cell that ran twice) replaces its predecessor;
    two different ones are a conflict.
    """
    found = {
        f"{cls.__module__}.{cls.__qualname__}": cls
        for cls in _subclasses(DataSource, DataSink)
        if vars(cls).get("_backend_type") == name
    }
    if len(found) > 1:
        raise PluginConflictError("backend", name, tuple(sorted(found)))
    return next(iter(found.values()), None)


class FormatRegistry:
    """Formats by suffix, each imported when its suffix is first asked for."""

    def __init__(self, *, prefer: Mapping[str, str] | None = None) -> None:
        self.prefer = dict(prefer or {})
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

    def _find(self, suffix: str, path: str | os.PathLike[str], backend: str) -> Format:
        while suffix:
            found = self._by_suffix.get(suffix)
            if found is not None:
                return found
            try:
                return self._by_suffix.setdefault(suffix, self._make(suffix))
            except UnknownPluginError:
                suffix = suffix.partition(".")[2]
        raise UnsupportedFormatError(os.fspath(path), tuple(plugins.names("format")), backend)

    def _make(self, suffix: str) -> Format:
        declaration = plugins.resolve("format", suffix, self.prefer)
        target = plugins.load_target(declaration)
        if not issubclass(target, Format):
            raise BrokenPluginError(
                "format",
                suffix,
                declaration.distribution,
                declaration.version,
                f"{target.__qualname__} is no Format",
            )
        made: Format = target()
        return made

    def __repr__(self) -> str:
        return f"<FormatRegistry: {', '.join(plugins.names('format'))}>"


@functools.cache
def formats() -> FormatRegistry:
    """Return the registry that backends of this process share: formats keep no state."""
    return FormatRegistry()
