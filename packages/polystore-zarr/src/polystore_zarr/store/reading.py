"""Reading a tree that may be replaced at any moment."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from polystore_core import file_lock

from .asides import found_again, settle
from .trees import is_directory, pinned

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["read_whole"]

Result = TypeVar("Result")

_TRIES = 8


def read_whole(directory: str, store: str, read: Callable[[], Result]) -> Result:
    """Call ``read`` until the tree at ``directory`` was not replaced while reading.

    A reader finds the chunks of an array by their paths, so a tree that is replaced meanwhile
    would give a mixture of both.
    """
    for _ in range(_TRIES):
        try:
            with pinned(directory) as same:
                try:
                    result = read()
                except Exception:
                    if same():
                        raise
                else:
                    if same():
                        return result
        except FileNotFoundError:
            if not found_again(store, lambda: is_directory(directory) or None):
                raise
    with file_lock(store):
        settle(store)
        return read()
