"""What sources and sinks share: a name, a context, and capabilities that follow from methods."""

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


class BackendBase(ABC):  # noqa: B024 - what is abstract differs by direction
    """What sources and sinks share."""

    _backend_type: ClassVar[str] = ""
    """Makes a class usable by this name in the process that defines it."""
    _operations: ClassVar[tuple[str, ...]] = ()

    context: Context = Context()
    """Its name, the registry and the formats. Set before ``__init__`` runs."""

    def __init_subclass__(cls, **options: Option) -> None:
        super().__init_subclass__(**options)
        if vars(cls).get("_backend_type"):
            local.define(cls)

    @classmethod
    def with_context(cls, context: Context, **options: Option) -> Self:
        """Make a backend as registries do: ``context`` is there when ``__init__`` runs."""
        backend = cls.__new__(cls, **options)
        backend.context = context
        cls.__init__(backend, **options)
        return backend

    @property
    def name(self) -> str:
        """The name that users call this backend by. Every error has it."""
        return self.context.name

    @property
    def capabilities(self) -> Capabilities:
        """The operations that this backend has, derived from the methods that it implements.

        Override it if instances of one class differ, such as those that are made of others.
        """

        def has(operation: str) -> bool:
            needs = getattr(getattr(self, operation), "__polystore_needs__", ())
            return operation not in needs and all(map(has, needs))

        names = {
            name for cls in type(self).__mro__ for name in vars(cls).get("_operations", ())
        }
        return Capabilities(frozenset(filter(has, names)))

    def _identity(self, path: Path) -> Hashable:
        """Return the same for two paths of one value. Override it where paths have aliases."""
        return plain_path(path)

    def _check_can(self, operation: str) -> None:
        """Refuse an operation of several steps before its first step, not in the middle."""
        if operation not in self.capabilities:
            raise self._cannot(operation)

    def _cannot(self, operation: str) -> UnsupportedOperationError:
        return UnsupportedOperationError(self.name, operation)

    def close(self) -> None:  # noqa: B027 - most backends hold nothing
        """Give back what the backend holds."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name or self._backend_type!r}>"
