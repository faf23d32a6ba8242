"""``.roi`` and ``.roi.zip``: ImageJ's ROI, and the set that its ROI Manager saves."""

from __future__ import annotations

import dataclasses
import math
import zipfile
from typing import TYPE_CHECKING, BinaryIO

from polystore_core import Format, decode_json
from polystore_core.errors import (
    DamagedDataError,
    PolystoreError,
    UnsupportedDataError,
    UnsupportedFileError,
)
from polystore_core.rois import ROI

from ..archive import (
    ARCHIVE_ERRORS,
    NAME_BYTES_LIMIT,
    is_hidden,
    open_archive,
    open_member,
    packing_of,
)
from ..limits import allocating, check_packing
from .roi import decode_roi, encode_roi

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import Document, Value

__all__ = ["BYTES_LIMIT", "ROIS_LIMIT", "Roi", "RoiZip"]

BYTES_LIMIT = 1 << 26
"""The most bytes of a ROI. Members that are packed tighter than 100 to 1 may unpack to as many
together, unless ``max_bytes`` of load allows more."""
ROIS_LIMIT = 100_000
"""The most ROIs of one set."""

_SUFFIX = ".roi"
_PROPERTIES = "__polystore_roi_metadata__.json"
"""The member in which polystore 0.6 wrote the properties of each ROI, by the member's name."""
# Users try to load "image.zarr.zip" as a set of ROIs, because both are .zip files.
_OF_ZARR = ("zarr.json", ".zarray", ".zgroup", ".zattrs")
"""Documents of Zarr stores, which are .zip files as well."""
_UNNAMED = b"unnamed"
"""The comment of a member whose ROI has no name. A member needs one."""
_FORBIDDEN = {ord(character): "_" for character in '/\\:*?"<>|\x7f'} | dict.fromkeys(
    range(32), "_"
)


class Roi(Format):
    """One :class:`polystore_core.rois.ROI`."""

    name = "roi"

    def save(self, value: Value, file: BinaryIO, /) -> None:
        if not isinstance(value, ROI):
            raise UnsupportedDataError(
                f"expected a polystore.rois.ROI, got {type(value).__name__}: save a list of ROIs "
                "as .roi.zip",
                "roi",
            )
        file.write(_encode(value, "this ROI"))

    def load(self, file: BinaryIO, /) -> ROI:
        content = file.read(BYTES_LIMIT + 1)
        if len(content) > BYTES_LIMIT:
            raise UnsupportedFileError(f"it has more than {BYTES_LIMIT} bytes", "roi")
        return decode_roi(content)


class RoiZip(Format):
    """A list of :class:`polystore_core.rois.ROI`, in its order.

    Each member has the name of its ROI. A second ROI with this name is "name-1.roi", as in ImageJ.
    ``load`` reads all ``.roi`` members in their order, and ignores the others.
    """

    name = "roi.zip"
    decode_errors = ARCHIVE_ERRORS

    def save(self, value: Value, file: BinaryIO, /) -> None:
        if not isinstance(value, list) or not all(isinstance(roi, ROI) for roi in value):
            raise UnsupportedDataError(
                f"expected a list of polystore.rois.ROI, got {_describe_type(value)}: save arrays "
                "as .npz, one ROI as .roi",
                "roi.zip",
            )
        if len(value) > ROIS_LIMIT:
            raise UnsupportedDataError(
                f"it has {len(value)} ROIs, but a set holds at most {ROIS_LIMIT}", "roi.zip"
            )
        # All are encoded before the first byte is written, so that one bad ROI leaves no file.
        contents = [_encode(roi, f"ROI {i}, {roi.name!r:.80}") for i, roi in enumerate(value)]
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, roi, content in zip(_member_names(value), value, contents, strict=True):
                # The date is always 1980, so that equal values give equal bytes.
                member = zipfile.ZipInfo(name)
                member.compress_type, member.create_system = zipfile.ZIP_DEFLATED, 3
                member.comment = b"" if roi.name else _UNNAMED
                archive.writestr(member, content)

    def load(self, file: BinaryIO, /, *, max_bytes: int | None = None) -> list[ROI]:
        """Load the ROIs.

        Args:
            max_bytes: allow all ROIs together to unpack to this many bytes.
        """
        with open_archive(file, "roi.zip", max_entries=ROIS_LIMIT) as archive:
            members = _members(archive)
            parts = packing_of(members)
            check_packing(parts, "roi.zip", max_bytes, BYTES_LIMIT)
            advice = "split the set into smaller ones"
            with allocating(sum(size for size, _ in parts), "roi.zip", advice):
                properties = _properties(archive)
                return [
                    _with_properties(_read(archive, member), properties.get(member.filename))
                    for member in members
                ]

    def info(self, file: BinaryIO, /) -> Document:
        with open_archive(file, "roi.zip", max_entries=ROIS_LIMIT) as archive:
            return {"metadata": {"rois": len(_members(archive))}}


def _describe_type(value: Value) -> str:
    kinds = sorted({type(item).__name__ for item in value}) if isinstance(value, list) else []
    return f"a {type(value).__name__}" + (f" of {', '.join(kinds)}" if kinds else "")


def _encode(roi: ROI, which: str) -> bytes:
    try:
        content = encode_roi(roi)
        if len(content) > BYTES_LIMIT:
            raise UnsupportedDataError(
                f"it has {len(content)} bytes, but a ROI has at most {BYTES_LIMIT}"
            )
    except UnsupportedDataError as error:
        raise UnsupportedDataError(f"{which}: {error.reason}", "roi") from error
    return content


def _member_names(rois: list[ROI]) -> Iterator[str]:
    """Yield a name for each ROI, as ImageJ chooses it.

    Names differ also without regard to case, so that a set can be unpacked on Windows and macOS.
    """
    taken: dict[str, int] = {}
    for roi in rois:
        y0, x0, y1, x1 = roi.shape.bounds
        label = roi.name.removesuffix(_SUFFIX) or f"{(y0 + y1) / 2:04.0f}-{(x0 + x1) / 2:04.0f}"
        stem = _shorten(label.translate(_FORBIDDEN))
        # "._name" is how macOS names its own files, and archives with them are read without them.
        stem = f"_{stem[1:]}" if stem.startswith("._") else stem
        name, count = stem, taken.get(stem.lower(), 0)
        while name.lower() in taken:
            count += 1
            name = f"{stem}-{count}"
        taken[stem.lower()] = count
        taken.setdefault(name.lower(), 0)
        yield name + _SUFFIX


def _shorten(stem: str) -> str:
    most = NAME_BYTES_LIMIT - len(_SUFFIX) - len("-100000")  # room for the largest number
    return stem.encode()[:most].decode(errors="ignore")


def _members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    """Return the members that are ROIs, in their order. Raise an error for other archives."""
    found = [member for member in archive.infolist() if not is_hidden(member)]
    members = [member for member in found if member.filename.lower().endswith(_SUFFIX)]
    if found and not members:
        if any(member.filename.rpartition("/")[2] in _OF_ZARR for member in found):
            reason = "it is a zipped Zarr store: load it with backend='zarr'"
        else:
            reason = (
                f"it does not hold .roi files: its first member is {found[0].filename!r:.200}. "
                "polystore reads .zip files that are ImageJ's sets of ROIs"
            )
        raise UnsupportedFileError(reason, "roi.zip")
    return members


def _read(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> ROI:
    name = member.filename.rpartition("/")[2][: -len(_SUFFIX)]
    try:
        content = _content(archive, member)
        return decode_roi(content, "" if member.comment == _UNNAMED else name)
    except PolystoreError as error:
        if not isinstance(error, DamagedDataError | UnsupportedDataError):
            raise
        reason = f"member {member.filename!r:.200}: {error.reason}"
        raise type(error)(reason, "roi.zip") from error


def _content(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> bytes:
    if member.file_size > BYTES_LIMIT:
        raise UnsupportedFileError(f"it has more than {BYTES_LIMIT} bytes", "roi.zip")
    with open_member(archive, member, "roi.zip") as part:
        return part.read()


def _properties(archive: zipfile.ZipFile) -> dict[str, Document]:
    """Return the properties that polystore 0.6 wrote, by member."""
    member = archive.NameToInfo.get(_PROPERTIES)
    found = {} if member is None else _finite(decode_json(_content(archive, member)))
    return found if isinstance(found, dict) else {}


def _finite(value: Value) -> Value:
    """Return ``value`` with NaN and infinities as text, spelled as in Zarr."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, list):
        return [_finite(item) for item in value]
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return value


def _with_properties(roi: ROI, properties: Value) -> ROI:
    if not isinstance(properties, dict):
        return roi
    # Properties in the .roi file win: ImageJ may have changed them since.
    return dataclasses.replace(roi, properties={**properties, **roi.properties})
