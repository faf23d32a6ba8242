"""Keep everything but the pixels of an image that is saved again.

Axes, pixel size, units, channels and position are kept if they fit the new pixels and the new
value has no metadata. The number of levels, the labels, the tables and all attributes of other
programs are kept too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    UnsupportedDataError,
)

from .levels import level_zero
from .ome import fit_metadata, image_words, keep_attributes, read_image
from .store.base import DOCUMENTS
from .store.nodes import Document, read_document
from .store.reading import read_whole

if TYPE_CHECKING:
    import numpy as np

    from polystore_core import ImageMetadata, Value

    from .ome import MultiscaleImage
    from .store.base import StorePath

__all__ = ["Kept"]

_OF_IMAGES = ("ome", "multiscales", "omero", "image-label")
_OF_INTENSITIES = frozenset(("bits", "channels.limits", "channels.data_range"))


@dataclass(frozen=True)
class Kept:
    """An image that is about to be replaced."""

    directory: StorePath
    store: StorePath
    document: Document
    image: MultiscaleImage
    shape: tuple[int, ...] | None
    """The shape of level 0, or ``None`` if it cannot be read."""
    dtype: np.dtype[Any] | None

    @classmethod
    def of(cls, directory: StorePath, store: StorePath, document: Document) -> Kept:
        """Read an image.

        Raises:
            DataError: The document is not valid, or the group has several images.
        """
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

    # ── its words ────────────────────────────────────────────────────────────────────────

    def words(self, value: Value) -> ImageMetadata | None:
        """Return the metadata that is kept for a new ``value`` without metadata.

        Returns ``None`` if the axes of the old image cannot be read.
        """
        attributes, image = self.document.attributes, self.image
        shape, dtype = self.shape or value.shape, self.dtype or value.dtype
        old = image_words(attributes, image, shape, dtype)
        if old is None:
            return None
        if dtype != value.dtype:  # 0 to 65535 is not a display range of floats from 0 to 1
            old = old.without(_OF_INTENSITIES)
        if len(old.axes) != len(value.shape):
            return old.without({"coords"})
        return fit_metadata(old, value.shape)

    def check_scale(self, scale: object) -> None:
        """Raise an error if the old image has a transformation that would be lost."""
        if scale is None and self.image.levels[0].scale is None:
            raise UnsupportedDataError(
                "the image has a transformation that polystore does not apply and would lose: "
                "pass scale= to replace it",
                "ome-zarr",
            )

    def keeps_channels(self, metadata: ImageMetadata) -> bool:
        """Return whether the channels of the old document can be kept unchanged."""
        listed = self._omero().get("channels")
        return (
            isinstance(listed, list)
            and len(self.image.channels) == len(metadata.channels)
            and all(isinstance(channel, Mapping) for channel in listed)
            and not self.image.is_label
        )

    def _omero(self) -> Mapping[str, Value]:
        attributes = self.document.attributes
        inner = attributes.get("ome", attributes)
        omero = inner.get("omero") if isinstance(inner, Mapping) else None
        return omero if isinstance(omero, Mapping) else {}

    def levels(self, value: Value) -> int | None:
        """Return the number of levels of the old image, or ``None`` if its size was another."""
        same = self.shape is not None and self.shape[-2:] == value.shape[-2:]
        return len(self.image.levels) if same else None

    def attributes(
        self,
        described: dict[str, Any],
        given: Mapping[str, Value] | None,
        metadata: ImageMetadata,
        *,
        channels: bool,
    ) -> dict[str, Any]:
        """Return the attributes of the group of the new image.

        Args:
            described: attributes that were made for the new image.
            given: attributes of the caller, which replace all others.
            metadata: metadata of the new image.
            channels: whether the caller gave no channels, so that the old ones are kept.
        """
        old = self.document.attributes
        if given is not None:
            old = {key: value for key, value in old.items() if key in _OF_IMAGES}
        windows = [c.limits is not None and c.data_range is not None for c in metadata.channels]
        channels = channels and self.keeps_channels(metadata)
        kept = keep_attributes(old, described, channels=channels, windows=windows)
        return {**(given or {}), **kept}

    # ── its other members ────────────────────────────────────────────────────────────────

    def members(self) -> list[str]:
        """Return the names in the group that are neither documents nor levels."""
        levels = {level.path.partition("/")[0] for level in self.image.levels}
        names = _names(self.directory)
        return [name for name in names if name not in levels and name not in DOCUMENTS]

    def check_labels(self, value: Value, zarr_format: int) -> None:
        """Raise an error if labels or other members do not fit the new pixels or format."""
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
        """Raise an error if a plain array replaces an image, and its labels would be lost."""
        if self.members():
            raise InvalidOptionError(
                "ome",
                False,
                f"True, because the image has {', '.join(self.members())}, which a plain array "
                "cannot have. To save a plain array, delete the image first",
            )

    def put_members(self, tree: StorePath, rebuild: Callable[[Kept, StorePath], bool]) -> None:
        """Give all members to the new image in ``tree``, without copying bytes if possible.

        Another process may save or delete a member at the same time, so each is read whole.

        Args:
            tree: the new image.
            rebuild: writes a label image again, if it needs another number of levels.
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
            target.files.remove(target.key)  # left by an earlier try
            label = None if rebuild is None else self._label(source)
            if rebuild is None or label is None or not rebuild(label, target):
                files.link_tree(key, target)

        try:
            read_whole(source, self.store, put)
        except FileNotFoundError:
            if files.kind(key) is not None:
                raise
            target.files.remove(target.key)  # another process deleted it, so nothing is lost

    def _label(self, directory: StorePath) -> Kept | None:
        """Return the label image at ``directory``, or ``None`` if it cannot be read."""
        try:
            document = read_document(directory)
            is_image = document is not None and document.is_image
            return Kept.of(directory, self.store, document) if document and is_image else None
        except DataError:  # it is kept unchanged
            return None


def _names(folder: StorePath) -> list[str]:
    try:
        return [entry.name for entry in folder.files.entries(folder.key)]
    except (FileNotFoundError, NotADirectoryError):
        return []
