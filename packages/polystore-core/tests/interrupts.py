"""Interrupts that strike after each call of C in turn."""

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

__all__ = ["INTERRUPTED", "descriptors", "interrupt"]

INTERRUPTED = object()


def descriptors() -> set[int]:
    """Return the descriptors that this process has open."""
    found = set()
    for number in range(200):
        with suppress(OSError):
            os.fstat(number)
            found.add(number)
    return found


def interrupt(step: int, call: Callable[[], Any]) -> Any:
    """Raise ``KeyboardInterrupt`` when the call of C number ``step`` in ``call`` returns.

    Returns the result, or ``INTERRUPTED``.
    """
    left = step

    def strike(_frame: object, event: str, _function: object) -> None:
        nonlocal left
        if event == "c_return":
            left -= 1
            if left == -1:
                raise KeyboardInterrupt

    sys.setprofile(strike)
    try:
        return call()
    except KeyboardInterrupt:
        return INTERRUPTED
    finally:
        sys.setprofile(None)
