"""Marks of methods, from which ``capabilities`` finds the operations that a backend has."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["mark_derived", "mark_refused"]

Method = TypeVar("Method", bound=Callable[..., Any])


def mark_derived(*needs: str) -> Callable[[Method], Method]:
    """Mark a method that works if the operations in ``needs`` are implemented."""

    def mark(method: Method) -> Method:
        method.__polystore_needs__ = needs  # type: ignore[attr-defined]
        return method

    return mark


def mark_refused(method: Method) -> Method:
    """Mark a method that raises until a subclass overrides it."""
    # A method that needs itself: only an override, which has no mark, makes it available.
    return mark_derived(method.__name__)(method)
