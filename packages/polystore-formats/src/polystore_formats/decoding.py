"""Bytes that do not begin, or do not read, as their suffix promises: damaged, or of another kind.

A file that another program wrote under this suffix, or in another encoding, is whole.
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
_CUT = ("unexpected end of data", "truncated data")  # as Python's decoders say it


def wrong_start(start: bytes, expected: str, format: str) -> DataError:
    """Return the error for a file that begins with ``start``, 8 bytes, and is not ``expected``.

    ``UnsupportedFileError`` where the start is that of another kind of file, else
    ``DamagedDataError``.
    """
    for signature, kind in _SIGNATURES.items():
        if start.startswith(signature):
            return UnsupportedFileError(f"it is not {expected}, but {kind}", format)
    return DamagedDataError(f"it is not {expected} (it starts with {start[:8]!r})", format)


def decode_text(data: bytes, encoding: str, format: str, advice: str) -> str:
    """Return the text that ``data`` is.

    Raises:
        UnsupportedFileError: ``data`` is in another encoding; ``advice`` says what to do.
        DamagedDataError: ``data`` ends within a character, or has NUL bytes beside others that
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
        for mark, other in _MARKS.items():
            if data.startswith(mark):
                reason = f"it is {other} text, not {encoding} text: {advice}"
                raise UnsupportedFileError(reason, format) from error
        if error.reason in _CUT or b"\0" in data:
            reason = f"line {line} is not {encoding} text: {error}"
            raise DamagedDataError(reason, format) from error
        reason = f"line {line} has the byte {wrong!r}, which is not {encoding} text: {advice}"
        raise UnsupportedFileError(reason, format) from error


def check_encoding(encoding: str) -> None:
    """Raise ``InvalidOptionError`` where Python has no such text encoding."""
    try:
        " ".encode(encoding)
    except (LookupError, TypeError, ValueError) as error:
        known = "a text encoding such as 'utf-8'"
        raise InvalidOptionError("encoding", encoding, known) from error
