"""Errors for files that do not fit their suffix, and decoding of text.

A file of another kind, or in another encoding, is whole: the error says what to do. Other files
are damaged.
"""

from __future__ import annotations

import codecs

from polystore_core.errors import (
    DamagedDataError,
    DataError,
    InvalidOptionError,
    UnsupportedFileError,
)

__all__ = ["check_encoding", "decode_text", "wrong_start"]

_SIGNATURES = {
    b"\x89PNG\r\n\x1a\n": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
    b"GIF8": "a GIF image",
    b"II*\0": "a TIFF image",
    b"MM\0*": "a TIFF image",
    b"II+\0": "a BigTIFF image",
    b"MM\0+": "a BigTIFF image",
    b"\0\0\0\x0cjP": "a JPEG 2000 image",
    b"\0\0\0\x0cJXL": "a JPEG XL image",
    b"RIFF": "a RIFF file, such as WebP or AVI",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x93NUMPY": "a NumPy array (.npy)",
    b"Iout": "an ImageJ ROI (.roi)",
    b"PK\3\4": "a zip archive",
    b"PK\5\6": "an empty zip archive",
    b"\x1f\x8b": "a gzip file",
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"%PDF": "a PDF document",
    b"\xd0\xcf\x11\xe0": "an old Microsoft Office file",
    b"<!DOCTYP": "an HTML page",
    b"<html": "an HTML page",
    b"<?xml": "an XML document",
    b"version ": "a Git LFS pointer: fetch the file with 'git lfs pull'",
}
_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_CUT = ("unexpected end of data", "truncated data")  # reasons of Python's decoders


def wrong_start(start: bytes, expected: str, format: str) -> DataError:
    """Return the error for a file that is not ``expected``, and starts with the bytes ``start``.

    It is ``UnsupportedFileError`` if another kind of file starts like this, or else
    ``DamagedDataError``.
    """
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            return UnsupportedFileError(f"not {expected}, but {kind}", format)
    return DamagedDataError(f"not {expected} (it starts with {start[:8]!r})", format)


def decode_text(data: bytes, encoding: str, format: str, advice: str) -> str:
    """Return the bytes ``data`` as text.

    Raises:
        UnsupportedFileError: ``data`` is in another encoding. ``advice`` ends the message.
        DamagedDataError: ``data`` ends within a character, or has NUL bytes and bytes that
            ``encoding`` does not have.
    """
    try:
        return data.decode(encoding)
    except UnicodeError as error:
        if not isinstance(error, UnicodeDecodeError):  # of punycode, for example
            reason = f"{encoding} cannot decode it ({error}): {advice}"
            raise UnsupportedFileError(reason, format) from error
        line = data.count(b"\n", 0, error.start) + 1
        wrong = data[error.start : error.start + 1]
        # A byte order mark tells the encoding. UTF-32 comes first: its mark starts like UTF-16's.
        for mark, other in _MARKS.items():
            if data.startswith(mark):
                reason = f"it is {other} text, not {encoding} text: {advice}"
                raise UnsupportedFileError(reason, format) from error
        # Text has no NUL. A file with some is binary, or a disk lost a part of it.
        if error.reason in _CUT or b"\0" in data:
            reason = f"line {line} is not {encoding} text: {error}"
            raise DamagedDataError(reason, format) from error
        reason = f"line {line} has the byte {wrong!r}, which is not {encoding} text: {advice}"
        raise UnsupportedFileError(reason, format) from error


def check_encoding(encoding: str) -> None:
    """Raise ``InvalidOptionError`` if Python does not have this text encoding."""
    try:
        " ".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        known = "a text encoding such as 'utf-8'"
        raise InvalidOptionError("encoding", encoding, known) from error
