"""Find, open and describe the levels of an image and its labels."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, SupportsIndex

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    NotFoundError,
    PathOutsideRootError,
    UnsupportedDataError,
    UnsupportedFileError,
    UnsupportedOperationError,
)

from .arrays import Pyramid, Unaligned, ZarrArray
from .ome import read_image, read_labels, samples_last
from .store.entries import is_directory
from .store.nodes import Document, Node, read_document
from .views import Samples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from polystore_core import Value

    from .ome import MultiscaleImage
    from .pipelines import CodecPipeline
    from .store.base import StorePath

__all__ = [
    "check_label",
    "coarser_levels",
    "describe",
    "level_zero",
    "open_pixels",
]


def open_pixels(
    node: Node,
    level: int,
    *,
    path: str,
    backend: str,
    pipeline: CodecPipeline = "zarr",
    writable: bool = False,
    unaligned: Unaligned = "refuse",
    durable: bool | None = None,
    lasting: bool = True,
) -> ZarrArray | Samples:
    """Open an array, or a level of an image with the axes that were saved.

    Args:
        node: the array or image.
        level: the level of an image.
        path: its path, for errors.
        backend: name of the backend, for errors.
        pipeline: the implementation of codecs.
        writable: whether the handle can write.
        unaligned: whether it can write parts of chunks, under a lock.
        durable: whether writes survive a power cut.
        lasting: whether the handle is used after this operation.

    Raises:
        DataError: A document is not valid.
        InvalidOptionError: The image does not have the level.
        UnsupportedOperationError: A part of an image cannot be written.
    """
    if unaligned not in ("refuse", "lock"):
        raise InvalidOptionError("unaligned", unaligned, "'refuse' or 'lock'")
    directory, document = node.directory, node.document
    assert document is not None
    pyramid = None
    if writable and unaligned == "lock":
        directory.files.check_regions()
        directory.files.require("locks", "unaligned='lock'")
    if document.kind == "group":
        if writable:
            raise UnsupportedOperationError(
                backend,
                "writing to a part of an image",
                "its pyramid would not change: save the whole image",
            )
        directory, document, pyramid = _level_of(node, level)
    elif level != 0:
        raise InvalidOptionError("level", level, "0, because this array is not a pyramid")
    array = ZarrArray(
        directory,
        document,
        path=path,
        backend=backend,
        writable=writable,
        unaligned=unaligned,
        pipeline=pipeline,
        durable=durable,
        lasting=lasting,
        pyramid=pyramid,
    )
    return array if pyramid is None else _as_saved(array, pyramid)


def coarser_levels(array: ZarrArray, pyramid: Pyramid) -> Iterator[ZarrArray]:
    """Open the levels below ``array``. Skip those that cannot be read, or do not fit."""
    above = array
    for number in range(pyramid.level + 1, len(pyramid.image.levels)):
        with suppress(DataError, OSError, PathOutsideRootError):
            level = _level_at(pyramid.group, pyramid.image.levels[number].path)
            level = _no_longer(*level, array.shape)
            found = array.sibling(*level, pyramid._replace(level=number))
            if found.dtype == above.dtype and _is_coarser(found.shape, above.shape):
                yield found
                above = found


def _is_coarser(shape: tuple[int, ...], above: tuple[int, ...]) -> bool:
    return len(shape) == len(above) and all(map(int.__le__, shape, above))


def _level_of(node: Node, level: int) -> tuple[StorePath, Document, Pyramid]:
    """Return the place of a level of an image, its document, and the image.

    -1 is the coarsest level. Raises ``DataError``, ``InvalidOptionError``.
    """
    assert node.document is not None
    attributes = node.document.attributes
    image = read_image(attributes)
    if image is None:
        raise DamagedDataError("the group has no multiscale image", "ome-zarr")
    count = len(image.levels)
    if not isinstance(level, SupportsIndex) or not -count <= level < count:
        raise InvalidOptionError("level", level, f"a level from 0 to {count - 1}")
    pyramid = Pyramid(node.directory.base, attributes, image, level % count)
    found = _level_at(node.directory, image.levels[level].path)
    if pyramid.level and found[1].growing:
        # If level 0 cannot be read, the level that the caller wants may still be readable.
        with suppress(DataError, OSError, PathOutsideRootError):
            finest = ZarrArray(*_level_at(node.directory, image.levels[0].path))
            found = _no_longer(*found, finest.shape)
    return *found, pyramid


def _no_longer(
    directory: StorePath, document: Document, shape: Sequence[int]
) -> tuple[StorePath, Document]:
    """Return a level of a growing image, without frames that level 0 does not have yet."""
    if document.growing and document.fields["shape"][0] > shape[0]:
        document = document.with_length(shape[0])
    return directory, document


def _as_saved(array: ZarrArray, pyramid: Pyramid) -> ZarrArray | Samples:
    """Return a level of an image with the axes that were saved."""
    order = samples_last(pyramid.attributes, pyramid.image, array.shape)
    return Samples(array, order) if order else array


def describe(node: Node, backend: str) -> dict[str, Any]:
    """Return the fields of ``Info`` that an array or image has.

    The shapes are those of loaded levels. ``metadata["axes"]`` are the axes in the store, which
    differ for RGB.
    """
    document = node.document
    assert document is not None
    if document.kind == "array":
        array = ZarrArray(node.directory, document, backend=backend)
        return {"format": "zarr", **array.description(), "image": array.image}
    directory, document, pyramid = _level_of(node, 0)
    handle, image = ZarrArray(directory, document, pyramid=pyramid), pyramid.image
    found = handle.description()
    found["metadata"] |= image.description(len(handle.shape), _label_names(node.directory))
    # A level that is missing or cannot be read must not hide the others.
    shapes = [
        handle.shape
        if level is image.levels[0]
        else _level_shape(node.directory, level.path, handle.shape)
        for level in image.levels
    ]
    order = samples_last(pyramid.attributes, image, handle.shape)
    if order:
        shapes = [shape and tuple([shape[n] for n in order]) for shape in shapes]
    found["metadata"]["levels"] = shapes
    return {"format": "ome-zarr", **found, "shape": shapes[0], "image": handle.image}


def check_label(value: Value, labelled: StorePath, path: str, backend: str) -> None:
    """Check that the labels fit the image at ``labelled``.

    Raises:
        NotFoundError: ``labelled`` is not an image.
        UnsupportedDataError: The image has another height or width.
    """
    document = read_document(labelled) if is_directory(labelled) else None
    if document is None or not document.is_image:
        hint = f"{labelled!r} is not an image: save the image first, then its labels"
        raise NotFoundError(backend, path, "label the image", hint=hint)
    directory, document, _ = _level_of(Node(labelled, document), 0)
    shape = ZarrArray(directory, document).shape
    # The labels may lack the other axes, such as that of the channels.
    if value.dtype.kind not in "ui" or value.shape[-2:] != shape[-2:]:
        raise UnsupportedDataError(
            f"the labels have dtype {value.dtype} and shape {value.shape}, but labels of an "
            f"image of shape {shape} must be integers of the same height and width",
            "ome-zarr",
        )


def level_zero(directory: StorePath, image: MultiscaleImage) -> ZarrArray:
    """Open the finest level. Raises ``DamagedDataError``, ``UnsupportedFileError``."""
    return ZarrArray(*_level_at(directory, image.levels[0].path))


def _level_at(directory: StorePath, path: str) -> tuple[StorePath, Document]:
    """Return the place of a level, and its document.

    Raises:
        DamagedDataError: The level is missing.
        UnsupportedFileError: The level is a group.
    """
    level = directory / path
    document = read_document(level)
    if document is None:
        raise DamagedDataError(f"level {path!r} of the pyramid is missing", "ome-zarr")
    if document.kind != "array":
        reason = (
            f"level {path!r} of the pyramid is a group: load the arrays in it by their paths"
        )
        raise UnsupportedFileError(reason, "ome-zarr")
    return level, document


def _label_names(directory: StorePath) -> tuple[str, ...]:
    """Return the names of the labels of an image, or ``()`` if their group cannot be read."""
    try:
        labels = read_document(directory / "labels")
    except (DataError, PathOutsideRootError):
        return ()
    return read_labels(labels.attributes) if labels else ()


def _level_shape(
    directory: StorePath, level: str, finest: tuple[int, ...]
) -> tuple[int, ...] | None:
    """Return the shape of a level, or ``None`` if it cannot be read."""
    try:
        return ZarrArray(*_no_longer(*_level_at(directory, level), finest)).shape
    except (DataError, PathOutsideRootError):
        return None
