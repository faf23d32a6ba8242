"""The framework of a name, and of a type. Finding it imports no library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidOptionError, UnknownPluginError
from ..plugins import discovery
from ..plugins.declared import names, resolve, scan
from .numpy import NumPy

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..abc.framework import Framework

__all__ = ["framework", "framework_name", "framework_names"]

# Caches without a lock: two threads that look at once store equal values.
_NUMPY = NumPy()
_rows: dict[str, Framework] = {}
_types: dict[type[Any], str] = {}
_scanned: Mapping[Any, Any] | None = None
"""The scan of plugins on which the caches depend. They are cleared after another scan."""


def framework_names() -> list[str]:
    """Return the valid names for ``framework=``, installed or not."""
    return ["numpy", *names("framework")]


def framework(name: str) -> Framework:
    """Return the framework of a name.

    Raises:
        InvalidOptionError: The name is unknown.
        MissingDependencyError: The library is not installed.
    """
    if name == "numpy":
        return _NUMPY
    _forget_if_rescanned()
    row = _rows.get(name) if isinstance(name, str) else None
    if row is None:
        try:
            declaration = resolve("framework", name)
        except (UnknownPluginError, AttributeError):
            raise InvalidOptionError(
                "framework", name, f"one of {', '.join(framework_names())}"
            ) from None
        target: Any = discovery.load_target(declaration)
        with discovery.guard(declaration):
            row = _rows[name] = target()
        row.install = discovery.load_spec(declaration).install or declaration.distribution
    return row


def framework_name(kind: type[Any]) -> str:
    """Return the name of the framework that defines ``kind``, or "numpy" if none does."""
    _forget_if_rescanned()
    found = _types.get(kind)
    if found is None:
        declared = set(names("framework"))
        found = "numpy"
        for cls in kind.__mro__:  # a subclass may be defined in any other module
            package = cls.__module__.partition(".")[0].replace("jaxlib", "jax")
            if package in declared:
                found = package
                break
        _types[kind] = found
    return found


def _forget_if_rescanned() -> None:
    global _scanned
    found = scan()
    if found is not _scanned:
        _rows.clear()
        _types.clear()
        _scanned = found
