"""``Collector``: takes the items of a batch as they arrive."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ..values import Pixels, Value

__all__ = ["Collector"]


class Collector(ABC):
    """Takes each value of a batch when it arrives, to convert it or to put it into a stack.

    If you override ``load_batch_into``, call ``put`` once for each item, from any thread. Before
    that you may call ``memory``, and again if you read the item again. For example:

        memory = collector.memory(index, header.shape, header.dtype)
        value = read(path, into=memory)
        result[index] = collector.put(index, value)
    """

    def memory(
        self, index: int, shape: tuple[int, ...], dtype: np.dtype[Value]
    ) -> Pixels | None:
        """Return an array to read the item into, or ``None`` if you must allocate one.

        Args:
            index: Index of the item.
            shape: Shape of the item.
            dtype: Element type of the item.

        Returns:
            A writable, C-contiguous array of this shape and dtype, or ``None``.

        Raises:
            UnsupportedDataError: The item does not fit, for example into a stack.
        """
        return None

    @abstractmethod
    def put(self, index: int, value: Value) -> Value:
        """Take item ``index``, and return the value for the list of the batch."""
