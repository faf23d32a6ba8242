"""The header of an NRRD file: the layout of the array, and the words of the image."""

import json
import math
import os
import re
from collections.abc import Iterable
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from polystore_core import (
    AXIS_TYPES,
    Axis,
    ImageMetadata,
    decode_json,
    finite,
    metadata_document,
    spell_out,
    with_document,
)
from polystore_core.errors import (
    DamagedDataError,
    UnsupportedDataError,
    UnsupportedFileError,
    UnsupportedMetadataError,
)

# The names of NRRD for each type of NumPy. We write the first name. NRRD also allows "signed"
# before a name and " int" behind it, such as "signed short int".
TYPES = {
    "i1": ("int8", "int8_t", "char"),
    "u1": ("uint8", "uint8_t", "uchar", "unsigned char"),
    "i2": ("int16", "int16_t", "short"),
    "u2": ("uint16", "uint16_t", "ushort", "unsigned short"),
    "i4": ("int32", "int32_t", "int"),
    "u4": ("uint32", "uint32_t", "uint", "unsigned"),
    "i8": ("int64", "int64_t", "longlong", "long long"),
    "u8": ("uint64", "uint64_t", "ulonglong", "unsigned long long"),
    "f4": ("float",),
    "f8": ("double",),
}
CODES = {name: code for code, names in TYPES.items() for name in names}
ORDERS = {"little": "<", "big": ">"}
ONLY = {"encoding": "raw", "data file": "", "line skip": "0", "byte skip": "0"}
QUOTED = re.compile('"([^"]*)"')
MOST_AXES, MOST_TEXT = 16, 1 << 20


class Header(NamedTuple):
    """The header of a file, checked."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fields: dict[str, str]
    words: ImageMetadata | None
    """Axes, scales and all else that is known of the image. ``None``: the axes have no names."""
    offset: int


def encode_header(array: Any, words: ImageMetadata | None) -> bytes:
    """Return the header. NRRD names the fastest axis first, so all lists are reversed."""
    if array.dtype.str[1:] not in TYPES:
        reason = f"NRRD has no type for {array.dtype}: convert it, such as to float32"
        raise UnsupportedDataError(reason, "nrrd")
    if not array.size or array.ndim not in range(1, MOST_AXES + 1):
        reason = f"expected 1 to {MOST_AXES} axes that are not empty, got {array.shape}"
        raise UnsupportedDataError(reason, "nrrd")
    lines = [
        "NRRD0002",
        f"type: {TYPES[array.dtype.str[1:]][0]}",
        f"dimension: {array.ndim}",
        f"sizes: {' '.join(map(str, array.shape[::-1]))}",
        "encoding: raw",
        f"endian: {'big' if array.dtype.str[0] == '>' else 'little'}",
    ]
    if words is not None:
        axes = words.axes[::-1]
        document = json.dumps(metadata_document(words)).replace("\\", "\\\\")
        lines += [
            f"labels: {quote(axis.name for axis in axes)}",
            f"spacings: {' '.join('nan' if a.scale is None else repr(a.scale) for a in axes)}",
            f"units: {quote(axis.unit or '' for axis in axes)}",
            f"polystore:={document}",
        ]
    text = "\n".join(lines)
    # A quote in a unit, or an axis of an unusual type, would come back as another one.
    if not text.isascii() or read_words(read_fields(text), array.shape) != words:
        reason = "NRRD cannot hold the names or units of these axes: save it as .tif"
        raise UnsupportedMetadataError(reason, "nrrd", words=("axes",))
    content = f"{text}\n\n".encode()
    if len(content) > MOST_TEXT:
        raise UnsupportedDataError(f"its header has more than {MOST_TEXT} bytes", "nrrd")
    return content


def quote(names: Iterable[str]) -> str:
    """Return names as NRRD lists them, in double quotes."""
    return " ".join(f'"{name}"' for name in names)


def read_header(file: BinaryIO) -> Header:
    """Read the header, and compare the length of the data with it."""
    start = file.read(MOST_TEXT)
    if not start.startswith(b"NRRD000"):
        raise DamagedDataError(f"not an NRRD file (it starts with {start[:8]!r})", "nrrd")
    end = re.search(rb"\r?\n\r?\n", start)
    if end is None:
        raise DamagedDataError(f"no empty line ends its header of {len(start)} bytes", "nrrd")
    fields = read_fields(start[: end.start()].decode())
    shape, dtype = read_layout(fields)
    # Before any memory is allocated: a header can claim more than the file has.
    expected, found = math.prod(shape) * dtype.itemsize, file.seek(0, os.SEEK_END) - end.end()
    if found != expected:
        reason = (
            f"its header has shape {shape} of {dtype}, {expected} bytes, but {found} follow"
        )
        raise DamagedDataError(reason, "nrrd")
    return Header(shape, dtype, fields, read_words(fields, shape), end.end())


def read_fields(text: str) -> dict[str, str]:
    """Return "field: text" and "key:=text" by their names. The text of a key starts with "="."""
    lines = [line.rstrip("\r") for line in text.split("\n")[1:]]
    parts = [line.partition(":") for line in lines if not line.startswith("#")]
    return {name.lower(): value.strip() for name, _, value in parts}


def read_layout(fields: dict[str, str]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Return the shape and the element type. Refuses a layout that ``load`` cannot read."""
    for name, only in ONLY.items():
        found = fields.get(name, fields.get(name.replace(" ", ""), only))
        if found != only:
            reason = f"{name!r} is {found!r}: save it again as raw data in the same file"
            raise UnsupportedFileError(reason, "nrrd")
    if missing := {"type", "dimension", "sizes", "encoding"} - fields.keys():
        raise DamagedDataError(f"its header has no {', '.join(sorted(missing))}", "nrrd")
    code = CODES.get(fields["type"].removeprefix("signed ").removesuffix(" int"))
    order = ORDERS.get(fields.get("endian", ""), "")
    if code is None:
        raise UnsupportedFileError(f"NumPy has no type for {fields['type']!r}", "nrrd")
    shape = tuple(int(size) for size in fields["sizes"].split())[::-1]
    is_valid = len(shape) == int(fields["dimension"]) in range(1, MOST_AXES + 1)
    if not is_valid or min(shape) < 1 or not (order or code[1] == "1"):
        raise DamagedDataError("its dimension, sizes or endian are not valid", "nrrd")
    return shape, np.dtype(order + code)


def read_words(fields: dict[str, str], shape: tuple[int, ...]) -> ImageMetadata | None:
    """Return the words of the image, or ``None`` if its axes have no names."""
    labels, units = (QUOTED.findall(fields.get(name, ""))[::-1] for name in ("labels", "units"))
    scales = fields.get("spacings", "").split()[::-1]
    count = len(shape)
    if len(labels) != count or len({*labels} - {""}) != count:
        return None
    if {len(units), len(scales)} - {0, count}:  # not one for each axis
        return None
    axes = []
    for name, unit, text in zip(
        labels, units or [""] * count, scales or ["nan"] * count, strict=True
    ):
        scale, kind = finite(float(text)), AXIS_TYPES.get(name)
        is_size = scale is not None and scale > 0
        axes.append(Axis(name, kind, spell_out(unit, kind) or None, scale if is_size else None))
    document = fields.get("polystore", "={}")[1:].replace("\\\\", "\\")
    return with_document(ImageMetadata(axes=tuple(axes)), decode_json(document.encode()), shape)
