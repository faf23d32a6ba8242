"""Reading a value from one backend and saving it to another, with its metadata."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .errors import (
    UnsupportedDataError,
    UnsupportedMetadataError,
    UnsupportedOperationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from .abc.backend import DataSink, DataSource, Path
    from .values import Info, Option, Value

__all__ = ["carry", "save_carried"]

_LARGE = 1 << 26
"""Bytes from which an array is read in parts: 64 MiB."""


@contextmanager
def carry(source: DataSource, path: Path, *, alone: bool = False) -> Iterator[Value]:
    """Return the value at ``path``: an image as an ``Image``, a large array as a lazy handle.

    The handle is closed when the block ends.

    Args:
        source: The backend that has the value.
        path: Its path.
        alone: Whether to leave out the files next to it, as ``Format.alone`` does.
    """
    options = source.options_alone(path) if alone else {}
    describe = source.info_alone if alone else source.info
    abilities = source.capabilities
    info = describe(path) if "info" in abilities else None
    if info is not None and "open" in abilities and _nbytes(info) > _LARGE:
        try:
            handle = source.open(path, **options)
        except (UnsupportedOperationError, UnsupportedDataError):
            pass  # this format, or this file, can only be loaded as a whole
        else:
            # In ``else``, so that errors of the caller's block are not caught above.
            from .image import Image

            with handle:
                words = handle.image
                yield handle if words is None else Image(handle, words)
            return
    yield _load_value(source, path, info, options)


def _load_value(
    source: DataSource, path: Path, info: Info | None, options: Mapping[str, Option]
) -> Value:
    if info is not None and info.image is None:
        return source.load(path, **options)
    if info is not None:
        return source.load_image(path, **options)
    try:
        # Without info, only this finds out if it is an image.
        return source.load_image(path, **options)
    except (UnsupportedOperationError, UnsupportedDataError):
        return source.load(path, **options)


def _nbytes(info: Info) -> int:
    import numpy as np  # listing a folder and copying bytes need no arrays

    try:
        return math.prod(info.shape or (0,)) * np.dtype(info.dtype).itemsize
    except TypeError:  # the element type of another framework
        return 0


def save_carried(
    target: DataSink, value: Value, path: Path, options: Mapping[str, Option]
) -> tuple[str, ...]:
    """Save ``value`` with as much metadata as ``target`` can hold. Return the names of the rest."""
    from .image import Image

    save: Callable[..., Any] = target.save
    lost: dict[str, None] = {}  # in order, each once
    while True:
        try:
            save(value, path, **options)
            return tuple(lost)
        # Each try drops the fields that the error names, until the target accepts the rest.
        except UnsupportedMetadataError as error:
            if not isinstance(value, Image):
                raise
            metadata = value.metadata
            kept = metadata.without(frozenset(error.words))
            if "axes" not in error.words and kept != metadata:
                lost |= dict.fromkeys(error.words)
                value = Image(value.data, kept)
            else:
                lost |= dict.fromkeys(("axes", *sorted(metadata.words())))
                value = value.data
