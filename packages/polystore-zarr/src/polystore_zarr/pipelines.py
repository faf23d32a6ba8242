"""The implementation of zarr's codec pipeline for an array: zarr's own, or ``zarrs`` in Rust."""

from __future__ import annotations

import multiprocessing
import threading
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Literal, TypeAlias

import zarr

from polystore_core.errors import UnsupportedOperationError

if TYPE_CHECKING:
    from polystore_core import Value

__all__ = ["CodecPipeline", "pipeline_of", "refuse_after_fork"]

CodecPipeline: TypeAlias = Literal["zarr", "zarrs"]

_selecting = threading.Lock()
"""Guards ``codec_pipeline.path`` of zarr's global configuration while it names ``zarrs``."""
_zarrs_process: int | None = None


def pipeline_of(name: CodecPipeline) -> AbstractContextManager[Value]:
    """Select the pipeline for the arrays that are opened in the block.

    In zarr this is a global setting, so only one thread at a time can have another one.
    """
    if name == "zarr":
        return nullcontext()
    return _ZarrsSelected()


def refuse_after_fork() -> None:
    """Raise an error in a forked process. It lacks the threads of ``zarrs``, and would hang."""
    global _zarrs_process
    # The pid of the first use: a process that forks before it has no threads to lose.
    if _zarrs_process is None:
        _zarrs_process = multiprocessing.current_process().pid
    elif _zarrs_process != multiprocessing.current_process().pid:
        raise UnsupportedOperationError(
            "zarr",
            "codec_pipeline='zarrs' here",
            "the process was forked after its first use: start workers with spawn",
        )


class _ZarrsSelected(AbstractContextManager[None]):
    """Holds ``_selecting`` until the block ends."""

    def __enter__(self) -> None:
        refuse_after_fork()
        _selecting.acquire()
        self._set = zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})

    def __exit__(self, *exc: object) -> None:
        self._set.__exit__(None, None, None)
        _selecting.release()
