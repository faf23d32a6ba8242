"""Messages as the backend makes them for a pipeline, without a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from msgspec.structs import replace

from polystore_core import NameTemplate
from polystore_stream.receiving.opening import open_source
from polystore_stream.wire.describe import Look, describe_source, describe_value
from polystore_stream.wire.layout import Layout, place_of, places_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from polystore_stream import Part
    from polystore_stream.wire.messages import Image, Rois

__all__ = ["Message", "batch", "one", "source"]

Message: TypeAlias = "tuple[Image | Rois, NDArray[Any] | Part]"


def one(
    data: Any,
    path: str = "a.npy",
    *,
    names: str | None = None,
    layout: Layout | None = None,
    at: Mapping[str, object] | None = None,
    **look: Any,
) -> Message:
    """Return the message of ``save``."""
    layout = layout or Layout()
    place = place_of(path, names=NameTemplate(names) if names else None, layout=layout, at=at)
    return describe_value(data, path, place, Look(**look), layout.channels_are_layers)


def source(
    data: Any,
    path: str,
    *,
    names: str | None = None,
    **look: Any,
) -> Message:
    """Return the message of ``save`` for a large lazy array, opened as in the receiver."""
    layout = Layout()
    place = place_of(path, names=NameTemplate(names) if names else None, layout=layout, at=None)
    item = describe_source(data, path, place, Look(**look), layout.channels_are_layers)
    assert item is not None
    return item, open_source(item)


def batch(
    data: Sequence[Any],
    paths: Sequence[str],
    *,
    names: str | None = None,
    layout: Layout | None = None,
    at: Sequence[Mapping[str, object]] | None = None,
    **look: Any,
) -> list[Message]:
    """Return the messages of ``save_batch``."""
    layout = layout or Layout()
    places = places_of(
        paths, names=NameTemplate(names) if names else None, layout=layout, at=at
    )
    made = [
        describe_value(value, path, place, Look(**look), layout.channels_are_layers)
        for value, path, place in zip(data, paths, places, strict=True)
    ]
    return [(replace(item, series=len(paths)), pixels) for item, pixels in made]
