"""The base class of viewers: programs that show the values of a :class:`Receiver`."""

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
    """A received message: an image, ROIs or a query."""

    item: Image | Rois | Query
    data: Value
    """The pixels, with the shape and element type of ``item``. A source gives a lazy array. ROIs
    give a list, and a query gives ``None``."""
    session: bytes = field(repr=False)
    number: int = field(repr=False)
    plan: object = None
    """The result of the viewer's ``accept``."""
    awaited: bool = field(default=False, repr=False)
    """Whether the producer waits until it is settled."""


class Viewer(ABC):
    """A program that shows what producers save.

    1. It makes a :class:`Receiver` with itself. From then on producers find it.
    2. The receiver's thread calls ``accept`` and ``wake``.
    3. After ``wake``, the viewer's own thread calls ``receiver.take()`` and shows the deliveries
       in that order. It calls ``receiver.settle(delivery, "shown")`` for each one, or settles it
       with "coalesced", or with "rejected" and a reason. It answers a query with
       ``receiver.answer``.
    4. At its end it calls ``receiver.close()``, which tells the producers.
    """

    kind: ClassVar[str]
    """Name of the program: "napari"."""
    version: str = ""
    """Version of the program."""
    opens_sources: ClassVar[bool] = False
    """Whether it accepts lazy arrays. Producers of this machine then name large arrays, and the
    receiver opens them."""

    def accept(self, item: Image | Rois) -> object:
        """Check a value before its pixels are sent. Return an object for ``Delivery.plan``.

        An accepted value may still not come, if the producer dies.

        Raises:
            PolystoreError: The value cannot be shown. The producer's ``save`` raises this error.
        """
        return None

    @abstractmethod
    def wake(self) -> None:
        """Make the viewer's own thread call ``receiver.take()``. Must return at once."""


def unknown_name(
    option: str, name: object, what: str, known: Collection[str]
) -> InvalidOptionError:
    """Return the error for a query that names something the viewer does not show.

    It lists the names in ``known``. An empty answer would look as if nothing was there.
    """
    listed = ", ".join(map(repr, list(known)[:_LISTED])) or "none exists"
    if len(known) > _LISTED:
        listed += f" and {len(known) - _LISTED} more"
    close = difflib.get_close_matches(str(name), known, n=1)
    suggestion = f" (did you mean {close[0]!r}?)" if close else ""
    return InvalidOptionError(option, name, f"{what}: {listed}{suggestion}")
