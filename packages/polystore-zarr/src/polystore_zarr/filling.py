"""Write all elements of a new array, which has no readers yet."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .arrays import ZarrArray
from .guards import Guard

if TYPE_CHECKING:
    from polystore_core import Value

    from .pipelines import CodecPipeline
    from .store.base import StorePath
    from .store.chunkfiles import ChunkFiles
    from .store.nodes import Document

__all__ = ["write_new"]


def write_new(
    files: ChunkFiles | None,
    directory: StorePath,
    document: Document,
    value: Value,
    pipeline: CodecPipeline,
) -> None:
    """Write all elements of an array that has no readers yet.

    Args:
        files: the result of ``chunk_files``.
        directory: the place of the array.
        document: its document.
        value: the elements.
        pipeline: the implementation of codecs.

    Raises:
        UnsupportedDataError: A codec cannot encode the elements.
        OSError: The store cannot be written.
    """
    if files is None:
        ZarrArray(directory, document, writable=True, seen=False, pipeline=pipeline)[...] = (
            value
        )
        return
    with Guard("", "", "write", document):
        files.write_new(value)
