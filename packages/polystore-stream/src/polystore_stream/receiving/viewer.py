"""What all viewers have in common: the side that shows what a :class:`Receiver` takes in."""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, TypeAlias

from polystore_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Collection

    import numpy as np
    from numpy.typing import NDArray

    from polystore_core.rois import ROI

    from ..wire.messages import Image, Query, Rois
    from .opening import Part

__all__ = ["Delivery", "Value", "Viewer", "unknown_name"]

_LISTED = 20

Value: TypeAlias = "NDArray[np.generic] | Part | list[ROI] | None"


@dataclass(slots=True, eq=False)
class Delivery:
    """One thing that came: an image or ROIs with their place, or a question."""

    item: Image | Rois | Query
    data: Value
    """The pixels, of the shape and element type that ``item`` says: of a source a lazy array. ROIs.
    Nothing of a query."""
    session: bytes = field(repr=False)
    number: int = field(repr=False)
    plan: object = None
    """What the viewer's ``accept`` gave for it."""
    awaited: bool = field(default=False, repr=False)
    """Whether the producer still waits for a word about it."""


class Viewer(ABC):
    """The life of a viewer:

    1. It makes a :class:`Receiver` of itself, and with that is found by producers.
    2. ``accept`` and ``wake`` are called in the receiver's thread.
    3. In its own thread, after ``wake``, it calls ``receiver.take()``, shows what came in that
       order, and says of each ``receiver.settle(delivery, "shown")`` (or "coalesced", or
       "rejected" with a reason). A query is settled with ``receiver.answer``.
    4. ``receiver.close()`` when it ends: producers are told.
    """

    kind: ClassVar[str]
    """Name of the program: "napari"."""
    version: str = ""
    """Of the program."""
    opens_sources: ClassVar[bool] = False
    """Whether it takes lazy arrays: producers of this machine then name large arrays, which the
    receiver opens."""

    def accept(self, item: Image | Rois) -> object:
        """Return what the viewer wants to find in ``Delivery.plan``, before the pixels travel.

        Raises a ``PolystoreError`` for what cannot be shown: the error of the producer's
        ``save``. What is accepted may still not come, if the producer dies.
        """
        return None

    @abstractmethod
    def wake(self) -> None:
        """Have the viewer's own thread take what came. Must return at once."""


def unknown_name(
    option: str, name: object, what: str, known: Collection[str]
) -> InvalidOptionError:
    """Return the error of a question that names something that is not shown.

    It lists ``known``. An empty answer would look as if nothing was there.
    """
    listed = ", ".join(map(repr, list(known)[:_LISTED])) or "there is none"
    if len(known) > _LISTED:
        listed += f" and {len(known) - _LISTED} more"
    close = difflib.get_close_matches(str(name), known, n=1)
    suggestion = f" (did you mean {close[0]!r}?)" if close else ""
    return InvalidOptionError(option, name, f"{what}: {listed}{suggestion}")
