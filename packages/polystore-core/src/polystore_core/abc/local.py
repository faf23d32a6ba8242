"""Backends of this process: classes with ``_backend_type``, the newest version of each."""

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

_lock = threading.Lock()
"""Guards ``_classes``: it cannot be iterated while a class is added."""
_classes: dict[str, WeakValueDictionary[tuple[str, str, str], type[Any]]] = {}

listeners: list[Callable[[type[Any]], None]] = []
"""Called with each class that is defined: registries hold instances of older versions."""


def identity(cls: type[Value]) -> tuple[str, str, str]:
    """Return what a class has in common with the version that a notebook cell made before."""
    return getattr(cls, "_backend_type", ""), cls.__module__, cls.__qualname__


def define(cls: type[Value]) -> None:
    """Make a class usable by its ``_backend_type``, in place of its previous version.

    Raises ``InvalidOptionError`` for a name that is not a str, or that nobody can ask for.
    """
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
    """Return the classes that have this name: more than one is a conflict."""
    with _lock:
        found = dict(_classes.get(name, {}))
    return [found[key] for key in sorted(found)]


def names() -> set[str]:
    """Return the names of all classes."""
    with _lock:
        return {name for name, classes in _classes.items() if classes}
