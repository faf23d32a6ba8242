"""Check that the images of a batch agree on the layers that they share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from polystore_core import array_and_words
from polystore_core.errors import InvalidOptionError

if TYPE_CHECKING:
    from collections.abc import Collection

    from polystore_core import ImageMetadata, Path

    from ..wire.layout import Place

__all__ = ["Agreement"]


class Agreement:
    """Refuse an image whose axes, scale, units or channels differ from those of its layer.

    A layer has one scale for all of its planes. An option of the call applies to all images, so
    images need not agree on it. Display limits may differ: the layer shows the last ones.
    """

    def __init__(self, given: Collection[str]) -> None:
        self._given = given
        self._first: dict[tuple[object, ...], tuple[str, dict[str, Any]]] = {}

    def check(self, value: Any, path: Path, place: Place) -> None:
        """Compare an image with the first image of its layer.

        Raises ``InvalidOptionError`` with both values.
        """
        _, words = array_and_words(value)
        if words is None:
            return
        text, said = os.fspath(path), _list_words(words)
        key = (place.window, place.layer or text, words.kind)
        first, known = self._first.setdefault(key, (text, said))
        for option in said.keys() - set(self._given):
            if said[option] != known[option]:
                fault = (
                    f"{text!r} has {option} {said[option]!r}, but {first!r} has "
                    f"{known[option]!r}, and both belong to one layer: pass {option}= for all "
                    "images, or use names= and layout= to show them in several layers"
                )
                raise InvalidOptionError(option, said[option], repr(known[option]), fault)


def _list_words(words: ImageMetadata) -> dict[str, Any]:
    return {
        "axes": "".join(words.names) if max(map(len, words.names)) == 1 else words.names,
        "scale": words.scale,
        "units": words.units,
        "channels": [(channel.name, channel.color) for channel in words.channels],
    }
