"""The messages of the wire protocol between a producer and a receiver, as typed structures.

A message is one multipart message of ZeroMQ, from a DEALER (producer) to a ROUTER (receiver)::

    header (JSON, UTF-8) | payload, or nothing

Every message of a producer has its own number, and the answer has the same number. The "type" of a
header names one of the structures below. Unknown fields are ignored, so that a minor version can
add fields. Another major version is refused.

To write a receiver in another language, read docs/stream-protocol.md.
"""

from __future__ import annotations

import math
import os
import re
from typing import Any, Literal, TypeAlias

import msgspec

from polystore_core import DIMENSIONS_LIMIT, Channel
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
"""Bytes of the largest payload of one message, and of a slot of the ring.

Larger payloads are sent in pieces, so that the producer copies in while the receiver copies out."""

DTYPES = frozenset(
    f"{order}{kind}{size}"
    for kinds, sizes, order in (("biu", "1", "|"), ("iuf", "248", "<"))
    for kind in kinds
    for size in sizes
)
"""Element types that can be sent, as NumPy writes them. Others could crash a receiver."""

Wait: TypeAlias = Literal["received", "shown"]
Policy: TypeAlias = Literal["block", "drop_oldest", "coalesce"]
RoiEncoding: TypeAlias = Literal["json", "imagej"]
Stage: TypeAlias = Literal["received", "shown", "coalesced", "dropped", "rejected", "closed"]


class _Message(msgspec.Struct, tag_field="type", frozen=True, kw_only=True, omit_defaults=True):
    number: int = 0


# ── producer to receiver ─────────────────────────────────────────────────────────────────


class Hello(_Message, tag="hello", frozen=True):
    """The first message of a producer: its name, and the token of the receiver."""

    protocol: tuple[int, int]
    token: str
    producer: str
    pid: int
    host: str
    """Identity of the boot and the process namespace. If both sides have the same, they can
    share memory."""

    def __repr__(self) -> str:
        return f"Hello(producer={self.producer!r}, pid={self.pid})"  # never the token


class Ring(_Message, tag="ring", frozen=True):
    """Memory of the producer: a page with the nonce, then slots of ``PIECE`` bytes."""

    path: str
    size: int
    nonce: str


class Item(_Message, frozen=True):
    """A value to show, with its path and its place."""

    path: str
    nbytes: int
    window: str = ""
    layer: str | None = None
    """Key of the layer. If it is absent, the receiver uses the layer of the path, or a new one."""
    title: str = ""
    at: tuple[tuple[str, str], ...] = ()
    """Slider and coordinate, the outermost first."""
    series: int = 1
    """Number of values in the batch of this one."""
    wait: Wait = "received"
    policy: Policy = "block"
    slot: int | None = None
    """Slot of the ring with the payload, or with its first piece. If it is absent, the payload is
    the next frame."""


class Source(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The name of a stored array, which a receiver on the same machine opens."""

    backend: str
    """Name of the backend that opens it."""
    path: str
    """Absolute path in the file system."""
    options: dict[str, Any] = {}
    """Options of ``open``."""
    order: tuple[int, ...] = ()
    """Order in which its axes are transposed for the message. Empty: they are not."""


class Image(Item, tag="image", kw_only=True, frozen=True):
    """An array, little-endian, in C order. With a ``source`` it does not have a payload."""

    shape: tuple[int, ...]
    """One length for each of ``sliders``, then for each of ``axes``."""
    dtype: str
    axes: str
    """One letter for each axis: some of t c z y x, and s last for the samples of RGB(A)."""
    source: Source | None = None
    """Only for receivers whose welcome says that they open sources."""
    sliders: tuple[str, ...] = ()
    """Names of the axes of a source before ``axes``. They are sliders after those of ``at``."""
    labels: bool = False
    channel: str = ""
    """Name of the channel that the layer shows, if the path says it."""
    group: str = ""
    """Key of the image whose channels are the layers with this key, if the path says it."""
    group_title: str = ""
    layers: str = ""
    """"c" if each channel becomes a layer."""
    scale: tuple[float, ...] = ()
    """Pixel size along each axis except s, in ``units``."""
    units: tuple[str | None, ...] = ()
    channels: tuple[Channel, ...] = ()
    colormap: str | None = None
    contrast_limits: tuple[float, float] | None = None
    scale_bar: bool = True
    """Whether to show a scale bar, if the image has a unit of length."""
    original: str = ""
    """Element type of the saved array, if it was converted to a type that the viewer has."""
    words: str = ""
    """All metadata of the image, as JSON. The viewer returns it when it is asked for "pixels"."""


class Rois(Item, tag="rois", kw_only=True, frozen=True):
    """Regions of interest. The payload is a JSON list of the results of ``ROI.to_dict``."""

    count: int
    labels: bool = False
    """Whether to show them as a label image."""
    encoding: RoiEncoding = "json"
    """With "imagej", the payload has for each ROI the length of its ImageJ ROI file as 4 bytes
    (little-endian), and then the file."""


class Piece(_Message, tag="piece", frozen=True):
    """More of the payload of the message number ``of``."""

    of: int
    start: int
    nbytes: int
    slot: int | None = None


class Query(_Message, tag="query", frozen=True):
    """A query to the receiver. Each kind of receiver has its own queries."""

    name: str
    arguments: dict[str, Any] = {}


class Bye(_Message, tag="bye", frozen=True):
    """The last message of a producer."""


Header: TypeAlias = Hello | Ring | Image | Rois | Piece | Query | Bye


# ── receiver to producer ─────────────────────────────────────────────────────────────────


class Welcome(_Message, tag="welcome", frozen=True):
    """The reply to hello."""

    protocol: tuple[int, int]
    kind: str
    name: str
    version: str
    pid: int
    opens_sources: bool = False
    """Whether an image of this producer may have a ``source``."""


class Ack(_Message, tag="ack", frozen=True):
    """The reply to a message: what happened to its value.

    - "received": The receiver holds the pixels.
    - "shown": They were on the screen. In a script: the script took them.
    - "coalesced": A newer value replaced it before it was shown.
    - "dropped": It was discarded to make room, because of its policy.
    - "rejected": It was refused, with a reason.
    - "closed": The receiver or the window is gone.
    """

    stage: Stage
    reason: str = ""
    others: tuple[int, ...] = ()
    """Numbers of other messages with the same reply."""


class Failure(_Message, tag="failure", frozen=True):
    """An error about a value that was acknowledged before."""

    path: str
    reason: str


class Answer(_Message, tag="answer", frozen=True):
    """The answer to a query. Its arrays follow as frames."""

    value: Any = None
    arrays: tuple[tuple[tuple[int, ...], str], ...] = ()
    """Shape and element type of each."""


Reply: TypeAlias = Welcome | Ack | Failure | Answer


def protocol_fault(*, receiver: tuple[int, int], producer: tuple[int, int]) -> str:
    """Return why two versions do not fit, and which one is too old. "" if they fit."""
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
    """Decode and check a message of a producer. Raises ``DamagedDataError``."""
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
    """Decode a reply of a receiver. Raises ``DamagedDataError``."""
    try:
        reply: Reply = _read_reply(frame)
    except _UNREADABLE as error:
        raise DamagedDataError(str(error), "message") from error
    return reply


def _item_fault(item: Item) -> str:
    """Return what is wrong with an item, or "".

    The receiver makes arrays from these numbers, so a wrong one could crash it.
    """
    source = item.source if isinstance(item, Image) else None
    least = 1 if source is None else 0
    if item.nbytes < least or (item.slot is not None and item.slot < 0):
        return f"nbytes is {item.nbytes} and slot is {item.slot}"
    if not isinstance(item, Image):
        return ""
    if len(item.shape) > DIMENSIONS_LIMIT:
        return f"{len(item.shape)} axes are more than the {DIMENSIONS_LIMIT} of an array"
    return _source_fault(item) or _pixels_fault(item) or _look_fault(item)


def _source_fault(image: Image) -> str:
    source, count = image.source, len(image.shape)
    if source is None:
        return "sliders need a source" if image.sliders else ""
    if image.nbytes or image.slot is not None:
        return (
            f"nbytes is {image.nbytes} and slot is {image.slot}, but an image with a source has "
            "no payload"
        )
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
