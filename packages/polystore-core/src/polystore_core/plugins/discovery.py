"""Finding the class of a name: entry points, manifests and checks.

A distribution declares its names in ``pyproject.toml``, in the group ``polystore.backends``,
``polystore.formats`` or ``polystore.frameworks``. The name of an entry is the name of the backend,
the suffix of the format, or the package of the array framework. Its value is a manifest, a module
that imports polystore only:

    [project.entry-points."polystore.backends"]
    sqlite = "polystore_sqlite.plugin"

The manifest returns a spec from its hook. The ``target`` of the spec is imported when the name is
used:

    @polystore.hookimpl
    def polystore_backend(name):
        return BackendSpec(name="sqlite", target="polystore_sqlite.backend:SqliteBackend", api=1)

Names are known without importing anything, and a mistake in one plugin never affects another name.
"""

from __future__ import annotations

import functools
import importlib
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from ..errors import (
    BrokenPluginError,
    IncompatiblePluginError,
    InvalidOptionError,
    MissingDependencyError,
    MissingOptionError,
    PluginConflictError,
    PluginDisabledError,
    PluginError,
)
from ..errors.base import describe_error, show_preference, show_value
from .declared import (
    ALLOW,
    DENY,
    Declaration,
    find_switch,
    is_declared,
    names,
    owner,
    rescan,
    resolve,
)
from .declared import scan as _scan
from .specs import (
    BackendSpec,
    Fault,
    FormatSpec,
    FrameworkSpec,
    Spec,
    class_fault,
    place_of_error,
    place_of_function,
    spec_fault,
)
from .versions import CORE, compare_core, core_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..values import PluginKind, Value
    from .sources import Sources

__all__ = [
    "ALLOW",
    "DENY",
    "PLUGIN_API",
    "BackendSpec",
    "Declaration",
    "FormatSpec",
    "FrameworkSpec",
    "PluginState",
    "Spec",
    "broken_error",
    "guard",
    "is_declared",
    "load_spec",
    "load_target",
    "names",
    "owner",
    "rescan",
    "resolve",
    "survey",
]

PLUGIN_API = 1
"""The version of the plugin API, which each spec has in ``api``. Another number is an error."""


# ── manifests and classes ────────────────────────────────────────────────────────────────


@functools.cache
def load_spec(declaration: Declaration) -> Spec:
    """Import the manifest, and nothing else, and return its spec for the name."""
    if declaration.fault:
        raise broken_error(declaration, Fault(declaration.fault))
    kind, name, distribution = declaration.kind, declaration.name, declaration.distribution
    _check_core(declaration)
    spec = _ask(declaration)
    if spec.api != PLUGIN_API:
        needs, has = f"plugin API {show_value(spec.api)}", f"has plugin API {PLUGIN_API}"
        raise _unfit(declaration, needs, has, spec.api > PLUGIN_API)
    missing = _missing(spec.requires)
    if missing:
        install = spec.install or distribution
        raise MissingDependencyError(kind, name, missing, install, distribution)
    return spec


def _missing(modules: Iterable[str]) -> tuple[str, ...]:
    """Return the modules that are not installed."""
    if not modules:
        return ()
    from .sources import module_exists  # parses source: most plugins require nothing

    return tuple(module for module in modules if not module_exists(module))


def _check_core(declaration: Declaration) -> None:
    """Raise for a distribution that needs another version of core, before its code fails."""
    if not declaration.core:
        return
    side = compare_core(declaration.core, core_version())
    if side != "fits":
        needs = f"{CORE}{declaration.core}"
        raise _unfit(declaration, needs, "is installed", side == "too old")


def _unfit(
    declaration: Declaration, needs: str, has: str, core_is_old: bool
) -> IncompatiblePluginError:
    return IncompatiblePluginError(
        declaration.kind,
        declaration.name,
        declaration.distribution,
        declaration.version,
        needs,
        f"{CORE} {core_version()} {has}",
        CORE if core_is_old else declaration.distribution,
    )


def _ask(declaration: Declaration) -> Spec:
    """Return the spec of the manifest, after a check of the types of its fields."""
    from .hooks import manager as plugin_manager

    hook_name = f"polystore_{declaration.kind}"
    with guard(declaration):
        manifest: Any = importlib.import_module(declaration.manifest)
        function = getattr(manifest, hook_name, None)
        place = place_of_function(function) or f"{getattr(manifest, '__file__', '?')}:1"
    # A second block, because an error of pluggy has no line of the plugin in its traceback.
    with guard(declaration, place=place):
        manager = plugin_manager()
        manager.register(manifest)
        answer: Any = getattr(manager.hook, hook_name)(name=declaration.name)
        reason = _answer_fault(answer, declaration)
    if reason:
        raise broken_error(declaration, Fault(reason, place))
    spec: Spec = answer
    return spec


_SPECS = {"backend": BackendSpec, "format": FormatSpec, "framework": FrameworkSpec}


def _answer_fault(answer: Value, declaration: Declaration) -> str:
    expected = _SPECS[declaration.kind]
    if not isinstance(answer, expected) or answer.name != declaration.name:
        return (
            f"{declaration.manifest} returns {show_value(answer)} for {declaration.name!r}, "
            f"expected a {expected.__name__} with that name from a function "
            f"polystore_{declaration.kind} with @hookimpl"
        )
    fault = spec_fault(answer)
    return fault and f"{declaration.manifest} returns {expected.__name__} with {fault}"


def load_target(declaration: Declaration) -> type[Value]:
    """Import the class of a declaration, and check that it implements all required methods."""
    if declaration.local is not None:
        target: Any = declaration.local
        name = declaration.distribution
    else:
        name = load_spec(declaration).target
        module, _, attribute = name.partition(":")
        with guard(declaration):
            target = getattr(importlib.import_module(module), attribute)
    with guard(declaration):
        fault = class_fault(declaration.kind, target, name)
    if fault is not None:
        raise broken_error(declaration, fault)
    checked: type[Any] = target
    return checked


@contextmanager
def guard(
    declaration: Declaration, *passed: type[Exception], place: str = ""
) -> Iterator[None]:
    """Turn every error of the code of a plugin into ``BrokenPluginError``.

    Args:
        declaration: The plugin.
        *passed: Errors to raise unchanged. ``KeyboardInterrupt`` always is.
        place: The file and line to report if the traceback has none of the plugin.
    """
    try:
        yield
    except BaseException as error:  # SystemExit and pytest.skip, too: only this name is broken
        if isinstance(error, (KeyboardInterrupt, *passed)):
            error.add_note(f"from {declaration.full_name} {declaration.version}".rstrip())
            raise
        package = (declaration.manifest or declaration.distribution).partition(".")[0]
        found = place_of_error(error, package) or place
        raise broken_error(declaration, Fault(describe_error(error), found)) from error


def broken_error(declaration: Declaration, fault: Fault) -> BrokenPluginError:
    """Return the error with the distribution, its version and the place of the mistake."""
    return BrokenPluginError(
        declaration.kind,
        declaration.name,
        declaration.distribution,
        declaration.version,
        fault.reason,
        fault.place,
    )


# ── for polystore plugins ────────────────────────────────────────────────────────────────

State: TypeAlias = Literal[
    "ok", "unconfigured", "missing", "ignored", "broken", "disabled", "conflicting"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginState:
    """One row of ``polystore plugins``."""

    kind: PluginKind
    name: str
    distribution: str
    version: str
    state: State
    """"unconfigured" needs options, and "missing" needs a library. "ignored" is not used, because
    another distribution provides the name."""
    why: str = ""
    """The reason for the state, as text of an error."""
    summary: str = ""
    """One line from the manifest."""


def survey(prefer: Mapping[str, str] | None = None) -> Iterator[PluginState]:
    """Yield the state of every declared plugin.

    Only manifests are imported. Classes are checked in their source.
    """
    from .sources import Sources

    sources = Sources()
    for (kind, name), declarations in _scan().items():
        for declaration in declarations:
            state, why, summary = _state(declaration, prefer, sources)
            yield PluginState(
                kind=kind,
                name=name,
                distribution=declaration.distribution,
                version=declaration.version,
                state=state,
                why=why,
                summary=summary,
            )


def _state(
    declaration: Declaration, prefer: Mapping[str, str] | None, sources: Sources
) -> tuple[State, str, str]:
    kind, name = declaration.kind, declaration.name
    # First, because nothing of a plugin may be imported that the user has switched off.
    variable = find_switch(declaration)
    if variable is not None:
        off = PluginDisabledError(kind, name, declaration.distribution, variable)
        return "disabled", str(off), ""
    try:
        ignored = _why_ignored(declaration, prefer)
        if ignored:
            return "ignored", ignored, ""
        spec = load_spec(declaration)
    except PluginConflictError as error:
        return "conflicting", str(error), ""
    except MissingDependencyError as error:
        return "missing", str(error), ""
    except PluginError as error:
        return "broken", str(error), ""
    fault, options = sources.check(kind, spec.target)
    if fault is not None:
        return "broken", str(broken_error(declaration, fault)), spec.summary
    if options:
        needed = MissingOptionError(kind, name, declaration.distribution, tuple(options))
        return "unconfigured", str(needed), spec.summary
    return "ok", "", spec.summary


def _why_ignored(declaration: Declaration, prefer: Mapping[str, str] | None) -> str:
    """Return why another distribution provides the name, or an empty string."""
    if declaration.fault:
        return ""  # the name cannot be used at all
    kind, name = declaration.kind, declaration.name
    try:
        chosen = resolve(kind, name, prefer)
    except PluginConflictError:
        raise
    except (PluginError, InvalidOptionError) as error:  # about the distribution that was chosen
        why = str(error)
    else:
        if chosen == declaration:
            return ""
        why = f"{chosen.distribution} is preferred for {kind} {name!r}"
    advice = show_preference(name, declaration.distribution)
    if advice in why:
        return why
    return f"{why}. To use {declaration.distribution} instead: {advice}"
