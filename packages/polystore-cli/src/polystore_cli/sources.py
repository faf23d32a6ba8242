"""What is at the paths of ``polystore view``: images, folders of images, plates and stores."""

from __future__ import annotations

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from polystore_core import FileBackend, join, natural_order
from polystore_core.errors import (
    DataError,
    InvalidOptionError,
    PluginError,
    StorageError,
    UnsupportedFormatError,
)

from .address import Address, is_directory, usual_backend

if TYPE_CHECKING:
    from polystore_core import FileManager, Info

__all__ = ["TROUBLE", "Kind", "Picture", "Skipped", "Source", "find_images", "told"]

Kind: TypeAlias = Literal["image", "folder", "store", "plate"]

TROUBLE = (DataError, StorageError, UnsupportedFormatError, PluginError, InvalidOptionError)
"""Errors that one path has: others may still be shown."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, or another value that a viewer shows."""

    address: Address
    info: Info | None
    """``None`` for a backend that describes nothing."""

    @property
    def axes(self) -> tuple[str, ...] | None:
        image = None if self.info is None else self.info.image
        return None if image is None else image.names

    @property
    def is_labels(self) -> bool:
        image = None if self.info is None else self.info.image
        return image is not None and image.kind == "labels"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a folder, store or plate that is not shown."""

    source: str
    what: str
    """What such things are called together: ".txt file"."""
    reason: str
    failed: bool = False
    """Whether it is an image that cannot be shown."""


@dataclass(slots=True)
class Source:
    """A path of the command line, with the images that are there."""

    address: Address
    kind: Kind
    pictures: list[Picture] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    plate: dict[str, Any] = field(default_factory=dict)
    """Of a plate: its wells, and what is missing."""


def find_images(files: FileManager, address: Address) -> Source:
    """Return the images at ``address``.

    Raises one of ``TROUBLE`` for a path that is missing or damaged, and
    ``InvalidOptionError`` for a folder without images.
    """
    backend = files.registry[address.backend]
    info = None
    if "info" in backend.capabilities:
        info = files.info(address.path, backend=address.backend)
        if "plate" in info.metadata:
            return _plate(files, address, dict(info.metadata["plate"]))
    if not is_directory(files, address):
        return Source(address, "image", [Picture(address, info)])
    if isinstance(backend, FileBackend):
        source = _folder(files, address)
    else:
        source = _store(files, address)
    if not source.pictures:
        found = ", ".join(_counts(source.skipped)) or "nothing"
        fault = f"{address} has no images: found {found}"
        raise InvalidOptionError("PATH", str(address), "a folder with images", fault)
    return source


def _folder(files: FileManager, address: Address) -> Source:
    """Find the images of a folder of files: those below it belong to other folders."""
    source = Source(address, "folder")
    for name in files.list_dir(address.path, backend=address.backend):
        inside = address.at(join(address.path, name))
        if not is_directory(files, inside):
            _add_file(files, source, inside)
        elif usual_backend(name) == "zarr" and address.backend == "disk":
            _add_store(files, source, Address("zarr", inside.path))
        else:
            reason = "name a folder to show its images"
            source.skipped.append(Skipped(str(inside), "folder", reason))
    return source


def _add_file(files: FileManager, source: Source, address: Address) -> None:
    suffix = posixpath.splitext(address.name)[1].lower()
    what = f"{suffix or 'other'} file"
    try:
        info = files.info(address.path, backend=address.backend)
    except TROUBLE as error:
        source.skipped.append(Skipped(str(address), what, str(error), failed=True))
        return
    if info.format is None:
        reason = f"no format has the suffix {suffix!r}" if suffix else "it has no suffix"
        source.skipped.append(Skipped(str(address), what, reason))
    else:
        _add(source, Picture(address, info), what)


def _add(source: Source, picture: Picture, what: str) -> None:
    """Add an image, or say that this is none."""
    info = picture.info
    if info is not None and info.shape is not None and len(info.shape) >= 2:
        source.pictures.append(picture)
    else:
        source.skipped.append(Skipped(str(picture.address), what, "not an image"))


def _add_store(files: FileManager, source: Source, address: Address) -> None:
    try:
        found = find_images(files, address)
    except TROUBLE as error:
        source.skipped.append(Skipped(str(address), "Zarr store", str(error), failed=True))
        return
    if found.kind == "plate":
        reason = "name a plate to show it"
        source.skipped.append(Skipped(str(address), "plate", reason))
    else:
        source.pictures += found.pictures
        source.skipped += found.skipped


def _store(files: FileManager, address: Address) -> Source:
    """Find the images in a group, each with its label images."""
    source = Source(address, "store")
    for path in files.list_files(address.path, backend=address.backend, recursive=True):
        try:
            info = files.info(path, backend=address.backend)
        except TROUBLE as error:
            source.skipped.append(
                Skipped(str(address.at(path)), "array", str(error), failed=True)
            )
            continue
        _add(source, Picture(address.at(path), info), "array")
        for name in natural_order(info.metadata.get("labels") or ()):
            labels = address.at(join(path, f"labels/{name}"))
            try:
                found = Picture(labels, files.info(labels.path, backend=address.backend))
            except TROUBLE as error:
                source.skipped.append(
                    Skipped(str(labels), "label image", str(error), failed=True)
                )
            else:
                _add(source, found, "label image")
    return source


def _plate(files: FileManager, address: Address, plate: dict[str, Any]) -> Source:
    source = Source(address, "plate", plate=plate)
    reasons = {
        "missing": ("field", "the plate lists it, and it is not there"),
        "unlisted": ("field", "the plate does not list it"),
        "damaged": ("well", "its document is damaged"),
    }
    for kind, (what, reason) in reasons.items():
        for name in plate.get(kind, ()):
            source.skipped.append(Skipped(f"{address}/{name}", what, reason))
    source.pictures.append(Picture(address, files.info(address.path, backend=address.backend)))
    return source


def told(skipped: Sequence[Skipped]) -> Iterator[str]:
    """Yield one line for all that was skipped for the same reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in skipped:
        # Errors name their file: they are alike only if their names are.
        groups.setdefault((one.what, one.reason), []).append(one.source)
    for (what, reason), names in groups.items():
        if len(names) == 1:
            yield f"skipped {names[0]}: {reason}"
        else:
            yield f"skipped {len(names):,} {what}s, such as {names[0]}: {reason}"


def _counts(skipped: Iterable[Skipped]) -> list[str]:
    counts = Counter(one.what for one in skipped)
    return [f"{count:,} {what}{'s' if count > 1 else ''}" for what, count in counts.items()]
