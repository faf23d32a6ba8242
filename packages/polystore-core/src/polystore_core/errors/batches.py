"""Some items of a batch failed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field

from .base import PolystoreError

__all__ = ["BatchError"]

_NAMED = 20
"""How many failures the text names."""
_LONGEST = 2_000
"""Characters that the text gives to each of them."""


@dataclass(eq=False, repr=False)
class BatchError(PolystoreError):
    """Some items of a batch failed. The text names the first 20, and ``failed`` has all.

    ::

        try:
            fm.save_batch(images, paths, "disk")
        except BatchError as error:
            again = [path for path, cause in error.failed.values()] + [*error.not_attempted]
    """

    backend: str
    operation: str
    failed: dict[int, tuple[str, Exception]]
    """The index of each failed item, with its path and its error."""
    done: tuple[str, ...] = ()
    """The paths that were saved or loaded."""
    not_attempted: tuple[str, ...] = field(default=())
    """The paths that were left as they were, because a batch of saves stops at a failure."""

    @property
    def failed_index(self) -> int:
        """The index of the first item that failed."""
        return min(self.failed)

    @property
    def errno(self) -> int | None:
        """The ``errno`` of the first item that failed, such as ``errno.ENOSPC``, or ``None``."""
        _, cause = self.failed[self.failed_index]
        return getattr(cause, "errno", None)

    def describe(self, most: int | None = _NAMED) -> str:
        """Name the first ``most`` failures and count the others: a plate may have thousands."""
        lines = [f"backend {self.backend!r}: {self._summary()}:"]
        # nsmallest and not sorted, because a plate may have thousands, and 20 are shown.
        most = len(self.failed) if most is None else most
        for index in heapq.nsmallest(most, self.failed):
            path, cause = self.failed[index]
            line = f"  [{index}] {path!r}: {type(cause).__name__}: {cause}"
            lines.append(line if len(line) <= _LONGEST else f"{line[:_LONGEST]}…")
        more = len(self.failed) - most
        if more > 0:
            lines.append(f"  and {more:,} more: see .failed")
        return "\n".join(lines)

    def _summary(self) -> str:
        total = len(self.failed) + len(self.done) + len(self.not_attempted)
        counts = f"{len(self.done)} done, {len(self.not_attempted)} not attempted"
        return f"{self.operation} failed for {len(self.failed)} of {total} ({counts})"

    def __repr__(self) -> str:
        return f"<BatchError: backend {self.backend!r}: {self._summary()}>"
