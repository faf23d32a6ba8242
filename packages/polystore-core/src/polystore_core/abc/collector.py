"""Where the items of a batch go as they arrive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..values import Pixels, Value

__all__ = ["Collector"]


class Collector(ABC):
    """Takes each value of a batch when it is there: to convert it, or to put it into a stack.

    A backend calls ``put`` once for an item, from any thread. It may call ``memory`` before, and
    again if it has to read the item again.
    """

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        """Return an array to read item ``index`` into, or ``None`` for memory of your own.

        It has this shape and element type, is C-contiguous and writable. Raises
        ``UnsupportedDataError`` for an item that does not fit.
        """
        return None

    @abstractmethod
    def put(self, index: int, value: Value) -> Value:
        """Take item ``index``; return what the list of the batch has in its place."""
