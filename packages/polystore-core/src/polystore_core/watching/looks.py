"""The request of a watch, and the items of one look."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..abc.backend import DataSource

__all__ = ["Look", "Request"]


class Request(NamedTuple):
    """The options of a watch."""

    source: DataSource
    path: str
    """A path that does not depend on the working folder."""
    start: int
    pattern: str | None
    settle: float
    """Seconds without a change after which a file or a frame is complete."""
    recursive: bool
    """Whether to find the files of inner folders, too."""
    settle_is_usual: bool
    """Whether ``settle`` is the default. Frames that appear whole then need not settle."""


class Look(NamedTuple):
    """The result of one look."""

    new: range | list[str]
    """The new items: indices of frames, or names of files."""
    waits: bool
    """Whether there are more items, which may be incomplete."""
