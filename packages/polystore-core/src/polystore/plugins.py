"""From a name to the class that provides it: entry points, pluggy, and the policy.

A distribution declares its names in ``pyproject.toml``, in the group ``polystore.backends`` or
``polystore.formats``; the entry's name is the backend's name (the suffix, for a format) and
its value a manifest module that imports nothing but polystore::

    [project.entry-points."polystore.backends"]
    sqlite = "polystore_sqlite.plugin"

The manifest answers the hook with a spec, whose ``target`` is imported when the name is used::

    @polystore.hookimpl
    def polystore_backend(name):
        return BackendSpec(name="sqlite", target="polystore_sqlite.backend:SqliteBackend", api=1)

Names are known without importing anything, and one plugin's fault never disturbs another name.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import json
import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import (
    BrokenPluginError,
    IncompatiblePluginError,
    MissingDependencyError,
    PluginConflictError,
    PluginDisabledError,
    PluginError,
    PluginNotInstalledError,
    UnknownPluginError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from importlib.metadata import Distribution

__all__ = [
    "PLUGIN_API",
    "BackendSpec",
    "Declaration",
    "FormatSpec",
    "PluginState",
    "load_target",
    "names",
    "owner",
    "rescan",
    "resolve",
    "survey",
]

PLUGIN_API = 1
"""The version of the contract that specs carry in ``api``; another number is refused."""

ALLOW, DENY = "POLYSTORE_PLUGINS", "POLYSTORE_DISABLE"

PluginKind: TypeAlias = Literal["backend", "format"]
KINDS: tuple[PluginKind, ...] = ("backend", "format")


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What a manifest says about one name."""

    name: str
    target: str
    """The class, as "package.module:Class"; imported at first use."""
    api: int
    """The plugin API that it is made for: 1."""
    summary: str = ""
    """One line for ``polystore plugins``."""
    requires: tuple[str, ...] = ()
    """Top-level modules that must be installed, such as ("tifffile",)."""
    install: str = ""
    """What installs them: "polystore-formats[tiff]"."""
    check: str = ""
    """For ``polystore doctor``, what tells which programs it needs: see ``polystore.checks``."""


class BackendSpec(Spec):
    """A backend: ``target`` is a ``DataSource``, ``DataSink`` or ``StorageBackend``."""

    __slots__ = ()


class FormatSpec(Spec):
    """A format: ``name`` is its suffix without the dot, ``target`` a ``Format``."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Declaration:
    """One entry point: somebody says that they provide a name."""

    kind: PluginKind
    name: str
    distribution: str
    version: str
    manifest: str

    @property
    def full_name(self) -> str:
        return f"{self.distribution}:{self.name}"


# ── who declares what ────────────────────────────────────────────────────────────────────


@functools.cache
def _scan() -> Mapping[tuple[PluginKind, str], tuple[Declaration, ...]]:
    # As slow to import as all of polystore: not before it is used.
    from importlib import metadata

    found: dict[tuple[PluginKind, str], list[Declaration]] = {}
    for distribution in metadata.distributions():
        for declaration in _declared_by(distribution):
            same = found.setdefault((declaration.kind, declaration.name), [])
            # A checkout on the path and its installed copy list one entry twice.
            if all(other.distribution != declaration.distribution for other in same):
                same.append(declaration)
    return {
        key: tuple(sorted(found[key], key=lambda d: d.distribution)) for key in sorted(found)
    }


def _declared_by(distribution: Distribution) -> list[Declaration]:
    try:
        entries = [
            (kind, entry)
            for entry in distribution.entry_points
            for kind in KINDS
            if entry.group == f"polystore.{kind}s"
        ]
        if not entries:  # parsing the metadata of every distribution would take as long again
            return []
        name, version = _normal(distribution.metadata["Name"]), distribution.version
        return [Declaration(kind, e.name, name, version, e.value) for kind, e in entries]
    except Exception:
        return []  # a damaged record (pip was interrupted) declares nothing, and hides nobody


def rescan() -> None:
    """Look again for installed distributions (after a ``pip install`` in a running process)."""
    importlib.invalidate_caches()
    _scan.cache_clear()


@functools.cache
def _catalogue() -> Mapping[str, Mapping[str, str]]:
    """Names that this project provides, and the distribution of each."""
    with open(os.path.join(os.path.dirname(__file__), "catalogue.json"), "rb") as file:
        catalogue: dict[str, dict[str, str]] = json.load(file)
    return catalogue


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def names(kind: PluginKind) -> list[str]:
    """Return the declared names that are not switched off, without importing anything."""
    return [
        name for (k, name), found in _scan().items() if k == kind and any(map(_allowed, found))
    ]


def owner(kind: PluginKind, name: str) -> str | None:
    """Return a distribution that this name belongs to, installed or not."""
    declared = _scan().get((kind, name), ())
    return _catalogue()[kind].get(name) or (declared[0].distribution if declared else None)


# ── the policy ───────────────────────────────────────────────────────────────────────────


def _switched_off_by(declaration: Declaration) -> str | None:
    """Return the environment variable that switches a plugin off, if one does."""
    mine = {declaration.name, declaration.distribution, declaration.full_name}
    allowed = os.environ.get(ALLOW)
    if allowed is not None and not mine & _listed(allowed):
        return ALLOW
    return DENY if mine & _listed(os.environ.get(DENY, "")) else None


def _listed(variable: str) -> set[str]:
    return {item.strip() for item in variable.split(",")}


def _allowed(declaration: Declaration) -> bool:
    return _switched_off_by(declaration) is None


def resolve(
    kind: PluginKind, name: str, prefer: Mapping[str, str] | None = None
) -> Declaration:
    """Choose the one distribution that provides ``name``, or say why there is none.

    ``name`` may be ``distribution:name``; ``prefer`` maps names to distributions. First-party
    names are never taken over in silence.
    """
    wanted, _, plain = name.rpartition(":")
    wanted = _normal(wanted or (prefer or {}).get(plain, ""))
    declared = _scan().get((kind, plain), ())
    found = [d for d in declared if not wanted or d.distribution == wanted]
    if not found:
        provider = _catalogue()[kind].get(plain)
        if provider is not None and wanted in ("", provider):
            raise PluginNotInstalledError(kind, plain, provider)
        known = [d.full_name for d in declared] if declared else names(kind)
        raise UnknownPluginError(kind, name, tuple(known))
    usable = [d for d in found if _allowed(d)]
    if not usable:
        variable = _switched_off_by(found[0]) or DENY
        raise PluginDisabledError(kind, plain, found[0].distribution, variable)
    claimants = {d.distribution for d in usable}
    if not wanted and plain in _catalogue()[kind]:
        claimants.add(_catalogue()[kind][plain])
    if len(claimants) > 1:
        raise PluginConflictError(kind, plain, tuple(sorted(claimants)))
    return usable[0]


# ── from the declaration to the class ────────────────────────────────────────────────────


@functools.cache
def load_spec(declaration: Declaration) -> Spec:
    """Import the manifest, and nothing else, and ask it about the name."""
    from .hooks import manager as plugin_manager

    manager = plugin_manager()
    try:
        manifest = importlib.import_module(declaration.manifest)
        if not manager.is_registered(manifest):
            manager.register(manifest, f"{declaration.distribution} {declaration.manifest}")
        others = manager.get_plugins() - {manifest}
        hook = manager.subset_hook_caller(f"polystore_{declaration.kind}", others)
        spec = hook(name=declaration.name)
    except (Exception, SystemExit) as error:  # a stranger's module breaks its own name only
        raise _broken(declaration, f"{type(error).__name__}: {error}") from error
    expected = BackendSpec if declaration.kind == "backend" else FormatSpec
    if not isinstance(spec, expected) or spec.name != declaration.name:
        reason = f"{declaration.manifest} answers {spec!r} for {declaration.name!r}"
        raise _broken(declaration, f"{reason}, expected a {expected.__name__} of that name")
    if spec.api != PLUGIN_API:
        raise IncompatiblePluginError(
            declaration.kind, declaration.name, declaration.distribution, spec.api, PLUGIN_API
        )
    missing = tuple(module for module in spec.requires if not _module_exists(module))
    if missing:
        install = spec.install or declaration.distribution
        raise MissingDependencyError(declaration.kind, declaration.name, missing, install)
    return spec


def load_target(declaration: Declaration) -> type[Any]:
    """Import the class that provides the declared name."""
    spec = load_spec(declaration)
    try:
        module, _, attribute = spec.target.partition(":")
        target = getattr(importlib.import_module(module), attribute)
    except (Exception, SystemExit) as error:  # a stranger's import can raise anything
        raise _broken(declaration, f"{type(error).__name__}: {error}") from error
    if not isinstance(target, type):
        raise _broken(declaration, f"{spec.target} is no class")
    return target


def _broken(declaration: Declaration, reason: str) -> BrokenPluginError:
    return BrokenPluginError(
        declaration.kind,
        declaration.name,
        declaration.distribution,
        declaration.version,
        reason,
    )


# ── for people ───────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True, kw_only=True)
class PluginState:
    """One row of ``polystore plugins``."""

    kind: PluginKind
    name: str
    distribution: str
    version: str
    state: Literal["ok", "broken", "disabled", "conflicting"]
    why: str = ""
    summary: str = ""


def survey(prefer: Mapping[str, str] | None = None) -> Iterator[PluginState]:
    """Yield the state of every declared plugin. Imports manifests, no plugin's own code."""
    for (kind, name), declarations in _scan().items():
        for declaration in declarations:
            state, why, summary = _state(declaration, kind, name, prefer)
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
    declaration: Declaration, kind: PluginKind, name: str, prefer: Mapping[str, str] | None
) -> tuple[Literal["ok", "broken", "disabled", "conflicting"], str, str]:
    variable = _switched_off_by(declaration)
    if variable is not None:
        off = PluginDisabledError(kind, name, declaration.distribution, variable)
        return "disabled", str(off), ""
    try:
        chosen = resolve(kind, name, prefer)
        summary = load_spec(declaration).summary
    except PluginConflictError as error:
        return "conflicting", str(error), ""
    except PluginError as error:
        return "broken", str(error), ""
    if chosen != declaration:
        return "disabled", f"{chosen.distribution} is preferred", summary
    module = load_spec(declaration).target.partition(":")[0]
    if not _module_exists(module):
        return "broken", str(_broken(declaration, f"there is no module {module}")), summary
    return "ok", "", summary


def _module_exists(module: str) -> bool:
    """Whether the module is there, found without importing it (only the packages around it)."""
    try:
        return importlib.util.find_spec(module) is not None
    except (Exception, SystemExit):  # a package's own __init__ failed
        return False
