"""Find the images, folders of images, plates and stores at the paths of ``polystore view``."""

from __future__ import annotations

import posixpath
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from polystore_core import FileBackend, join, natural_order, progress_reporter
from polystore_core.errors import (
    DataError,
    InvalidOptionError,
    PluginError,
    StorageError,
    UnsupportedFormatError,
)

from .address import Address, is_directory, usual_backend
from .output import is_terminal

if TYPE_CHECKING:
    from polystore_core import FileManager, Info

__all__ = [
    "TROUBLE",
    "Kind",
    "Picture",
    "Skipped",
    "Source",
    "describe_skipped",
    "find_fields",
    "find_images",
]

Kind: TypeAlias = Literal["image", "folder", "store", "plate"]

_Item = TypeVar("_Item")

_MANY = 200
"""From this number of files on, a progress bar is shown."""

_NO_IMAGES = frozenset({".json", ".roi", ".txt", ".zip"})
"""Suffixes of files without images. If one is damaged, no image is missing."""

TROUBLE = (DataError, StorageError, UnsupportedFormatError, PluginError, InvalidOptionError)
"""Errors of one path. The others can still be shown."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One image, or another value that a viewer shows."""

    address: Address
    info: Info | None
    """``None`` if the backend has no ``info``."""
    labels_of: Address | None = None
    """The image that this one labels, and is stored with."""
    alone: bool = False
    """Whether the files next to it are shown as well, so that none of their planes are in it."""

    @property
    def axes(self) -> tuple[str, ...] | None:
        """The names of its axes, if they are known."""
        image = None if self.info is None else self.info.image
        return None if image is None else image.names


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something in a folder, store or plate that is not shown."""

    source: str
    what: str
    """The kind of thing in English: ".txt file"."""
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
    """Its wells, and the wells and fields that are missing, if it is a plate."""


def find_images(files: FileManager, address: Address, *, alone: bool = False) -> Source:
    """Return the images at ``address``.

    Args:
        files: The files and their backends.
        address: An image, a folder of images, a plate or a store.
        alone: Whether to leave out planes of other files of an OME-TIFF set, as in a folder.

    Raises:
        StorageError: Nothing is there. Other errors of ``TROUBLE`` are raised for damaged data.
        InvalidOptionError: A folder has no images.
    """
    backend = files.registry[address.backend]
    is_of_files = isinstance(backend, FileBackend)
    info = None
    if "info" in backend.capabilities:
        info = _describe(files, address, alone=alone)
        # A plate is also a folder of images, so this question comes first.
        if "plate" in info.metadata:
            return _plate(address, info)
    if not is_directory(files, address):
        source = Source(address, "image", [Picture(address, info, alone=alone)])
        if not is_of_files:
            _add_labels(files, source, source.pictures[0])
        elif info is not None and info.format is None:
            # Raises, and says why.
            files.registry.formats.of(address.path, backend=address.backend)
        return source
    source = _folder(files, address) if is_of_files else _store(files, address)
    # If an image failed, its own error says more than "no images".
    if not source.pictures and not any(one.failed for one in source.skipped):
        found = ", ".join(_counts(source.skipped)) or "nothing"
        fault = f"{address} has no images: found {found}{_way_on(source)}"
        raise InvalidOptionError("PATH", str(address), "a folder with images", fault)
    return source


def _way_on(source: Source) -> str:
    """Return the command that shows images in a folder below, or in the other backend."""
    here = source.address
    if here.backend == "disk" and usual_backend(here.path) == "zarr":
        return f". To show a Zarr store: polystore view {shlex.quote(f'zarr:{here.path}')}"
    below = [one.source for one in source.skipped if one.what in ("plate", "folder")]
    return f". To show one of them: polystore view {shlex.quote(below[0])}" if below else ""


def _folder(files: FileManager, address: Address) -> Source:
    """Find the images in a folder of files, but not in the folders below it."""
    source = Source(address, "folder")
    for name in _with_progress(files.list_dir(address.path, backend=address.backend)):
        inside = address.at(join(address.path, name))
        # On disk a Zarr store is a folder of chunks. Its images are found by the other backend.
        if usual_backend(name) == "zarr" and address.backend == "disk":
            _add_zarr(files, source, Address("zarr", inside.path))
        elif not is_directory(files, inside):
            _add_file(files, source, inside)
        else:
            reason = "name a folder to show its images"
            source.skipped.append(Skipped(str(inside), "folder", reason))
    return source


def _add_file(files: FileManager, source: Source, address: Address) -> None:
    suffix = posixpath.splitext(address.name)[1].lower()
    what = f"{suffix or 'other'} file"
    info = _info(files, source, address, what, alone=True)
    if info is None:
        if suffix in _NO_IMAGES:
            # `_info` has just added it as a failure, but a damaged text file is not a missing
            # image.
            source.skipped[-1] = Skipped(str(address), what, "not an image")
        return
    if info.format is None:
        reason = f"no format has the suffix {suffix!r}" if suffix else "it has no suffix"
        source.skipped.append(Skipped(str(address), what, reason))
    else:
        _add(source, Picture(address, info, alone=True), what)


def _add_zarr(files: FileManager, source: Source, address: Address) -> None:
    """Add the images of a store in a folder. A plate is not added, because it has its own view."""
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
    paths = files.list_files(address.path, backend=address.backend, recursive=True)
    for path in _with_progress(paths):
        info = _info(files, source, address.at(path), "array")
        if info is not None:
            picture = Picture(address.at(path), info)
            _add(source, picture, "array")
            _add_labels(files, source, picture)
    return source


def _add_labels(files: FileManager, source: Source, image: Picture) -> None:
    names = () if image.info is None else image.info.metadata.get("labels", ())
    for name in natural_order(names):
        address = image.address / f"labels/{name}"
        info = _info(files, source, address, "label image")
        if info is not None:
            _add(source, Picture(address, info, labels_of=image.address), "label image")


def _describe(files: FileManager, address: Address, *, alone: bool) -> Info:
    backend: Any = files.registry[address.backend]
    describe = backend.info_alone if alone else backend.info
    found: Info = describe(address.path)
    return found


def _info(
    files: FileManager, source: Source, address: Address, what: str, *, alone: bool = False
) -> Info | None:
    """Describe an image. If that fails, skip it and return ``None``: the others are shown."""
    try:
        return _describe(files, address, alone=alone)
    except TROUBLE as error:
        source.skipped.append(Skipped(str(address), what, str(error), failed=True))
        return None


def _add(source: Source, picture: Picture, what: str) -> None:
    """Add an image. Skip anything else."""
    info = picture.info
    if info is not None and info.shape is not None and len(info.shape) >= 2:
        source.pictures.append(picture)
    else:
        source.skipped.append(Skipped(str(picture.address), what, "not an image"))


_ABSENT = {
    "empty": "its well does not list this field, as others do",
    "missing": "the plate lists it, and it is not there",
    "unlisted": "the plate does not list it",
}
"""Why a well or field of a plate is not shown."""


def _plate(address: Address, info: Info) -> Source:
    plate = dict(info.metadata["plate"])
    source = Source(address, "plate", [Picture(address, info)], plate=plate)
    for kind, reason in _ABSENT.items():
        for name in plate[kind]:
            # A well is "B/03", and a field of it is "B/03/0".
            what = "well" if name.count("/") == 1 else "field"
            source.skipped.append(Skipped(str(address / name), what, reason))
    for well in plate["damaged"]:
        place = str(address / well)
        reason = f"the document of {place} is damaged"
        source.skipped.append(Skipped(place, "well", reason, failed=True))
    return source


def find_fields(files: FileManager, plate: Source) -> dict[str, Picture]:
    """Return the fields of a plate that are listed and exist, by path: "B/03/0"."""
    known = plate.plate
    absent = {*known["empty"], *known["missing"]}
    paths = [f"{well}/{name}" for well in known["wells"] for name in known["fields"]]
    found = {}
    for path in _with_progress([path for path in paths if path not in absent]):
        address = plate.address / path
        info = _info(files, plate, address, "field")
        if info is not None:
            found[path] = Picture(address, info)
    return found


def _with_progress(items: Sequence[_Item]) -> Iterator[_Item]:
    """Yield the items. On a terminal, show a progress bar if there are many."""
    is_long = len(items) > _MANY and is_terminal(sys.stderr)
    with progress_reporter(is_long, len(items), "look") as report:
        for item in items:
            yield item
            report()


def describe_skipped(skipped: Sequence[Skipped]) -> Iterator[str]:
    """Yield one line for all sources that were skipped for the same reason."""
    groups: dict[tuple[str, str], list[str]] = {}
    for one in skipped:
        groups.setdefault((one.what, one.reason), []).append(one.source)
    for (what, reason), names in groups.items():
        if len(names) == 1:
            yield f"skipped {names[0]}: {reason}"
        else:
            yield f"skipped {len(names):,} {what}s, such as {names[0]}: {reason}"


def _counts(skipped: Iterable[Skipped]) -> list[str]:
    counts = Counter(one.what for one in skipped)
    return [f"{count:,} {what}{'s' if count > 1 else ''}" for what, count in counts.items()]
