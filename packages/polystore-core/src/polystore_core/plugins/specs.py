"""The specs of manifests, and the checks of specs and classes of plugins.

Each check returns a :class:`Fault` and does not raise, so that the caller can add the distribution
to the error.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors.base import show_value

if TYPE_CHECKING:
    from inspect import Parameter
    from types import CodeType

    from ..values import PluginKind, Value

__all__ = [
    "BackendSpec",
    "Fault",
    "FormatSpec",
    "FrameworkSpec",
    "Spec",
    "advise_arguments",
    "class_fault",
    "find_required_options",
    "place_of_error",
    "place_of_function",
    "spec_fault",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """The description of one name in a manifest.

    For example:

        BackendSpec(name="sqlite", target="polystore_sqlite.backend:SqliteBackend", api=1)
    """

    name: str
    """The name of the backend, the suffix of the format, or the package of the framework."""
    target: str
    """The class, as "package.module:Class". It is imported when it is used first."""
    api: int
    """The version of the plugin API that the class implements: 1."""
    summary: str = ""
    """One line for ``polystore plugins``."""
    requires: tuple[str, ...] = ()
    """Top-level modules that must be installed, such as ("tifffile",)."""
    install: str = ""
    """The argument of ``pip install`` that installs them: "polystore-formats[tiff]"."""
    check: str = ""
    """A function for ``polystore doctor``, as "package.module:function". See :class:`Finding`."""


class BackendSpec(Spec):
    """The spec of a backend. ``target`` is a ``DataSource``, ``DataSink`` or ``StorageBackend``."""

    __slots__ = ()


class FormatSpec(Spec):
    """The spec of a format. ``name`` is its suffix without the dot, and ``target`` a ``Format``."""

    __slots__ = ()


class FrameworkSpec(Spec):
    """The spec of an array framework. ``name`` is its package, and ``target`` a ``Framework``."""

    __slots__ = ()


class Fault(NamedTuple):
    """A mistake in a plugin."""

    reason: str
    place: str = ""
    """The file and line, such as "plugin.py:7". Empty if Python does not know them."""


# ── names and specs ──────────────────────────────────────────────────────────────────────


_TEXTS = ("target", "summary", "install", "check")
_DOTTED = r"\w+(\.\w+)*"


def spec_fault(spec: Spec) -> str:
    """Return the first wrong field of ``spec`` in words, or an empty string."""
    for field in _TEXTS:
        if not isinstance(getattr(spec, field), str):
            return f"{field}={show_value(getattr(spec, field))}: expected a str"
    for field in ("target", *(["check"] if spec.check else [])):
        if not re.fullmatch(rf"{_DOTTED}:\w+", getattr(spec, field)):
            return f"{field}={show_value(getattr(spec, field))}: expected 'package.module:Name'"
    # type() and not isinstance(), because api=True would be version 1.
    if type(spec.api) is not int:
        return f"api={show_value(spec.api)}: expected an int, such as api=1"
    requires: Any = spec.requires
    if not isinstance(requires, tuple | list) or not all(
        isinstance(module, str) and re.fullmatch(_DOTTED, module) for module in requires
    ):
        return f"requires={show_value(requires)}: expected a tuple of module names: ('torch',)"
    return ""


# ── classes ──────────────────────────────────────────────────────────────────────────────


def class_fault(kind: PluginKind, target: Value, name: str) -> Fault | None:
    """Return why a class cannot be used, or ``None``. ``name`` is the target in its spec.

    For example:

        class_fault("backend", SqliteBackend, "polystore_sqlite.backend:SqliteBackend")
    """
    if not isinstance(target, type):
        return Fault(f"{name} is {show_value(target)}, not a class", place_of_function(target))
    reason = _contract_fault(kind, target)
    if reason:
        return Fault(f"{target.__qualname__} {reason}", _place_of_class(target))
    options = find_required_options(target) if kind == "backend" else []
    needed = [p.name for p in _find_required(target) if p.name not in options]
    if not needed:
        return None
    place = place_of_function(vars(target).get("__init__")) or _place_of_class(target)
    return Fault(f"{target.__qualname__}.__init__ {advise_arguments(kind, needed)}", place)


def advise_arguments(kind: PluginKind, needed: list[str]) -> str:
    """Return advice for parameters of ``__init__`` that have no value."""
    remedy = "a default"
    if kind == "backend":
        remedy += ", or make it a keyword-only option, which registry.add() can set"
    return f"needs {' and '.join(needed)}: give each parameter {remedy}"


def _contract_fault(kind: PluginKind, target: type[Value]) -> str:
    from ..abc.backend import DataSink, DataSource
    from ..abc.format import Format
    from ..abc.framework import Framework

    roots: tuple[type[Any], ...] = {
        "backend": (DataSource, DataSink),
        "format": (Format,),
        "framework": (Framework,),
    }[kind]
    if not issubclass(target, roots):
        return f"is not a subclass of {' or '.join(root.__name__ for root in roots)}"
    abstract = sorted(getattr(target, "__abstractmethods__", ()))
    if abstract:
        return f"does not implement {' and '.join(abstract)}"
    if kind == "backend":
        return ""
    name = getattr(target, "name", None)
    if not isinstance(name, str | property) or not name:
        return f"needs a class attribute name, such as name = 'tiff' (it is {show_value(name)})"
    if kind == "framework":
        return ""
    caught: Any = getattr(target, "decode_errors", None)
    if not isinstance(caught, tuple) or not all(
        isinstance(error, type) and issubclass(error, Exception) for error in caught
    ):
        return f"has decode_errors={show_value(caught)}: expected a tuple of exception classes"
    return ""


def find_required_options(target: type[Value]) -> list[str]:
    """Return the keyword-only parameters of a class that have no default."""
    return [p.name for p in _find_required(target) if p.kind is p.KEYWORD_ONLY]


def _find_required(target: type[Value]) -> list[Parameter]:
    return [
        p
        for p in _parameters(target)
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]


def _parameters(target: type[Value]) -> list[Parameter]:
    import inspect

    try:
        return list(inspect.signature(target).parameters.values())
    except (TypeError, ValueError):  # written in C, without a signature
        return []


# ── places ───────────────────────────────────────────────────────────────────────────────


def place_of_error(error: BaseException, package: str) -> str:
    """Return the last line of ``package`` in the traceback of an error, or ""."""
    # The module has never run, so the traceback has no line of it.
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    place, trace = "", error.__traceback__
    while trace is not None:
        module = str(trace.tb_frame.f_globals.get("__name__"))
        if module == package or module.startswith(f"{package}."):
            place = f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        trace = trace.tb_next
    return place


def place_of_function(function: Value) -> str:
    """Return the file and line of a function of Python, or ""."""
    code: CodeType | None = getattr(function, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code is not None else ""


def _place_of_class(target: type[Value]) -> str:
    import inspect

    try:
        return f"{inspect.getsourcefile(target)}:{inspect.findsource(target)[1] + 1}"
    except (OSError, TypeError):  # it has no file: it was defined by exec or in C
        return ""
