"""``Context``: the name of a backend, the other backends, and the formats of the user."""

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
    """A registry as its backends see it: a mapping from names to backends."""

    def __getitem__(self, name: str, /) -> DataSource | DataSink: ...

    def __contains__(self, name: object, /) -> bool: ...

    def names(self) -> list[str]:
        """Return the names of all backends that can be used."""
        ...


class Formats(Protocol):
    """A registry of formats as backends see it."""

    def of(self, path: str | os.PathLike[str], *, backend: str = "") -> Format:
        """Return the format of the suffix of ``path``. ``backend`` is for the error."""
        ...


def _no_registry() -> None:
    return None


# A context variable and not a global: other threads and tasks may create other backends now.
_WAITING: ContextVar[tuple[tuple[int, str], ...]] = ContextVar("waiting", default=())
"""The registries and names of backends whose ``__init__`` waits for another backend."""


@dataclass(frozen=True, slots=True)
class Context:
    """The name of a backend, its registry and the formats. ``__init__`` can use it already.

    For example, in a backend that wraps another one:

        def __init__(self, *, inner: str = "disk") -> None:
            self._inner = self.context.registry[inner]
    """

    name: str = ""
    """The name under which users call the backend. Empty if you created it yourself."""
    formats: Formats | None = None
    """The formats that the user prefers. ``None`` if you created the backend yourself."""
    restored: bool = False
    """Whether the registry was unpickled in this process."""
    owner: Callable[[], Backends | None] = field(default=_no_registry, repr=False)
    """Returns the registry, or ``None`` if it no longer exists.

    It is a weak reference. A backend that kept its registry alive would be a cycle, and all values
    in memory would wait for the garbage collector.
    """

    @property
    def registry(self) -> Backends:
        """The other backends by name, for a backend that uses them.

        Raises:
            InvalidOptionError: You created the backend yourself, or its registry does not exist
                any more.
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
        """Return a store of bytes for an option that is a store, or the name of a backend.

        Call it in ``__init__``, so that a wrong name is an error before anything is written:

            def __init__(self, *, store: ByteStore | str = "disk") -> None:
                self._store = self.context.store(store)

        Args:
            given: A store, or the name of a backend whose attribute ``store`` is a ``ByteStore``.
                Every ``FileBackend`` has one, and so has ``memory``.

        Returns:
            The store. You do not close it: its owner does.

        Raises:
            UnknownPluginError: No backend has this name.
            UnsupportedOperationError: The backend has no store.
            InvalidOptionError: The value is not a store or a name, or the names form a circle.
        """
        from .store import ByteStore  # not at the top, because it imports this module

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
        """Return the backend ``given``. Raises if that backend is waiting for this one."""
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
        # Without the owner: a registry sets it again when it is unpickled with its backends.
        return Context, (self.name, self.formats, True)
