"""Recognising values of libraries that polystore does not import."""

from __future__ import annotations

import sys

__all__ = ["is_instance"]


def is_instance(value: object, module: str, name: str) -> bool:
    """Return whether ``value`` is an instance of ``module.name``, without importing the module.

    For example:

        is_instance(value, "pandas", "DataFrame")
    """
    # If the module is not imported, or another thread is importing it and its class does not exist
    # yet, no value can be an instance of the class.
    found = getattr(sys.modules.get(module), name, None)
    return isinstance(found, type) and isinstance(value, found)
