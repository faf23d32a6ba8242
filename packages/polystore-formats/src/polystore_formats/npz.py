"""``.npz``: a zip archive with one ``.npy`` file for each named array, as NumPy writes it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from typing import IO, TYPE_CHECKING, BinaryIO, cast

import numpy as np

from polystore_core import Format, allocate_aligned, is_array, to_numpy
from polystore_core.errors import (
    DamagedDataError,
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .archive import (
    ARCHIVE_ERRORS,
    NAME_BYTES_LIMIT,
    PIECE,
    check_names,
    is_hidden,
    open_archive,
    open_member,
    packing_of,
)
from .limits import allocating, check_packing
from .npy import read_array, read_header, write_array

if TYPE_CHECKING:
    from polystore_core import Document, Pixels, Value

__all__ = ["ARRAYS_LIMIT", "Npz"]

ARRAYS_LIMIT = 10_000
"""Most arrays in one archive."""

_SUFFIX = ".npy"


class Npz(Format):
    """Mappings of names to arrays. Loads a dict, in the order of the file.

    A name is a relative path such as "image" or "layer/weight". Members that are not arrays are
    ignored.

    An archive may be made to fill the memory. If its arrays are packed tighter than 100 to 1 and
    unpack to more than 1 GiB together, ``load`` raises an error, unless ``max_bytes`` allows it.
    """

    name = "npz"
    decode_errors = ARCHIVE_ERRORS

    def save(self, value: Value, file: BinaryIO, /, *, compressed: bool = False) -> None:
        """Write the arrays.

        Args:
            compressed: compress each array with deflate. This is slow, and lossless.
        """
        arrays = _check_arrays(value)
        method = zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED
        with zipfile.ZipFile(file, "w") as archive:
            for name, array in arrays.items():
                # The date is always 1980, so that equal values give equal bytes.
                member = zipfile.ZipInfo(name + _SUFFIX)
                member.compress_type, member.create_system = method, 3  # Unix, on each system
                # The size is not known yet, so the header must have room for 64 bits.
                with archive.open(member, "w", force_zip64=True) as part:
                    write_array(cast("BinaryIO", part), array)

    def load(
        self,
        file: BinaryIO,
        /,
        *,
        arrays: Sequence[str] | None = None,
        max_bytes: int | None = None,
    ) -> dict[str, Pixels]:
        """Load the arrays by their names.

        Args:
            arrays: load only the arrays with these names.
            max_bytes: allow all arrays together to unpack to this many bytes.
        """
        with open_archive(file, "npz", max_entries=ARRAYS_LIMIT) as archive:
            members = _members(archive)
            # All members count, also with arrays=: the answer must not depend on the selection.
            check_packing(packing_of(members.values()), "npz", max_bytes)
            for name in arrays or ():
                if name not in members:
                    raise InvalidOptionError(
                        "arrays", arrays, f"names of arrays ({', '.join(members):.300})"
                    )
            wanted = {n: m for n, m in members.items() if arrays is None or n in arrays}
            total = sum(member.file_size for member in wanted.values())
            with allocating(total, "npz", "load some of its arrays, with arrays=[names]"):
                return {name: _read(archive, name, m) for name, m in wanted.items()}

    def info(self, file: BinaryIO, /) -> Document:
        described = {}
        with open_archive(file, "npz", max_entries=ARRAYS_LIMIT) as archive:
            for name, member in _members(archive).items():
                try:
                    with open_member(archive, member, "npz") as part:
                        header = read_header(cast("BinaryIO", part), member.file_size)
                    described[name] = {"shape": header.shape, "dtype": header.dtype.str}
                except UnsupportedFileError as error:  # the other arrays can still be listed
                    described[name] = {"unsupported": error.reason}
        return {"metadata": {"arrays": described}}


def _check_arrays(value: Value) -> dict[str, Pixels]:
    """Return the arrays by name, or raise ``UnsupportedDataError`` before anything is written."""
    if is_array(value) or not isinstance(value, Mapping):
        raise UnsupportedDataError(
            f"expected a dict of names and arrays, got {type(value).__name__}: save one array as "
            ".npy",
            "npz",
        )
    if len(value) > ARRAYS_LIMIT:
        raise UnsupportedDataError(
            f"it has {len(value)} arrays, but an archive holds at most {ARRAYS_LIMIT}", "npz"
        )
    arrays = {}
    for name, array in value.items():
        # In the dict of numpy.load, "a.npy" is also a name of the array "a".
        if not _is_good_name(name) or f"{name}{_SUFFIX}" in value:
            raise UnsupportedDataError(
                f"{name!r:.300} is not a valid name of an array: use a short relative path such as "
                "'image' or 'layer/weight'",
                "npz",
            )
        try:
            arrays[name] = to_numpy(array)
            # Fails for a dtype that npy cannot store, before the first byte of the archive.
            write_array(io.BytesIO(), np.empty(0, arrays[name].dtype))
        except UnsupportedDataError as error:
            raise UnsupportedDataError(f"array {name!r}: {error.reason}", "npz") from error
    return arrays


def _is_good_name(name: object) -> bool:
    """Return whether every program unpacks this name inside its target folder, and shows it."""
    if type(name) is not str or "\0" in name or "\\" in name:
        return False
    try:
        length = len(name.encode()) + len(_SUFFIX)
    except UnicodeEncodeError:
        return False
    return (
        length <= NAME_BYTES_LIMIT
        and not {"", ".", ".."}.intersection(name.split("/"))
        and not is_hidden(zipfile.ZipInfo(name))
    )


def _members(archive: zipfile.ZipFile) -> dict[str, zipfile.ZipInfo]:
    """Return the members that are arrays, by name. Raise an error for an archive without any."""
    check_names(archive, "npz")
    found = [member for member in archive.infolist() if not is_hidden(member)]
    members = {
        member.filename.removesuffix(_SUFFIX): member
        for member in found
        if member.filename.endswith(_SUFFIX)
    }
    if found and not members:
        raise UnsupportedFileError(
            f"it does not hold arrays: its first member is {found[0].filename!r:.200}", "npz"
        )
    return members


def _read(archive: zipfile.ZipFile, name: str, member: zipfile.ZipInfo) -> Pixels:
    try:
        # Nothing is unpacked to a disk here, but a pipeline may use the names as paths.
        if ".." in name.replace("\\", "/").split("/") or name.startswith(("/", "\\")):
            raise UnsupportedFileError("its name is an absolute path, or has '..'", "npz")
        with open_member(archive, member, "npz") as part:
            return read_array(
                cast("BinaryIO", _Pieces(part)), member.file_size, allocate_aligned
            )
    except DamagedDataError as error:
        raise DamagedDataError(f"array {name!r}: {error.reason}", "npz") from error
    except UnsupportedFileError as error:
        reason = f"array {name!r}: {error.reason}. Load the others with arrays=[names]"
        raise UnsupportedFileError(reason, "npz") from error


class _Pieces:
    """A member as a file, read piece by piece.

    ``zipfile`` would make a second copy of an array that is read with one call.
    """

    def __init__(self, part: IO[bytes]) -> None:
        self.read, self.seek = part.read, part.seek

    def readinto(self, buffer: memoryview) -> int:
        piece = self.read(min(len(buffer), PIECE))
        buffer[: len(piece)] = piece
        return len(piece)
