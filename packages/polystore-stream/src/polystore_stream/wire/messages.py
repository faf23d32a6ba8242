"""The wire protocol: what a producer and a receiver say to each other, as typed values.

A message is one multipart message of ZeroMQ, DEALER (producer) to ROUTER (receiver)::

    header (JSON, UTF-8) | payload, or nothing

Every message of a producer has a number of its own, and is answered with that number. The
header's "type" says which of the structures below it is. Unknown fields are ignored, so that
a minor version can add some; another major version is refused.

docs/stream-protocol.md has all of it for those who write a receiver in another language.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any, Literal, TypeAlias

import msgspec

from polystore_core import Channel  # noqa: TC001 - msgspec looks types up
from polystore_core.errors import DamagedDataError

__all__ = [
    "DTYPES",
    "PIECE",
    "PROTOCOL",
    "Ack",
    "Answer",
    "Bye",
    "Failure",
    "Header",
    "Hello",
    "Image",
    "Item",
    "Piece",
    "Policy",
    "Query",
    "Reply",
    "Ring",
    "RoiEncoding",
    "Rois",
    "Source",
    "Stage",
    "Wait",
    "Welcome",
    "encode",
    "protocol_fault",
    "read_header",
    "read_reply",
]

PROTOCOL = (1, 1)
"""Major and minor version."""
PIECE = 1 << 21
"""Largest payload of one message, and the size of a slot of the ring: what is larger travels in
pieces, so that one side copies in while the other copies out."""

DTYPES = frozenset(
    f"{order}{kind}{size}"
    for kinds, sizes, order in (("biu", "1", "|"), ("iuf", "248", "<"))
    for kind in kinds
    for size in sizes
)
"""Element types that travel, as NumPy writes them. Any other could crash who receives it."""

Wait: TypeAlias = Literal["received", "shown"]
Policy: TypeAlias = Literal["block", "drop_oldest", "coalesce"]
RoiEncoding: TypeAlias = Literal["json", "imagej"]
Stage: TypeAlias = Literal["received", "shown", "coalesced", "dropped", "rejected", "closed"]


class _Message(msgspec.Struct, tag_field="type", frozen=True, kw_only=True, omit_defaults=True):
    number: int = 0


# ── producer to receiver ─────────────────────────────────────────────────────────────────


class Hello(_Message, tag="hello", frozen=True):
    """The first message: who is there, and that it may."""

    protocol: tuple[int, int]
    token: str
    producer: str
    pid: int
    host: str
    """Of the machine's boot and the process's namespace: memory is shared where it is equal."""

    def __repr__(self) -> str:
        return f"Hello(producer={self.producer!r}, pid={self.pid})"  # never the token


class Ring(_Message, tag="ring", frozen=True):
    """Memory of the producer, in slots of ``PIECE`` bytes behind a page with the nonce."""

    path: str
    size: int
    nonce: str


class Item(_Message, frozen=True):
    """What is shown: its path, and its place."""

    path: str
    nbytes: int
    window: str = ""
    layer: str | None = None
    """Key of the layer; absent: the receiver knows where the path stands, or makes a layer."""
    title: str = ""
    at: tuple[tuple[str, str], ...] = ()
    """Slider and coordinate, outermost first."""
    series: int = 1
    """How many values are sent together with this one, as a batch."""
    wait: Wait = "received"
    policy: Policy = "block"
    slot: int | None = None
    """Where the (first piece of the) payload is in the ring; absent: it is the third frame."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where an array is stored: a receiver of the same machine opens it."""

    backend: str
    """Name of the backend that opens it."""
    path: str
    """Absolute, in the file system."""
    options: dict[str, Any] = {}
    """Those of ``open``."""
    order: tuple[int, ...] = ()
    """How its axes are transposed for the message; empty: not at all."""


class Image(Item, tag="image", kw_only=True, frozen=True):
    """An array: little-endian, C order. With a ``source`` it has no payload."""

    shape: tuple[int, ...]
    """One length for each of ``sliders``, then for each of ``axes``."""
    dtype: str
    axes: str
    """One letter for each axis: some of t c z y x, and s last for the samples of RGB(A)."""
    source: Source | None = None
    """Sent to receivers that have said in their welcome that they open sources."""
    sliders: tuple[str, ...] = ()
    """Names of axes before ``axes``, of a source: sliders of the layer, behind those of ``at``."""
    labels: bool = False
    channel: str = ""
    """Name of the channel that the layer shows, where the path says it."""
    group: str = ""
    """Key of the image whose channels the layers with this key are, where the path says it."""
    group_title: str = ""
    layers: str = ""
    """"c" where the channels become layers."""
    scale: tuple[float, ...] = ()
    """Extent of a pixel along each axis but s."""
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    colormap: str | None = None
    contrast_limits: tuple[float, float] | None = None
    scale_bar: bool = True
    """Show a scale bar beside it, if it has a unit of length."""
    original: str = ""
    """Element type of what was saved, if it was converted to one that the viewer has."""
    words: str = ""
    """All that the image says of itself, as JSON: the viewer answers "pixels" with it."""


class Rois(Item, tag="rois", kw_only=True, frozen=True):
    """Regions of interest; the payload is a JSON list of what ``ROI.to_dict`` gives."""

    count: int
    labels: bool = False
    """Show them as a label image."""
    encoding: RoiEncoding = "json"
    """"imagej": each as an ImageJ ROI file, behind its length as 4 bytes (little-endian)."""


class Piece(_Message, tag="piece", frozen=True):
    """More of the payload of the message number ``of``."""

    of: int
    start: int
    nbytes: int
    slot: int | None = None


class Query(_Message, tag="query", frozen=True):
    """A question to the receiver; what it can be asked depends on its kind."""

    name: str
    arguments: dict[str, Any] = {}


class Bye(_Message, tag="bye", frozen=True):
    """The producer goes."""


Header: TypeAlias = Hello | Ring | Image | Rois | Piece | Query | Bye


# ── receiver to producer ─────────────────────────────────────────────────────────────────


class Welcome(_Message, tag="welcome", frozen=True):
    """The answer to hello."""

    protocol: tuple[int, int]
    kind: str
    name: str
    version: str
    pid: int
    opens_sources: bool = False
    """Whether an image of this producer may have a ``source``."""


class Ack(_Message, tag="ack", frozen=True):
    """What became of a message.

    "received": the receiver holds the pixels. "shown": they were on the screen (taken, by a
    script). "coalesced": a newer one took the place before this was shown. "dropped": made room
    by policy. "rejected", with a reason. "closed": the receiver, or the window, is gone.
    """

    stage: Stage
    reason: str = ""
    others: tuple[int, ...] = ()
    """Further numbers of which the same is true."""


class Failure(_Message, tag="failure", frozen=True):
    """Something went wrong with what was acknowledged before."""

    path: str
    reason: str


class Answer(_Message, tag="answer", frozen=True):
    """The answer to a query; its arrays follow as frames."""

    value: Any = None
    arrays: tuple[tuple[tuple[int, ...], str], ...] = ()
    """Shape and element type of each."""


Reply: TypeAlias = Welcome | Ack | Failure | Answer


def protocol_fault(*, receiver: tuple[int, int], producer: tuple[int, int]) -> str:
    """Return why the two cannot talk, and which one is too old; "" if they can."""
    if receiver[0] == producer[0]:
        return ""
    theirs, ours = (".".join(map(str, version)) for version in (producer, receiver))
    older = "receiver" if receiver < producer else "producer"
    return (
        f"protocol {theirs} is not supported: this receiver uses {ours}; "
        f"upgrade polystore where the {older} runs"
    )


# ── bytes ────────────────────────────────────────────────────────────────────────────────

encode = msgspec.json.Encoder().encode
_read_header = msgspec.json.Decoder(Header).decode
_read_reply = msgspec.json.Decoder(Reply).decode

_UNREADABLE = (msgspec.MsgspecError, RecursionError, UnicodeDecodeError)
_AXES = re.compile("t?c?z?yxs?")


def read_header(frame: bytes) -> Header:
    """Decode what a producer says. Raises ``DamagedDataError`` for what cannot be."""
    try:
        header: Header = _read_header(frame)
    except _UNREADABLE as error:
        raise DamagedDataError(str(error), "message") from error
    if isinstance(header, Item):
        fault = _item_fault(header)
        if fault:
            raise DamagedDataError(fault, "message")
    return header


def read_reply(frame: bytes) -> Reply:
    """Decode what a receiver says. Raises ``DamagedDataError`` for what cannot be."""
    try:
        reply: Reply = _read_reply(frame)
    except _UNREADABLE as error:
        raise DamagedDataError(str(error), "message") from error
    return reply


def _item_fault(item: Item) -> str:
    """Say what is wrong: the receiver makes arrays of these numbers."""
    source = item.source if isinstance(item, Image) else None
    least = 1 if source is None else 0
    if item.nbytes < least or (item.slot is not None and item.slot < 0):
        return f"nbytes is {item.nbytes} and slot is {item.slot}"
    if not isinstance(item, Image):
        return ""
    return _source_fault(item) or _pixels_fault(item) or _look_fault(item)


def _source_fault(image: Image) -> str:
    source, count = image.source, len(image.shape)
    if source is None:
        return "sliders need a source" if image.sliders else ""
    if image.nbytes or image.slot is not None:
        return f"nbytes is {image.nbytes} and slot is {image.slot}, but a source has no payload"
    if not source.backend or not os.path.isabs(source.path):
        return f"backend {source.backend!r} and path {source.path!r} do not name a file"
    if source.order and sorted(source.order) != list(range(count)):
        return f"the order {source.order} does not fit an array of {count} axes"
    names = [*image.sliders, *(name for name, _ in image.at)]
    if not all(image.sliders) or len({*names}) < len(names):
        return f"the sliders {names} need names that differ"
    return ""


def _pixels_fault(image: Image) -> str:
    lead = len(image.sliders)
    shape, dtype, axes = image.shape, image.dtype, image.axes
    if dtype not in DTYPES:
        return f"the dtype {dtype!r} is not supported"
    if not _AXES.fullmatch(axes) or lead + len(axes) != len(shape):
        named = f"axes {axes!r}" + (f" and sliders {image.sliders}" if lead else "")
        return f"{named} do not fit an array of {len(shape)} axes"
    nbytes = math.prod(shape) * int(dtype[2:])
    if min(shape) < 1 or (image.source is None and nbytes != image.nbytes):
        return f"{image.nbytes} bytes do not fit shape {shape} of {dtype}"
    if axes[-1] == "s" and (shape[-1] not in (3, 4) or dtype[1] not in "uf"):
        return f"samples of RGB(A) do not fit shape {shape} of {dtype}"
    return ""


def _look_fault(image: Image) -> str:
    lengths = image.shape[len(image.sliders) :]
    extents = dict(zip(image.axes.rstrip("s"), lengths, strict=False))
    if image.layers and (image.layers != "c" or "c" not in extents):
        return f"layers along {image.layers!r} do not fit axes {image.axes!r}"
    for name, values, count in (
        ("scale", image.scale, len(extents)),
        ("units", image.units, len(extents)),
        ("channels", image.channels, extents.get("c", 1)),
    ):
        if values and len(values) != count:
            return f"{name} has length {len(values)}, but axes {image.axes!r} need {count}"
    return ""
