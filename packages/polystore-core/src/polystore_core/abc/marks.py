"""Marks of methods: which operations a backend has follows from them (``capabilities``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

__all__ = ["mark_derived", "mark_refused"]

Method = TypeVar("Method", bound=Callable[..., Any])


def mark_derived(*needs: str) -> Callable[[Method], Method]:
    """Mark a method that works as soon as the operations that it ``needs`` are implemented."""

    def mark(method: Method) -> Method:
        method.__polystore_needs__ = needs  # type: ignore[attr-defined]
        return method

    return mark


def mark_refused(method: Method) -> Method:
    """Mark a method that refuses until an author implements it."""
    return mark_derived(method.__name__)(method)
