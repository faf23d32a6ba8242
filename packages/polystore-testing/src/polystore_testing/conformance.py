"""The base class of all test classes: the backend under test, and the rule for overrides."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from polystore_core import FileManager

if TYPE_CHECKING:
    from polystore_core import BackendRegistry, Value

__all__ = ["NAME", "Bound", "Conformance", "overrides"]

NAME = "under_test"
"""The name of the backend under test in the registry."""

Test = TypeVar("Test", bound=Callable[..., Any])


def overrides(reason: str) -> Callable[[Test], Test]:
    """Declare that a test replaces one of the kit, and give the reason."""

    def mark(test: Test) -> Test:
        test.__polystore_reason__ = reason  # type: ignore[attr-defined]
        return test

    return mark


class Bound:
    """A ``FileManager`` with a fixed ``backend=``, for ``store.save(value, path)``."""

    def __init__(self, manager: FileManager, backend: str = NAME) -> None:
        self.manager = manager
        self.backend = backend

    def __getattr__(self, operation: str) -> Callable[..., Value]:
        return functools.partial(getattr(self.manager, operation), backend=self.backend)

    # Without it, pickle makes an empty object and looks for `__setstate__`. Then
    # `__getattr__` looks for `manager`, which is missing too, and calls itself until the
    # stack is full.
    def __reduce__(self) -> tuple[Value, ...]:
        return Bound, (self.manager, self.backend)

    @property
    def instance(self) -> Value:
        """The backend instance."""
        return self.manager.registry[self.backend]


class Conformance:
    """Base of the test classes. Supply ``registry``, which knows the backend as ``NAME``."""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for name, member in vars(cls).items():
            # A test that replaces another by accident, for example after a renaming of the kit,
            # would hide a promise without a word.
            inherited = any(name in vars(base) for base in cls.__mro__[1:])
            if name.startswith("test") and inherited and not _is_declared(member):
                raise TypeError(
                    f"{cls.__name__}.{name} replaces a test of the kit without a reason: "
                    'decorate it with @overrides("the reason")'
                )

    @pytest.fixture
    def registry(self) -> BackendRegistry:
        """Return a registry that knows the backend under test as ``NAME``. Supply it."""
        raise NotImplementedError(
            "there is no fixture `registry`: supply one that knows the backend as NAME"
        )

    @pytest.fixture
    def store(self, registry: BackendRegistry) -> Bound:
        """Return the backend under test, as callers use it."""
        return Bound(FileManager(registry))


def _is_declared(member: object) -> bool:
    return bool(getattr(member, "__polystore_reason__", ""))
