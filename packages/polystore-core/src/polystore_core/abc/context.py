"""A backend's surroundings: its name, the other backends, the formats that the user prefers."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..errors import InvalidOptionError, UnsupportedOperationError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ..values import Value
    from .backend import DataSink, DataSource
    from .format import Format
    from .store import ByteStore

__all__ = ["Backends", "Context", "Formats"]


class Backends(Protocol):
    """A registry as its backends see it: names to backends."""

    def __getitem__(self, name: str, /) -> DataSource | DataSink: ...

    def __contains__(self, name: object, /) -> bool: ...

    def names(self) -> list[str]: ...


class Formats(Protocol):
    """A registry of formats as backends see it."""

    def of(self, path: str | os.PathLike[str], *, backend: str = "") -> Format: ...


def _no_registry() -> None:
    return None


_WAITING: ContextVar[tuple[tuple[int, str], ...]] = ContextVar("waiting", default=())
"""The backends, each with the identity of its registry, that wait for one they are made of."""


@dataclass(frozen=True, slots=True)
class Context:
    """The surroundings of a backend: ``self.context``, already there in ``__init__``."""

    name: str = ""
    """The name that users call the backend by. Empty if you made the backend yourself."""
    formats: Formats | None = None
    """The formats that the user prefers; ``None`` if you made the backend yourself."""
    restored: bool = False
    """Whether the registry came into this process by pickle."""
    owner: Callable[[], Backends | None] = field(default=_no_registry, repr=False)
    """Returns the registry while it lives. A backend that kept its registry alive would leave
    both, and all values in memory, to the garbage collector."""

    @property
    def registry(self) -> Backends:
        """The other backends by name, for a backend that is made of others.

        Raises ``InvalidOptionError`` if you made the backend yourself, or if its registry no longer
        exists.
        """
        registry = self.owner()
        if registry is None:
            fault = (
                f"backend {self.name!r} has no registry, so it cannot use other backends. Add it "
                "to one, registry.add('my_name', backend), and keep the registry"
            )
            raise InvalidOptionError("context", self, "a context with a registry", fault)
        return registry

    def store(self, given: ByteStore | str) -> ByteStore:
        """Return a store of bytes, or the store of the backend with the name ``given``.

        For a backend that is made of a store, and takes it as an option::

            def __init__(self, *, store: ByteStore | str = "disk") -> None:
                self._store = self.context.store(store)

        A backend has a store if its attribute ``store`` is a :class:`ByteStore`, as in every
        ``FileBackend`` and in ``memory``. Call it in ``__init__``: a wrong name is then an error
        before anything is written. The backend ``given`` closes its store.

        Raises ``UnknownPluginError`` and other errors of the registry for a name that it does not
        have, ``UnsupportedOperationError`` for a backend without a store, and
        ``InvalidOptionError`` for anything else.
        """
        from .store import ByteStore  # which imports this module

        if isinstance(given, ByteStore):
            return given
        if not isinstance(given, str) or given == self.name:
            expected = "a ByteStore, or the name of another backend that has one"
            raise InvalidOptionError("store", given, expected)
        found = getattr(self._find_backend(given), "store", None)
        if isinstance(found, ByteStore):
            return found
        reason = 'it has no store of bytes: name a backend that has one, such as "disk"'
        raise UnsupportedOperationError(given, "store=", reason)

    def _find_backend(self, given: str) -> object:
        """Return the backend ``given``, unless it is being made of this one."""
        registry, waiting = self.registry, _WAITING.get()
        if (id(registry), given) in waiting:
            names = [name for _, name in waiting] + [self.name, given]
            fault = f"store= leads in a circle: {' → '.join(names[names.index(given) :])}"
            raise InvalidOptionError("store", given, "a backend with a store of its own", fault)
        token = _WAITING.set((*waiting, (id(registry), self.name)))
        try:
            return registry[given]
        finally:
            _WAITING.reset(token)

    def __reduce__(self) -> tuple[type[Context], tuple[Value, ...]]:
        return Context, (self.name, self.formats, True)
