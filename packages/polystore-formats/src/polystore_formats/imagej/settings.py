"""ImageJ's settings of a ROI besides its shape, as ``properties["imagej"]``.

A setting is there only if it differs from ImageJ's default:

    kind                ImageJ's kind, if the shape can have several: "freehand", "arrow", "text"
    stroke_color, fill_color, label_color      "#rrggbb", or "#aarrggbb" if not opaque
    stroke_width        in pixels, rounded to the seven digits of float32
    options             names of flags, such as "overlay_labels", "spline_fit", "double_headed"
    arc_size            diameter of a rectangle's rounded corners, in pixels
    arrow_style, arrow_head_size, point_type, point_size, label_font_size, group
    counters, counter_positions      for each point: its counter, and the stack position
    position            index in a stack that is not a hyperstack, from 1
    text                {"text", "font", "size", "style", "justification", "angle", "as_drawn"}
    image, image_opacity             a TIFF file in base64, and 0 to 255
    subpixel            whether coordinates are float32, if ImageJ would choose the opposite
    version             of the file format
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from roifile import ROI_OPTIONS, ImagejRoi

from polystore_core.errors import UnsupportedDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polystore_core import Document, Value

__all__ = ["NAMES", "VERSION", "Text", "apply_settings", "read_settings"]

VERSION = 228
"""The version of the file format that is written: ImageJ 1.53t's, which newer ones read."""
_LARGE_GROUPS = 229
"""The first version with groups above 255."""
_COLORS = {
    "stroke_color": "stroke_color",
    "fill_color": "fill_color",
    "label_color": "overlay_label_color",
}
_COLOR = re.compile(r"#([0-9a-f]{2})?([0-9a-f]{6})")


class _Number(NamedTuple):
    """A setting that is an integer, and its attribute in the record of roifile."""

    attribute: str
    least: int
    most: int
    kinds: tuple[str, ...] = ()
    """The kinds that have this setting. Empty for all."""
    default: int = 0


_NUMBERS = {
    "version": _Number("version", 217, 32767, default=VERSION),
    "position": _Number("position", -(1 << 31), (1 << 31) - 1),
    "group": _Number("group", 0, 65535),
    "label_font_size": _Number("overlay_font_size", -32768, 32767),
    "image_opacity": _Number("image_opacity", 0, 255, ("image",)),
    "arc_size": _Number("rounded_rect_arc_size", 0, 32767, ("rectangle", "text", "image")),
    "arrow_style": _Number("arrow_style_or_aspect_ratio", 0, 255, ("arrow",)),
    "arrow_head_size": _Number("arrow_head_size", 0, 255, ("arrow",), 10),
    "point_type": _Number("arrow_style_or_aspect_ratio", 0, 255, ("point",)),
    "point_size": _Number("stroke_width", -32768, 32767, ("point",), 1),
}
_FINE = ROI_OPTIONS.SUB_PIXEL_RESOLUTION
_OPTIONS = {
    option.name.lower(): option
    for option in ROI_OPTIONS
    # roifile cannot write the last one, and no program uses it.
    if option.name and option not in (_FINE, ROI_OPTIONS.NONE, ROI_OPTIONS.UNKNOWN_15)
}
_TEXT: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "font": str,
    "size": int,
    "style": int,
    "justification": int,
    "angle": (float, int),
    "as_drawn": bool,
}
NAMES = (
    "kind",
    *_COLORS,
    "stroke_width",
    "options",
    *_NUMBERS,
    "counters",
    "counter_positions",
    "text",
    "image",
    "subpixel",
    "raw",
    "raw_name",
)
_PARTS = {"counters": "point", "counter_positions": "point", "text": "text", "image": "image"}
_AS_DRAWN = 1024  # RoiDecoder: drawStringMode, a bit next to style and justification
_STYLE_OFFSET = 68


class Text(str):
    """Text whose length is its number of UTF-16 units, because roifile writes ``len(text)``."""

    __slots__ = ()

    def __len__(self) -> int:
        return len(self.encode("utf-16-be")) // 2


def wrong_setting(name: str, value: object, expected: str) -> UnsupportedDataError:
    """Return the error for a setting that ImageJ cannot store."""
    return UnsupportedDataError(
        f"properties['imagej'][{name!r}] is {value!r:.80}, expected {expected}", "roi"
    )


# ── from a file ──────────────────────────────────────────────────────────────────────────


def read_settings(record: ImagejRoi, kind: str, content: bytes) -> Document:
    """Return the settings that differ from ImageJ's defaults."""
    found: dict[str, Any] = {}
    for name, attribute in _COLORS.items():
        alpha, *rgb = color = getattr(record, attribute)
        if any(color):
            opaque = alpha == 255
            found[name] = "#" + (bytes(rgb) if opaque else bytes(color)).hex()
    # Old files have the width only as an integer.
    width = record.float_stroke_width or (0 if kind == "point" else record.stroke_width)
    if np.isfinite(width) and width:
        found["stroke_width"] = _short(width)
    for name, number in _NUMBERS.items():
        value = int(getattr(record, number.attribute))
        if (not number.kinds or kind in number.kinds) and value != number.default:
            found[name] = value
    if found.get("version") == _LARGE_GROUPS and record.group > 255:
        del found["version"]
    if options := [name for name, bit in _OPTIONS.items() if record.options & bit]:
        found["options"] = options
    for name in ("counters", "counter_positions"):
        values = getattr(record, name)
        if values is not None and values.any():
            found[name] = values.tolist()
    if kind == "text":
        found["text"] = _read_text(record, content)
    if kind == "image" and record.image_data is not None:
        found["image"] = base64.b64encode(record.image_data).decode("ascii")
    return found


def _short(number: float) -> float:
    """Return the shortest decimal number of a float32: 0.1, not 0.10000000149."""
    return float(str(np.float32(number)))


def _read_text(record: ImagejRoi, content: bytes) -> Document:
    (style,) = struct.unpack_from(">i", content, _STYLE_OFFSET)
    angle = record.text_angle
    found = {
        "text": record.text,
        "font": record.text_name,
        "size": record.text_size,
        "style": record.text_style,
        "justification": record.text_justification,
        "angle": _short(angle) if np.isfinite(angle) else 0.0,
        "as_drawn": bool(style & _AS_DRAWN),
    }
    return {name: value for name, value in found.items() if value or name == "text"}


# ── into a file ──────────────────────────────────────────────────────────────────────────


def apply_settings(record: ImagejRoi, kind: str, settings: Mapping[str, Value]) -> None:
    """Write settings into ``record``, which already has its shape.

    Raises:
        UnsupportedDataError: ImageJ cannot store a setting, or it does not apply to the kind.
    """
    unknown = settings.keys() - set(NAMES)
    if unknown:
        raise UnsupportedDataError(
            f"properties['imagej'] has the unknown key {min(unknown)!r}. Known: "
            f"{', '.join(NAMES)}",
            "roi",
        )
    for name, attribute in _COLORS.items():
        if name in settings:
            setattr(record, attribute, _color(name, settings[name]))
    _set_numbers(record, kind, settings)
    _set_stroke_width(record, kind, settings.get("stroke_width", 0))
    for option in _sequence("options", settings.get("options", ())):
        if option not in _OPTIONS:
            raise wrong_setting("options", option, f"one of {', '.join(_OPTIONS)}")
        record.options |= _OPTIONS[option]
    if kind == "point":
        _set_counters(record, settings)
    if kind == "text":
        _set_text(record, settings.get("text", {}))
    if kind == "image":
        _set_image(record, settings.get("image"))
    for name, only in _PARTS.items():
        if kind != only:
            _refuse_needless(name, kind, settings)


def _refuse_needless(name: str, kind: str, settings: Mapping[str, Value]) -> None:
    if name in settings:
        raise UnsupportedDataError(
            f"properties['imagej'][{name!r}] does not apply to kind {kind!r}: leave it out",
            "roi",
        )


def _color(name: str, value: Value) -> bytes:
    match = _COLOR.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise wrong_setting(name, value, "a colour such as '#ff8000' or '#80ff8000'")
    return bytes.fromhex((match[1] or "ff") + match[2])


def _set_numbers(record: ImagejRoi, kind: str, settings: Mapping[str, Value]) -> None:
    for name, number in _NUMBERS.items():
        if number.kinds and kind not in number.kinds:
            _refuse_needless(name, kind, settings)
            continue
        value = settings.get(name, number.default)
        if type(value) is not int or not number.least <= value <= number.most:
            raise wrong_setting(
                name, value, f"a whole number from {number.least} to {number.most}"
            )
        setattr(record, number.attribute, value)
    if record.group > 255:  # older versions have one byte for the group
        record.version = max(record.version, _LARGE_GROUPS)


def _set_stroke_width(record: ImagejRoi, kind: str, value: Value) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 32767:
        raise wrong_setting("stroke_width", value, "a number of pixels from 0 to 32767")
    record.float_stroke_width = float(value)
    if kind != "point":  # points have their size in this field
        record.stroke_width = int(value)


def _sequence(name: str, value: Value) -> tuple[Value, ...]:
    if not isinstance(value, tuple | list):
        raise wrong_setting(name, value, "a list")
    return tuple(value)


def _set_counters(record: ImagejRoi, settings: Mapping[str, Value]) -> None:
    count = record.n_coordinates
    for name, most, dtype in (
        ("counters", 255, np.uint8),
        ("counter_positions", (1 << 24) - 1, np.uint32),
    ):
        values = _sequence(name, settings.get(name, (0,) * count))
        if len(values) != count or not all(
            type(value) is int and 0 <= value <= most for value in values
        ):
            raise wrong_setting(name, values, f"{count} whole numbers from 0 to {most}")
        setattr(record, name, np.array(values, dtype))


def _set_text(record: ImagejRoi, text: Value) -> None:
    fields = dict(text) if hasattr(text, "items") else {"": text}
    for name, value in fields.items():
        if name not in _TEXT or not isinstance(value, _TEXT[name]):
            raise wrong_setting("text", text, f"a dict of {', '.join(_TEXT)}")
    record.text = Text(fields.get("text", ""))
    record.text_name = Text(fields.get("font", ""))
    record.text_size, record.text_style = fields.get("size", 0), fields.get("style", 0)
    record.text_justification = fields.get("justification", 0)
    record.text_justification |= fields.get("as_drawn", False) * _AS_DRAWN >> 8
    record.text_angle = fields.get("angle", 0.0)


def _set_image(record: ImagejRoi, image: Value) -> None:
    try:
        record.image_data = base64.b64decode(image, validate=True)
    except (TypeError, ValueError, binascii.Error):
        raise wrong_setting("image", image, "a TIFF file in base64") from None
    record.image_size = len(record.image_data)
