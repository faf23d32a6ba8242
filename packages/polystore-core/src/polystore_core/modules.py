"""Recognise values of libraries that polystore does not import."""

from __future__ import annotations

import sys

__all__ = ["is_instance"]


def is_instance(value: object, module: str, name: str) -> bool:
    """Return whether ``value`` is an instance of ``module.name``, without importing ``module``.

    A value exists only after its class. A module that another thread is still importing is in
    ``sys.modules`` but lacks the class, so nothing can be an instance of it yet.
    """
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)
