"""Keep everything but the pixels of an image that is saved again.

Axes, pixel size, units, channels, position and the number of levels stay where the new pixels
fit them, and so do the labels, the tables and every attribute that we do not write ourselves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from polystore_core import AXIS_TYPES, image_metadata
from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    PathOutsideRootError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .arrays import ZarrArray
from .ome import kept_attributes, read_image, read_labels
from .store.base import DOCUMENTS
from .store.nodes import Document, read_document
from .store.reading import read_whole

if TYPE_CHECKING:
    import numpy as np

    from polystore_core import ImageMetadata, Option, Value

    from .images import ImageOptions
    from .ome import MultiscaleImage
    from .store.base import StorePath

__all__ = ["Kept", "label_names", "level_at", "level_shape", "level_zero"]

_OF_IMAGES = ("ome", "multiscales", "omero", "image-label")


@dataclass(frozen=True)
class Kept:
    """An image that is about to be replaced."""

    directory: StorePath
    store: StorePath
    document: Document
    image: MultiscaleImage
    shape: tuple[int, ...] | None
    """Of level 0; ``None`` where it cannot be read."""
    dtype: np.dtype[Any] | None

    @classmethod
    def of(cls, directory: StorePath, store: StorePath, document: Document) -> Kept:
        """Read it. Raises ``DataError``, also for two images in one group."""
        image = read_image(document.attributes)
        if image is None:
            raise DamagedDataError(
                "the group has no multiscale image", "ome-zarr", str(directory)
            )
        if image.count > 1:
            raise UnsupportedDataError(
                f"{directory!r} has {image.count} images in one group, and all but the first would "
                "be lost: delete it first",
                "ome-zarr",
            )
        try:
            level = level_zero(directory, image)
        except (DataError, FileNotFoundError):
            return cls(directory, store, document, image, None, None)
        return cls(directory, store, document, image, level.shape, level.dtype)

    # ── its attributes ───────────────────────────────────────────────────────────────────

    def completed(self, value: Value, options: ImageOptions) -> ImageOptions:
        """Return ``options``, with those of the old image where they are ``None``."""
        old = {axis.name: n for n, axis in enumerate(self.image.axes)}
        axes = options.axes
        if axes is None and len(old) == len(value.shape):
            axes = tuple(old)
        names = self._axes(value, axes, options)
        scale, units = options.scale, options.units
        if scale is None:
            of_level = self.image.levels[0].scale
            if of_level is None:
                raise UnsupportedDataError(
                    "the image has a transformation that polystore does not apply and would lose: "
                    "pass scale= to replace it",
                    "ome-zarr",
                )
            scale = {name: of_level[old[name]] for name in names if name in old}
        if units is None:
            units = {
                name: unit
                for name in names
                if name in old
                and AXIS_TYPES[name] != "channel"
                and (unit := self.image.axes[old[name]].unit) is not None
            }
        channels = options.channels
        if channels is None and self.keeps_channels(value, names):
            same = self.dtype == value.dtype
            channels = [
                c if same else replace(c, limits=None, data_range=None)
                for c in self.image.channels
            ]
        return replace(options, axes=axes, scale=scale, units=units, channels=channels)

    def keeps_channels(self, value: Value, names: Sequence[str]) -> bool:
        """Whether there are as many channels as before, and nothing in them is malformed."""
        count = value.shape[names.index("c")] if "c" in names else 1
        has_axis = any(axis.name == "c" for axis in self.image.axes)
        listed = self._omero().get("channels")
        return (
            isinstance(listed, list)
            and len(self.image.channels) == count
            and has_axis == ("c" in names)
            and all(isinstance(channel, Mapping) for channel in listed)
            and not self.image.is_label
        )

    def _omero(self) -> Mapping[str, Value]:
        attributes = self.document.attributes
        inner = attributes.get("ome", attributes)
        omero = inner.get("omero") if isinstance(inner, Mapping) else None
        return omero if isinstance(omero, Mapping) else {}

    def _axes(
        self, value: Value, axes: str | Sequence[str] | None, options: ImageOptions
    ) -> tuple[str, ...]:
        try:
            found = image_metadata(
                value.shape, value.dtype, axes=axes, channels=options.channels
            )
        except InvalidOptionError as error:
            raise self.explained(error, options)  # noqa: B904
        return tuple(axis.name for axis in found.axes)

    def explained(self, error: InvalidOptionError, given: ImageOptions) -> InvalidOptionError:
        """Return the error with a note, where the value is not the caller's."""
        if getattr(given, error.option, None) is None:
            error.add_note(
                f"the value is from the image at this path: pass {error.option}= to replace it"
            )
        return error

    def origin(self, metadata: ImageMetadata) -> tuple[float, ...]:
        """Return where the first pixel is, along each axis of the new image."""
        names = [axis.name for axis in self.image.axes]
        found = self.image.levels[0].translation
        return tuple(
            found[names.index(axis.name)] if found and axis.name in names else 0.0
            for axis in metadata.axes
        )

    def levels(self, value: Value) -> int | None:
        """Return the number of levels to have again, ``None`` for pixels of another size."""
        same = self.shape is not None and self.shape[-2:] == value.shape[-2:]
        return len(self.image.levels) if same else None

    def attributes(
        self,
        described: dict[str, Any],
        given: Mapping[str, Value] | None,
        *,
        channels: bool,
        dtype: np.dtype[Option],
    ) -> dict[str, Any]:
        """Return the attributes of the new image's group."""
        old = self.document.attributes
        if given is not None:
            old = {key: value for key, value in old.items() if key in _OF_IMAGES}
        kept = kept_attributes(old, described, channels=channels, display=dtype == self.dtype)
        return {**(given or {}), **kept}

    # ── its other members ────────────────────────────────────────────────────────────────

    def members(self) -> list[str]:
        """Return the names in its group that are neither documents nor levels."""
        levels = {level.path.partition("/")[0] for level in self.image.levels}
        names = _names(self.directory)
        return [name for name in names if name not in levels and name not in DOCUMENTS]

    def check_labels(self, value: Value, zarr_format: int) -> None:
        """Raise if the new pixels do not fit the labels, or the format the kept members."""
        if self.members() and self.document.zarr_format != zarr_format:
            raise InvalidOptionError(
                "zarr_format",
                zarr_format,
                f"{self.document.zarr_format}, the format of the image and its "
                f"{', '.join(self.members())}. To change the format, delete the image first",
            )
        folder = self.directory / "labels"
        for name in _names(folder):
            label = self._label(folder / name)
            shape = None if label is None else label.shape
            if shape is not None and shape[-2:] != value.shape[-2:]:
                raise UnsupportedDataError(
                    f"the image has labels {name!r} of {shape[-2:]} pixels, but the value has "
                    f"{value.shape[-2:]}: delete {folder!r} first",
                    "ome-zarr",
                )

    def check_plain(self) -> None:
        """Raise where a plain array takes the place of an image and would lose its labels."""
        if self.members():
            raise InvalidOptionError(
                "ome",
                False,
                f"True, because the image has {', '.join(self.members())}, which a plain array "
                "cannot have. To save a plain array, delete the image first",
            )

    def put_members(self, tree: StorePath, rebuild: Callable[[Kept, StorePath], bool]) -> None:
        """Give everything that stays to the new image in ``tree``, without copying bytes.

        ``rebuild`` writes a label image again where that is needed. Somebody may save or delete
        a member at the same time, so each is read whole.
        """
        for name in self.members():
            source, target = self.directory / name, tree / name
            if target.files.kind(target.key) is not None:
                raise UnsupportedDataError(
                    f"{name!r} of the image would be lost: delete the image first", "ome-zarr"
                )
            if name == "labels" and not source.files.is_link(source.key):
                target.files.make_folders(target.key)
                for label in _names(source):
                    self._put(f"labels/{label}", target / label, rebuild)
            else:
                self._put(name, target)

    def _put(
        self,
        name: str,
        target: StorePath,
        rebuild: Callable[[Kept, StorePath], bool] | None = None,
    ) -> None:
        source = self.directory / name
        files, key = source
        if files.is_link(key):
            files.link_tree(key, target)
            return

        def put() -> None:
            target.files.remove(target.key)  # of a try before
            label = None if rebuild is None else self._label(source)
            if rebuild is None or label is None or not rebuild(label, target):
                files.link_tree(key, target)

        try:
            read_whole(source, self.store, put)
        except FileNotFoundError:
            if files.kind(key) is not None:
                raise
            target.files.remove(target.key)  # deleted by others, so it is not lost

    def _label(self, directory: StorePath) -> Kept | None:
        """Return the label image at ``directory``, ``None`` if there is none that we read."""
        try:
            document = read_document(directory)
            is_image = document is not None and document.is_image
            return Kept.of(directory, self.store, document) if document and is_image else None
        except DataError:  # it stays as it is
            return None


def _names(folder: StorePath) -> list[str]:
    try:
        return [entry.name for entry in folder.files.entries(folder.key)]
    except (FileNotFoundError, NotADirectoryError):
        return []


def level_zero(directory: StorePath, image: MultiscaleImage) -> ZarrArray:
    """Open the finest level. Raises ``DamagedDataError``, ``UnsupportedFileError``."""
    return ZarrArray(*level_at(directory, image.levels[0].path))


def level_at(directory: StorePath, path: str) -> tuple[StorePath, Document]:
    """Return where a level is, and its document.

    Raises ``DamagedDataError`` if it is missing, ``UnsupportedFileError`` if it is a group.
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


def label_names(directory: StorePath) -> tuple[str, ...]:
    """Return the names of an image's labels, none where their group cannot be read."""
    try:
        labels = read_document(directory / "labels")
    except (DataError, PathOutsideRootError):
        return ()
    return read_labels(labels.attributes) if labels else ()


def level_shape(directory: StorePath, level: str) -> tuple[int, ...] | None:
    """Return the shape of a level, ``None`` if it cannot be read."""
    try:
        return ZarrArray(*level_at(directory, level)).shape
    except (DataError, PathOutsideRootError):
        return None
