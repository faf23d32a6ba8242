"""A look at a path: the request, and the items that were found."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..abc.backend import DataSource

__all__ = ["Look", "Request"]


class Request(NamedTuple):
    source: DataSource
    path: str
    """It means the same after ``os.chdir``."""
    start: int
    pattern: str | None
    settle: float
    """Seconds without a change after which a file, or a frame, is complete."""
    recursive: bool
    """Whether the files of folders in the folder count."""
    settle_is_usual: bool
    """Whether that is not the caller's choice. Frames that appear whole need not settle then."""


class Look(NamedTuple):
    new: range | list[str]
    """The items that were found: indices of frames, or names of files."""
    waits: bool
    """Whether something is there that is not given yet, because it may be incomplete."""
