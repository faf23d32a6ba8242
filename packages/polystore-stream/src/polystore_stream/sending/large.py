"""Send the name of a large stored array if the receiver can open it, or else one level."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from polystore_core import Image as CoreImage
from polystore_core import LazyArray, array_and_words, by_axis, image_metadata
from polystore_core.errors import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from polystore_core import ImageMetadata, Path

    from ..wire.describe import Look
    from ..wire.messages import Image, Rois
    from .connection import Connection
    from .transfers import Transfer

__all__ = ["Large", "Outgoing", "Sent", "Whole", "large_array"]

log = logging.getLogger("polystore.stream")

Message: TypeAlias = "tuple[Image | Rois, NDArray[Any]]"

_LARGE = 16 << 20
"""Larger arrays, in bytes, are sent as a name or as one level."""
_SCREEN = 2048
"""Pixels of a screen along y and along x."""
_NOTHING = np.empty(0, np.uint8)


def large_array(data: Any) -> LazyArray | None:
    """Return the lazy array in a value, if it has levels or is too large to send."""
    if type(data) is np.ndarray:  # the usual case, thousands of times a second
        return None
    array, _ = array_and_words(data)
    if isinstance(array, LazyArray) and (array.nbytes > _LARGE or len(array.levels) > 1):
        return array
    return None


@dataclass(slots=True)
class Sent:
    """A value on its way to one receiver."""

    connection: Connection
    transfer: Transfer
    instead: Callable[[str], Message] | None = None
    """Called with the reason if the receiver rejects the value. Returns a message to send then."""

    def wait(self) -> None:
        """Wait until the receiver has the value. Raises ``RejectedError``, ``ReceiverError``."""
        try:
            self.connection.wait_for(self.transfer)
        except RejectedError as error:
            if self.instead is None:
                raise
            self.transfer = self.connection.send(*self.instead(error.reason), awaited=True)
            self.instead = None
            self.connection.wait_for(self.transfer)


class Whole:
    """A value that travels with its pixels."""

    __slots__ = ("_item", "_pixels")

    def __init__(self, item: Image | Rois, pixels: NDArray[Any]) -> None:
        self._item, self._pixels = item, pixels

    def send(self, connection: Connection, *, awaited: bool, more: bool) -> Sent:
        """Send it to one receiver. ``more`` says whether other values follow at once."""
        item, pixels = self._item, self._pixels
        return Sent(connection, connection.send(item, pixels, awaited=awaited, more=more))


class Large:
    """A stored array. It is sent as its name, or as the pixels of the level for a screen.

    Args:
        data: A lazy array, or an image of one.
        path: Path that the value is saved under.
        look: Options of the call.
        describe: Returns the message for a smaller value.
        named: Message with the source. ``None`` if no other process can open the array.
    """

    def __init__(
        self,
        data: Any,
        path: Path,
        look: Look,
        describe: Callable[[Any, Look], Message],
        named: Image | None,
    ) -> None:
        self._data, self._path, self._look = data, path, look
        self._describe, self._named = describe, named
        self._why = ""

    def send(self, connection: Connection, *, awaited: bool, more: bool) -> Sent:
        """Send it to one receiver, without waiting for the values that follow.

        After it sent a name, it waits even if ``awaited`` is false. Only the answer says whether
        the pixels must be sent.
        """
        if self._named is not None and connection.opens_sources:
            transfer = connection.send(self._named, _NOTHING, awaited=True)
            sent = Sent(connection, transfer, self._instead)
            if not awaited:
                sent.wait()
            return sent
        title = connection.endpoint.title
        here = f"{title} does not open files of this process"
        self._why = "no other process can open it" if self._named is None else here
        return Sent(connection, connection.send(*self._level, awaited=awaited))

    def _instead(self, reason: str) -> Message:
        self._why = f"the viewer cannot open it: {reason}"
        return self._level

    @cached_property
    def _level(self) -> Message:
        """Message and pixels of the level for a screen, read once for all receivers."""
        array, words = array_and_words(self._data)
        names = _axis_names(array, self._look, words)
        levels = array.levels if array.nbytes > _LARGE else (array,)
        number = _screen_level(levels, names)
        level = levels[number]
        text, count, why = os.fspath(self._path), len(levels), self._why
        if number:
            now, full = level.shape, array.shape
            found = "%r is sent as level %d of %d, with shape %s instead of %s: %s"
            log.warning(found, text, number, count, now, full, why)
        else:
            log.info("%r is sent with all pixels, shape %s: %s", text, array.shape, why)
        factors = [n / m for n, m in zip(array.shape, level.shape, strict=True)]
        look = self._look
        scale = by_axis(look.scale, names)
        if isinstance(scale, Mapping):
            by_name = dict(zip(names, factors, strict=True))
            scale = {name: size * by_name.get(name, 1) for name, size in scale.items()}
            look = replace(look, scale=scale)
        return self._describe(_with_words(level, array, words, factors), look)


Outgoing: TypeAlias = "Whole | Large"


def _axis_names(array: LazyArray, look: Look, words: ImageMetadata | None) -> tuple[str, ...]:
    if look.axes is not None:
        return tuple(look.axes)
    if words is not None:
        return words.names
    return image_metadata(array.shape, array.dtype).names


def _screen_level(levels: Sequence[LazyArray], names: Sequence[str]) -> int:
    """Return the number of the finest level that fits a screen, or else of the last level."""
    plane = [at for at, name in enumerate(names) if name in ("y", "x")]
    for number, level in enumerate(levels):
        if max((level.shape[at] for at in plane), default=0) <= _SCREEN:
            return number
    return len(levels) - 1


def _with_words(
    level: LazyArray, array: LazyArray, words: ImageMetadata | None, factors: Sequence[float]
) -> Any:
    """Return a level with its own metadata, or with the metadata that a caller gave the array."""
    if words is None:
        return level
    own = level.image if words == array.image else None
    return CoreImage(level, words.level(factors) if own is None else own)
