"""Answer queries with a table of functions. Their keyword-only parameters are the arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from polystore_core import check_options

from ..wire.messages import Query

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from ..receiving.receiver import Receiver
    from ..receiving.viewer import Delivery

__all__ = ["Answer", "Answers"]

Answer: TypeAlias = "tuple[Any, list[NDArray[Any]]]"
"""A JSON value, and arrays."""


class Answers:
    """Answer the queries to a viewer."""

    def __init__(self, viewer: str, table: Mapping[str, Callable[..., Answer]]) -> None:
        """``table`` has a function for each query by its name."""
        self._viewer, self._table = viewer, table

    def reply(self, receiver: Receiver, delivery: Delivery) -> bool:
        """Answer a query, or reject it with a reason. Return whether it was answered."""
        query = delivery.item
        assert isinstance(query, Query)
        try:
            value, arrays = self._answer(query)
        except Exception as error:  # a bad query must not end the viewer
            receiver.settle(delivery, "rejected", str(error))
            return False
        receiver.answer(delivery, value, arrays)
        return True

    def _answer(self, query: Query) -> Answer:
        function = self._table.get(query.name)
        if function is None:
            known = ", ".join(sorted(self._table))
            raise ValueError(
                f"{self._viewer} does not answer {query.name!r}: expected one of {known}"
            )
        check_options(function, query.arguments, f"{self._viewer}'s answer to {query.name!r}")
        return function(**query.arguments)
