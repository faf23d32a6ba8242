"""The metadata of an image in a TIFF file of any program, read without tifffile."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from polystore_core import ImageMetadata

from .header import DESCRIPTION, LENGTH, PHOTOMETRIC, SAMPLES, WIDTH, Header, Page, is_ome
from .hyperstack import Hyperstack, is_imagej, read_hyperstack
from .shaped import shaped_description
from .words import bare_axes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from polystore_core import Value

__all__ = ["hyperstack_of", "image_of", "letters_of", "level_factors", "ome_words"]

_RGB = (2, 6)
"""Photometrics that are decoded to RGB."""


def image_of(
    header: Header,
    letters: str,
    shape: Sequence[int],
    dtype: np.dtype[Value],
    *,
    series: int = 0,
    page: int = 0,
) -> ImageMetadata:
    """Return the metadata of a series.

    Args:
        header: the pages of the file.
        letters: tifffile's letters for the axes.
        shape: the shape of the series.
        dtype: the dtype of its pixels.
        series: the number of the series.
        page: the number of its first page.
    """
    first = header.pages[page] if page < len(header.pages) else header.pages[0]
    if header.descriptions and is_ome(header.descriptions[0]):
        text = header.descriptions[0].decode(errors="replace")
        return ome_words(text, letters, shape, dtype, series)
    hyperstack = hyperstack_of(header, first)
    if hyperstack is not None:
        found = hyperstack.image(_names(letters), tuple(shape))
        return _finish(found, dtype, {"imagej": hyperstack.text})
    description = shaped_description(_descriptions(header, first))
    if description is not None and description.axes:
        return _finish(description.image(_names(letters), tuple(shape)), dtype)
    # tifffile names all samples of a page S, also those of files with four grey channels.
    if header.number(first, PHOTOMETRIC, 1) not in _RGB:
        letters = letters.replace("S", "C")  # samples that are not colours
    names = _names(letters)
    if description is not None:
        return _finish(description.image(names, tuple(shape)), dtype)
    return ImageMetadata(axes=bare_axes(names))


def ome_words(
    text: str, letters: str, shape: Sequence[int], dtype: np.dtype[Value], number: int
) -> ImageMetadata:
    """Return the metadata of the image with this number in a document of OME-XML."""
    from .ome_xml import ome_image  # the parser is imported for these files alone

    found = ome_image(text, _names(letters), tuple(shape), number)
    return _finish(found, dtype, {"ome-xml": text})


def _descriptions(header: Header, page: Page) -> list[bytes]:
    if page is header.pages[0]:
        return header.descriptions[:2]
    tag = page.get(DESCRIPTION)
    return [] if tag is None else [header.text(tag).rstrip(b"\0").strip()]


def hyperstack_of(header: Header, page: Page) -> Hyperstack | None:
    """Return ImageJ's metadata of an image, or ``None`` if ImageJ did not write the file."""
    for description in _descriptions(header, page):
        if is_imagej(description):
            return read_hyperstack(header, page, description)
    return None


def _names(letters: str) -> tuple[str, ...]:
    """Return a name for each axis. tifffile's letter for each unknown axis is Q: q, q2, q3."""
    names: list[str] = []
    for letter in letters.lower():
        count = sum(name[0] == letter for name in names)
        names.append(f"{letter}{count + 1}" if count else letter)
    return tuple(names)


def _finish(
    image: ImageMetadata, dtype: np.dtype[Value], source: dict[str, str] | None = None
) -> ImageMetadata:
    """Leave out display ranges that span the whole ``dtype``: these are not a user's choice."""
    channels = image.channels
    if dtype.kind in "iu" and dtype.itemsize > 1:
        span = (float(np.iinfo(dtype).min), float(np.iinfo(dtype).max))
        if any(channel.limits == span for channel in channels):
            channels = tuple(
                replace(channel, limits=None) if channel.limits == span else channel
                for channel in channels
            )
    if channels is image.channels and not source:
        return image
    return replace(image, channels=channels, source=source or {})


def letters_of(header: Header, shape: Sequence[int]) -> str:
    """Return tifffile's letters for the axes of a file that is read without it."""
    description = shaped_description(header.descriptions[:2])
    axes = (description and description.axes) or ""
    if len(axes) == len(set(axes)) == len(shape) and axes.isalpha():
        return axes.upper()
    page = header.pages[0]
    samples = header.number(page, SAMPLES, 1)
    letters = "YX" if samples == 1 else "YXS"
    sizes = (header.number(page, LENGTH), header.number(page, WIDTH), samples)
    plane = sizes[: len(letters)]
    end = len(shape)
    while end > len(plane) and tuple(shape[end - len(plane) : end]) != plane:
        end -= 1
    before = end - len(plane)
    return "Q" * before + letters + "Q" * (len(shape) - end)


def level_factors(shape: Sequence[int], level: Sequence[int]) -> tuple[float, ...]:
    """Return how many pixels of an image one pixel of a smaller copy spans, for each axis."""
    return tuple(map(_factor, shape, level))


def _factor(length: int, smaller: int) -> float:
    # 1025 pixels have a half copy of 512 or 513: the factor is 2, not 1025 / 512.
    nearest = max(1, round(length / smaller))
    is_rounded = smaller in (length // nearest, math.ceil(length / nearest))
    return nearest if is_rounded else length / smaller
