"""Some items of a batch failed."""

from __future__ import annotations

from dataclasses import dataclass, field

from .base import PolystoreError

__all__ = ["BatchError"]


@dataclass(eq=False)
class BatchError(PolystoreError):
    """Some items of a batch failed.

    ``failed`` maps the index of each failed item to its path and cause, ``done`` holds the
    paths that were saved or loaded, ``not_attempted`` those that were left untouched.
    """

    backend: str
    operation: str
    failed: dict[int, tuple[str, Exception]]
    done: tuple[str, ...] = ()
    not_attempted: tuple[str, ...] = field(default=())

    @property
    def failed_index(self) -> int:
        """Index of the first item that failed."""
        return min(self.failed)

    @property
    def errno(self) -> int | None:
        """``errno`` of the first item that failed, such as ``errno.ENOSPC``; or ``None``."""
        _, cause = self.failed[self.failed_index]
        return getattr(cause, "errno", None)

    def describe(self) -> str:
        total = len(self.failed) + len(self.done) + len(self.not_attempted)
        counts = f"{len(self.done)} done, {len(self.not_attempted)} not attempted"
        what = f"{self.operation} failed for {len(self.failed)} of {total}"
        lines = [f"backend {self.backend!r}: {what} ({counts}):"]
        for index in sorted(self.failed):
            path, cause = self.failed[index]
            lines.append(f"  [{index}] {path!r}: {type(cause).__name__}: {cause}")
        return "\n".join(lines)
