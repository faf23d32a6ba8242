"""Helpers for tests of pipelines, viewers and the files that they leave."""

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
    """Yield a file manager whose backend "screen" is ``backend`` with these options."""
    with BackendRegistry() as registry:
        registry.add("screen", backend, **options)
        yield FileManager(registry)


def runs(pid: int) -> bool:
    """Whether a process exists, even as a zombie."""
    return Path(f"/proc/{pid}").exists()


def becomes(condition: Callable[[], Value], timeout: float = 60.0) -> bool:
    """Wait until ``condition`` is true, and return whether it became true.

    The default timeout is so long that only a hang reaches it.
    """
    # Poll instead of sleeping once: most conditions are true after some milliseconds.
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def left_in(folder: Path) -> list[str]:
    """Return the names in a runtime directory, except locks and logs of viewers."""
    names = (path.name for path in folder.iterdir())
    return [
        name for name in names if not name.startswith(".~ps-") and not name.endswith(".log")
    ]
