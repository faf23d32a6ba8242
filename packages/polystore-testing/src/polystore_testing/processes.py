"""Pipelines that show, viewers that run, and what is left of them."""

from __future__ import annotations

import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from polystore_core import BackendRegistry, FileManager

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polystore_core import Option, Value

__all__ = ["becomes", "left_in", "pipeline", "runs"]


@contextmanager
def pipeline(backend: str, **options: Option) -> Iterator[FileManager]:
    """Give a file manager whose backend "screen" is a viewer's, with these options."""
    with BackendRegistry() as registry:
        registry.add("screen", backend, **options)
        yield FileManager(registry)


def runs(pid: int) -> bool:
    """Whether the process is there: a zombie is."""
    return Path(f"/proc/{pid}").exists()


def becomes(condition: Callable[[], Value], timeout: float = 60.0) -> bool:
    """Wait for ``condition``. After ``timeout`` seconds, which only a hang takes, give up."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def left_in(folder: Path) -> list[str]:
    """Return the files of a runtime directory that are neither locks nor logs of viewers."""
    names = (path.name for path in folder.iterdir())
    return [
        name for name in names if not name.startswith(".~ps-") and not name.endswith(".log")
    ]
