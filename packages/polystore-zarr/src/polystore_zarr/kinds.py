"""Decide whether a value becomes an image or a plain array, and the version of the image.

If something is at the path, its content decides. The name of the store decides only for new
things, because other programs seldom call their stores ``.ome.zarr``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, TypeAlias

from polystore_core.errors import InvalidOptionError

from .images import Image, Version
from .ome import (
    Plate,
    add_label,
    check_well,
    read_image,
    read_plate,
    read_roles,
    read_well,
)
from .store.nodes import Document, ZarrFormat, read_document

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .store.base import StorePath
    from .store.layout import Address

__all__ = ["Ome", "Surroundings", "plate_above"]

Ome: TypeAlias = bool | Literal["0.4", "0.5"]

_EXPECTED = (
    "STORE (an image), STORE/NAME (one of several images), STORE/ROW/COLUMN/FIELD (a field of a "
    "plate, such as plate.ome.zarr/B/03/0), or one of these with /labels/NAME"
)


@dataclass(frozen=True)
class Surroundings:
    """The documents at a path and above it."""

    place: Address
    present: Document | None
    above: tuple[Document | None, ...]
    """The document of each group above the path, the store first."""
    is_free: bool = False
    """Whether nothing is at the path: no node, folder, link or file. ``False`` if not known."""

    @classmethod
    def of(
        cls, place: Address, known: Mapping[StorePath, Document] | None = None
    ) -> Surroundings:
        """Read the documents.

        Args:
            place: the path.
            known: documents that were read before. Only those that have changed are read.

        Raises:
            DataError: A document is not valid.
            OSError: The store cannot be read.
        """
        if not place.store:
            return cls(place, None, ())
        files, store = place.store
        known = known or {}
        while True:
            above: list[Document | None] = []
            is_free = False
            for group in place.groups():
                # Nothing is in a folder that is missing: the calls for it are saved.
                document = None if is_free else read_document(group, known.get(group))
                is_free = is_free or (document is None and files.is_free(group.key))
                above.append(document)
            is_free = is_free or files.is_free(place.node.key)
            present = None if is_free else read_document(place.node)
            # A missing node may have stepped aside for a moment, while it is replaced.
            if None not in (present, *above) or not files.settle(store):
                return cls(place, present, tuple(above), is_free)

    @property
    def is_new(self) -> bool:
        """Whether the path is free in a group that exists."""
        kinds = {document and document.kind for document in self.above}
        return self.is_free and self.place.in_store and kinds == {"group"}

    @property
    def zarr_format(self) -> ZarrFormat | None:
        """The format of the group around the path, or of the node at the path."""
        for document in (*reversed(self.above), self.present):
            if document is not None:
                return document.zarr_format
        return None

    @property
    def present_image(self) -> Document | None:
        """The image that the path leads to."""
        return self.present if self.present is not None and self.present.is_image else None

    @cached_property
    def is_image(self) -> bool | None:
        """Whether the content makes the path an image. ``None`` if it does not decide."""
        if self.present is not None:
            return self.present.is_image
        if self._image_above is not None:  # the images in an image are its labels
            return True if self.place.inner[self._image_above] == "labels" else None
        if self.above and _collects_images(self.above[-1]):
            return True
        if self._plate is None:
            return None
        depth, plate = self._plate
        is_below_plate = all(document is None for document in self.above[depth + 1 :])
        return True if is_below_plate or _is_field(self.place.inner[depth:], plate) else None

    def image(self, ome: Ome | None, zarr_format: ZarrFormat | None) -> Image | None:
        """Return the role of a value that becomes an image, or ``None`` for a plain array.

        Raises:
            InvalidOptionError: An image cannot be at this path, or the options do not fit.
        """
        version = self._version(ome, zarr_format)
        if version is None:
            return None
        try:
            is_label = self._check_place()
        except InvalidOptionError as error:
            error.add_note("pass ome=False to save a plain array")
            raise
        labelled = self._find_labelled() if is_label else None
        document = read_document(labelled) if labelled else None
        image = None if document is None else read_image(document.attributes)
        name = self.place.inner[-1] if self.place.inner else self.place.path.rpartition("/")[2]
        # In this order, so that "x.ome.zarr.zip" becomes "x".
        for suffix in (".ozx", ".zip", ".zarr", ".ome"):
            if name.lower().endswith(suffix):
                name = name[: -len(suffix)]
        if image is None:
            return Image(version, name, is_label, labelled)
        axes = [axis.name for axis in image.axes]
        return Image(version, name, is_label, labelled, len(image.levels), axes)

    def _version(self, ome: Ome | None, zarr_format: ZarrFormat | None) -> Version | None:
        if zarr_format not in (None, 2, 3):
            raise InvalidOptionError("zarr_format", zarr_format, "3 or 2")
        if ome not in (None, True, False, "0.4", "0.5"):
            raise InvalidOptionError("ome", ome, 'True, False, "0.5" or "0.4"')
        place = self.place
        if not place.inner and _is_ozx(place):
            self._check_ozx(ome, zarr_format)
            ome = True
        if ome is None:
            ome = self.is_image
            if ome is None:
                ome = place.in_store and _is_named_ome(place)
        if ome is False:
            return None
        if not place.in_store and self.present_image is None:
            fault = f"ome={ome!r} needs a path that names a store, such as 'x.ome.zarr'"
            raise InvalidOptionError("ome", ome, "None", fault)
        if ome is True:
            return "0.4" if (zarr_format or self.zarr_format) == 2 else "0.5"
        if zarr_format not in (None, 2 if ome == "0.4" else 3):
            raise InvalidOptionError(
                "zarr_format", zarr_format, f"{2 if ome == '0.4' else 3}, which NGFF {ome} uses"
            )
        return ome

    def _check_ozx(self, ome: Ome | None, zarr_format: ZarrFormat | None) -> None:
        expected = "for a path that ends in '.ozx', which holds OME-Zarr 0.5 only"
        if ome in (False, "0.4"):
            raise InvalidOptionError("ome", ome, f"True {expected}")
        if zarr_format == 2:
            raise InvalidOptionError("zarr_format", 2, f"3 {expected}")

    def _check_place(self) -> bool:
        """Return whether the path is that of a label image. Raise if it cannot be an image."""
        parts = self.place.inner
        is_label = len(parts) >= 2 and parts[-2] == "labels"
        if self.present is not None and self.present.is_image:
            self._check_documents(is_label)
            image = read_image(self.present.attributes)
            return is_label or (image is not None and image.is_label)
        if self._image_above is not None and parts[self._image_above] == "labels":
            if len(parts) != self._image_above + 2:
                raise InvalidOptionError("path", self.place.path, _EXPECTED)
            self._check_documents(is_label)
            return True
        parts = parts[:-2] if is_label else parts
        if not is_label and self.above and _collects_images(self.above[-1]):
            check_well("A", "1", parts[-1])
        elif self._plate is not None:
            depth, plate = self._plate
            if len(parts) != depth + 3:
                expected = (
                    "PLATE/ROW/COLUMN/FIELD for a field of the plate: plate.ome.zarr/B/03/0"
                )
                raise InvalidOptionError("path", self.place.path, expected)
            row, column, field = parts[depth:]
            check_well(row, column, field, plate)
        elif len(parts) == 3:
            check_well(*parts)
        elif len(parts) > 1 or "labels" in parts:
            raise InvalidOptionError("path", self.place.path, _EXPECTED)
        self._check_documents(is_label)
        return is_label

    def _check_documents(self, is_label: bool) -> None:
        """Raise an error if the documents above could not list the image later.

        The list is written after the image. An error then would come after long work.
        """
        parent = self.above[-1] if self.above else None
        if parent is not None and is_label:
            add_label(parent.attributes, self.place.inner[-1])
        elif parent is not None and parent.attributes:
            # For the error that it raises if the list of fields is damaged.
            parent.derive(read_well)
        for document in self.above:
            is_empty = document is None or not document.attributes
            if document is not None and not is_empty and document.derive(read_roles).plate:
                document.derive(read_plate)

    @cached_property
    def _image_above(self) -> int | None:
        """The number of parts of the path that lead to the image around it."""
        for depth in reversed(range(len(self.above))):
            above = self.above[depth]
            if above is not None and above.attributes and above.is_image:
                return depth
        return None

    @cached_property
    def _plate(self) -> tuple[int, Plate] | None:
        return plate_above(self.above)

    def _find_labelled(self) -> StorePath:
        """Return the place of the image to which a label image belongs."""
        inner = self.place.inner
        depth = len(inner) - 2 if self._image_above is None else self._image_above
        return self.place.group(depth)


def _is_named_ome(place: Address) -> bool:
    assert place.store is not None
    name = (place.store.name or str(place.store).rpartition("/")[2]).lower()
    return name.endswith((".ome.zarr", ".ome.zarr.zip", ".ozx"))


def _is_ozx(place: Address) -> bool:
    return place.archive is not None and place.archive.name.lower().endswith(".ozx")


def plate_above(above: Sequence[Document | None]) -> tuple[int, Plate] | None:
    """Return the innermost plate of the groups above a path, and its depth."""
    for depth in reversed(range(len(above))):
        document = above[depth]
        if document is not None and document.attributes and document.derive(read_roles).plate:
            plate = document.derive(read_plate)
            return None if plate is None else (depth, plate)
    return None


def _collects_images(group: Document | None) -> bool:
    """Return whether the members of a group are images: of a well, or of a converted file."""
    if group is None or group.kind != "group" or not group.attributes:
        return False
    roles = group.derive(read_roles)
    return not roles.plate and (roles.well or roles.series)


def _is_field(parts: tuple[str, ...], plate: Plate) -> bool:
    try:
        row, column, field = parts
        check_well(row, column, field, plate)
    except ValueError:
        return False
    return True
