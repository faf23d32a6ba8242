"""A backend's surroundings: its name, the other backends, the formats that the user prefers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from ..errors import InvalidOptionError

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from ..values import Value
    from .backend import DataSink, DataSource
    from .format import Format

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

        Raises ``InvalidOptionError`` if you made the backend yourself, or if nobody holds its
        registry any more.
        """
        registry = self.owner()
        if registry is None:
            fault = (
                f"backend {self.name!r} has no registry, so it reaches no other backend. Add it "
                "to one, registry.add('my_name', backend), and keep the registry"
            )
            raise InvalidOptionError("context", self, "a context with a registry", fault)
        return registry

    def __reduce__(self) -> tuple[type[Context], tuple[Value, ...]]:
        return Context, (self.name, self.formats, True)
