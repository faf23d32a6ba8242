"""Backends that this process defines: the newest version of each class with ``_backend_type``."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from ..errors import InvalidOptionError
from ..values import name_fault, plain_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..values import Value

__all__ = ["classes", "define", "identity", "listeners", "names"]

# Locks: _lock guards _classes, because a dict cannot be iterated while a class is added.
# Values are weak: a class that a notebook cell replaces is freed with its last instance.
_lock = threading.Lock()
_classes: dict[str, WeakValueDictionary[tuple[str, str, str], type[Any]]] = {}

listeners: list[Callable[[type[Any]], None]] = []
"""Called with each new class, because registries hold instances of its older versions."""


def identity(cls: type[Value]) -> tuple[str, str, str]:
    """Return a key that is the same for a class and for its older versions in a notebook."""
    return getattr(cls, "_backend_type", ""), cls.__module__, cls.__qualname__


def define(cls: type[Value]) -> None:
    """Make a class available under its ``_backend_type``. It replaces its previous version.

    Raises:
        InvalidOptionError: The name is not a str, or is not valid as the name of a backend.
    """
    # Checked when the class is defined, where its author sees the error.
    name: Any = cls._backend_type
    if not isinstance(name, str):
        raise InvalidOptionError("_backend_type", name, "a str, the name of the backend")
    fault = name_fault("backend", name) if name else ""
    if fault:
        raise InvalidOptionError("_backend_type", name, f"another name: {fault}")
    if name:
        cls._backend_type = plain_name(name)
        with _lock:
            _classes.setdefault(cls._backend_type, WeakValueDictionary())[identity(cls)] = cls
        for listener in listeners:
            listener(cls)


def classes(name: str) -> list[type[Value]]:
    """Return the classes that have this name. More than one is a conflict."""
    with _lock:
        found = dict(_classes.get(name, {}))
    return [found[key] for key in sorted(found)]


def names() -> set[str]:
    """Return the names of all classes."""
    with _lock:
        return {name for name, classes in _classes.items() if classes}
