"""The text of metadata documents, in the default form of Python's ``json``.

It has no indentation, because only Python's encoder in Python writes it, which is six times
slower. The document of a plate with 1,536 wells would take 7 ms for each well that is saved.

zarr-python and xarray write ``NaN``, ``Infinity`` and ``-Infinity`` into attributes. These are not
JSON, but they are read, and a document that is written again keeps them. The attributes that you
give to ``save`` are checked before (``values.check_attributes``).
"""

from __future__ import annotations

import json
from codecs import BOM_UTF8
from typing import TYPE_CHECKING, Any

from polystore_core import decode_json
from polystore_core.errors import DamagedDataError

if TYPE_CHECKING:
    from polystore_core import Document

    from .base import StorePath

__all__ = ["decode_document", "encode_document"]


def decode_document(text: bytes, path: StorePath) -> Document:
    """Return the object in a document. Raises ``DamagedDataError``."""
    try:
        # Editors of Windows write this mark before the text, where JSON does not allow it.
        document = decode_json(text.removeprefix(BOM_UTF8))
    except DamagedDataError as error:
        error.path = str(path)
        raise
    if not isinstance(document, dict):
        raise DamagedDataError("the document is not a JSON object", "zarr", str(path))
    return document


def encode_document(fields: Document | list[Any]) -> bytes:
    """Return the text of a document or of a part. Constants such as NaN are kept."""
    # All other characters are escaped, so that halves of surrogate pairs survive as well.
    return json.dumps(fields).encode("ascii") + b"\n"
