"""The base class of sources and sinks: their name, context and capabilities."""

from __future__ import annotations

import os
from abc import ABC
from collections.abc import Hashable
from typing import ClassVar, Self, TypeAlias

from ..errors import UnsupportedOperationError
from ..values import Capabilities, Option
from ..work import plain_path
from . import local
from .context import Context

__all__ = ["BackendBase", "Path"]

Path: TypeAlias = "str | os.PathLike[str]"


class BackendBase(ABC):  # noqa: B024 - sources and sinks have abstract methods of their own
    """The base class of sources and sinks."""

    _backend_type: ClassVar[str] = ""
    """If set, this process can use the class under this name, without a plugin."""
    _operations: ClassVar[tuple[str, ...]] = ()

    context: Context = Context()
    """The name of the backend, its registry and the formats. Set before ``__init__`` runs."""

    def __init_subclass__(cls, **options: Option) -> None:
        super().__init_subclass__(**options)
        if vars(cls).get("_backend_type"):
            local.define(cls)

    @classmethod
    def with_context(cls, context: Context, **options: Option) -> Self:
        """Create a backend as a registry does, so that ``__init__`` can use ``context``.

        Args:
            context: The name, the registry and the formats.
            **options: The options of ``__init__``.
        """
        # Not an argument of __init__, because authors override that without passing it on.
        backend = cls.__new__(cls, **options)
        backend.context = context
        cls.__init__(backend, **options)
        return backend

    @property
    def name(self) -> str:
        """The name under which users call this backend. Every error contains it."""
        return self.context.name

    @property
    def capabilities(self) -> Capabilities:
        """The operations that this backend has, found from the methods that it implements.

        Override it if the instances of a class differ, for example if they wrap other backends.
        """

        def has(operation: str) -> bool:
            needs = getattr(getattr(self, operation), "__polystore_needs__", ())
            return operation not in needs and all(map(has, needs))

        names = {
            name for cls in type(self).__mro__ for name in vars(cls).get("_operations", ())
        }
        return Capabilities(frozenset(filter(has, names)))

    def _identity(self, path: Path) -> Hashable:
        """Return the same for two paths of one value. Override it if paths have aliases."""
        return plain_path(path)

    def _check_can(self, operation: str) -> None:
        """Raise before the first step of an operation that has several, not in the middle."""
        if operation not in self.capabilities:
            raise self._cannot(operation)

    def _cannot(self, operation: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(self.name, operation)

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Release the files, connections and threads of the backend."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or self._backend_type!r}>"
