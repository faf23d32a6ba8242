"""Find images of plates and other stores by their paths, and choose their titles."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from polystore_core import Position

__all__ = ["Stored", "find_stored", "title_field"]

_WELL = re.compile("[A-Za-z]{1,2}[0-9]{1,3}")
"""Row and column, such as "B03". The largest plates have rows A to AF and 48 columns."""


@dataclass(frozen=True, slots=True)
class Stored:
    """An image in a store that is a folder, such as "plate.zarr/B/03/0"."""

    store: tuple[str, ...]
    field: str
    """Well and field, such as "B03/0". "" if the image is not in a well of a plate."""
    below: tuple[str, ...]
    """Names below the field, or below the store."""

    @property
    def title(self) -> str:
        """Name of the image for people."""
        if self.field:
            return " ".join([self.field, *self.below[-1:]])
        name = self.below[-1]
        # Several stores may have an image "0", so a number alone does not identify the image.
        return "/".join([self.store_name, *self.below]) if name.isdigit() else name

    @property
    def store_name(self) -> str:
        """Name of the store without its suffixes."""
        return self.store[-1].removesuffix(".zarr").removesuffix(".ome") or "images"


def find_stored(parts: tuple[str, ...]) -> Stored | None:
    """Return the position of a path in a store, or ``None`` if it is not in one."""
    end = next((n for n, part in enumerate(parts, 1) if part.endswith(".zarr")), len(parts))
    store, below = parts[:end], parts[end:]
    if not below:
        return None
    match below:
        case (row, column, field, *rest) if _WELL.fullmatch(row + column):
            return Stored(store, f"{row}{column}/{field}", tuple(rest))
    return Stored(store, "", below)


def title_field(title: str, position: Position | None) -> str:
    """Return the title of an image. If it is only a number, return its well and field."""
    if position is None or not title.isdigit() or not (position.row and position.column):
        return title
    return f"{position.row}{position.column}/{position.field or title}"
