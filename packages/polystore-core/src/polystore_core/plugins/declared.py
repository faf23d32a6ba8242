"""The declarations of plugins, and the policy: which distribution provides a name.

A name in ``catalogue.json`` belongs to our distribution, unless the user prefers another one. Two
distributions of others that declare one name are a conflict. Nothing is imported to decide this.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import (
    InvalidOptionError,
    PluginConflictError,
    PluginDisabledError,
    PluginNotInstalledError,
    UnknownPluginError,
)
from ..values import PluginKind, name_fault, plain_name
from .versions import CORE, find_core_requirement

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from importlib.metadata import Distribution, EntryPoint

__all__ = [
    "ALLOW",
    "DENY",
    "Declaration",
    "check_prefer",
    "find_switch",
    "is_declared",
    "names",
    "owner",
    "rescan",
    "resolve",
    "scan",
]

ALLOW, DENY = "POLYSTORE_PLUGINS", "POLYSTORE_DISABLE"

KINDS: tuple[PluginKind, ...] = ("backend", "format", "framework")


@dataclass(frozen=True, slots=True)
class Declaration:
    """One entry point, or one class of this process, that provides a name."""

    kind: PluginKind
    name: str
    distribution: str
    """Its distribution, or the full name of a class: "__main__.Shelf"."""
    version: str
    manifest: str
    core: str = ""
    """The versions of polystore-core that the distribution needs: "<2,>=1.0"."""
    fault: str = ""
    """The mistake in the entry point itself, or ""."""
    local: type[Any] | None = None
    """The class, if this process defines it."""

    @property
    def full_name(self) -> str:
        """The distribution and the name, such as "acme-raw:raw"."""
        return f"{self.distribution}:{self.name}"


# ── declarations ─────────────────────────────────────────────────────────────────────────


@functools.cache
def scan() -> Mapping[tuple[PluginKind, str], tuple[Declaration, ...]]:
    """Return the declarations of all installed distributions, by kind and name."""
    # Not at the top, because it takes as long to import as all of polystore.
    from importlib import metadata

    found: dict[tuple[PluginKind, str], dict[str, Declaration]] = {}
    for distribution in metadata.distributions():
        for declaration in _read_declarations(distribution):
            same = found.setdefault((declaration.kind, declaration.name), {})
            # A checkout on the path and its installed copy both have the same entry.
            same.setdefault(declaration.distribution, declaration)
    # Sorted, because the order of distributions differs between machines, and errors show it.
    return {key: tuple(same[d] for d in sorted(same)) for key, same in sorted(found.items())}


def _read_declarations(distribution: Distribution) -> list[Declaration]:
    try:
        entries = dict.fromkeys(
            (kind, entry)
            for entry in distribution.entry_points
            for kind in KINDS
            if entry.group == f"polystore.{kind}s"
        )
        if not entries:  # parsing the metadata of all distributions would double the time
            return []
        record = distribution.metadata  # in a variable, because each access parses it again
        name, version = _normal(record["Name"]), record["Version"]
        core = find_core_requirement(record.get_all("Requires-Dist") or ())
    except Exception:
        return []  # a damaged record (pip was interrupted) must not hide other distributions
    times = Counter((kind, entry.name) for kind, entry in entries)
    return [
        Declaration(
            kind,
            entry.name,
            name,
            str(version),
            entry.value,
            core=core,
            fault=_entry_fault(kind, entry, times[kind, entry.name]),
        )
        for kind, entry in entries
    ]


def _entry_fault(kind: PluginKind, entry: EntryPoint, times: int) -> str:
    fault = name_fault(kind, entry.name)
    if times > 1:
        fault = f"the distribution has {times} entry points of this name: expected one"
    elif not fault and not re.fullmatch(r"\w+(\.\w+)*", entry.value):
        fault = "the value must be only the module of the manifest, such as 'acme_raw.plugin'"
    return fault and f"entry point {entry.name!r} = {entry.value!r}: {fault}"


def rescan() -> None:
    """Look again for installed distributions, after a ``pip install`` in a running process."""
    importlib.invalidate_caches()
    scan.cache_clear()


@functools.cache
def _catalogue() -> Mapping[str, Mapping[str, str]]:
    """Return the names that this project provides, with the distribution of each."""
    with open(os.path.join(os.path.dirname(__file__), "catalogue.json"), "rb") as file:
        catalogue: dict[str, dict[str, str]] = json.load(file)
    return catalogue


def _normal(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


def names(kind: PluginKind, prefer: Mapping[str, str] | None = None) -> list[str]:
    """Return the declared names that can be used, without importing anything."""
    return [name for k, name in scan() if k == kind and is_declared(kind, name, prefer)]


def is_declared(kind: PluginKind, name: str, prefer: Mapping[str, str] | None = None) -> bool:
    """Return whether :func:`names` has ``name``."""
    declared = scan().get((kind, name), ())
    return not name_fault(kind, name) and any(
        map(_is_allowed, _claims(declared, _choice(kind, name, declared, prefer)))
    )


def owner(kind: PluginKind, name: str) -> str | None:
    """Return the distribution of a name, installed or not, or ``None``.

    For example:

        owner("format", "tif")  # "polystore-formats"
    """
    declared = scan().get((kind, name), ())
    return _catalogue()[kind].get(name) or (declared[0].distribution if declared else None)


# ── the policy ───────────────────────────────────────────────────────────────────────────


def check_prefer(prefer: object) -> dict[str, str]:
    """Return a copy of ``prefer=``. Raises ``InvalidOptionError`` unless it maps str to str."""
    if prefer is None:
        return {}
    if not isinstance(prefer, Mapping) or not all(
        isinstance(text, str) and text for pair in prefer.items() for text in pair
    ):
        expected = "a dict from names to distributions, such as {'raw': 'acme-raw'}"
        raise InvalidOptionError("prefer", prefer, expected)
    return {plain_name(name): plain_name(choice) for name, choice in prefer.items()}


def find_switch(declaration: Declaration) -> str | None:
    """Return the environment variable that switches a plugin off, if one does."""
    if declaration.local is not None:
        return None
    # An allow-list names plugins. The frameworks of core are not meant by it.
    is_core = declaration.distribution == CORE
    mine = {declaration.name, declaration.distribution, declaration.full_name}
    allowed = os.environ.get(ALLOW)
    if allowed is not None and not is_core and not mine & _read_list(allowed):
        return ALLOW
    return DENY if mine & _read_list(os.environ.get(DENY, "")) else None


@functools.lru_cache(maxsize=8)
def _read_list(variable: str) -> frozenset[str]:
    return frozenset(item.strip() for item in variable.split(",")) - {""}


def _is_allowed(declaration: Declaration) -> bool:
    return find_switch(declaration) is None


def _choice(
    kind: PluginKind,
    name: str,
    declared: Sequence[Declaration],
    prefer: Mapping[str, str] | None,
) -> str:
    """Return the distribution to use for a name: preferred, first-party, or any ("").

    One ``prefer`` is for plugins of all kinds. It is ignored for this kind if the distribution
    declares the name only as another kind.
    """
    wanted = (prefer or {}).get(name, "")
    if wanted and not _claims(declared, wanted):
        others = (scan().get((other, name), ()) for other in KINDS if other != kind)
        if any(_claims(found, wanted) for found in others):
            wanted = ""
    return wanted or _catalogue()[kind].get(name, "")


def _claims(declared: Iterable[Declaration], choice: str) -> list[Declaration]:
    return [d for d in declared if not choice or _normal(d.distribution) == _normal(choice)]


def resolve(
    kind: PluginKind,
    name: str,
    prefer: Mapping[str, str] | None = None,
    local: Iterable[Declaration] = (),
) -> Declaration:
    """Return the declaration to use for ``name``.

    A first-party name is never replaced silently.

    Args:
        kind: The kind of plugin.
        name: A name, or "distribution:name".
        prefer: A mapping from names to distributions.
        local: The classes of this process.

    Raises:
        UnknownPluginError: No plugin declares the name. It does not list all names, because a
            format is looked up once for each dot in a path. Callers add :func:`names`.
        PluginNotInstalledError: The name belongs to a distribution that is not installed.
        PluginDisabledError: An environment variable switches it off.
        PluginConflictError: Several distributions declare it.
    """
    wanted, _, plain = name.rpartition(":")
    # Installed plugins first, because the error of a conflict advises to choose the first one.
    declared = (*scan().get((kind, plain), ()), *local)
    choice = wanted or _choice(kind, plain, declared, prefer)
    found = _claims(declared, choice)
    if not found:
        provider = _catalogue()[kind].get(plain)
        if provider is not None and _normal(choice) == provider:
            others = tuple(d.distribution for d in declared)
            raise PluginNotInstalledError(kind, plain, provider, others)
        if choice and not wanted:
            known = " or ".join(d.distribution for d in declared) or "none is installed"
            expected = f"a distribution that declares {kind} {plain!r}: {known}"
            raise InvalidOptionError("prefer", {plain: choice}, expected)
        raise UnknownPluginError(kind, name, tuple(d.full_name for d in declared))
    usable = [d for d in found if _is_allowed(d)]
    if not usable:
        variable = find_switch(found[0]) or DENY
        raise PluginDisabledError(kind, plain, found[0].distribution, variable)
    if len(usable) > 1:
        raise PluginConflictError(kind, plain, tuple(d.distribution for d in usable))
    return usable[0]
