"""The name is wrong, or what provides it is unusable."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .base import PolystoreError, listed, preference, suggestion

__all__ = [
    "BackendRequiredError",
    "BrokenPluginError",
    "IncompatiblePluginError",
    "MissingDependencyError",
    "MissingOptionError",
    "PluginConflictError",
    "PluginDisabledError",
    "PluginError",
    "PluginNotInstalledError",
    "UnknownPluginError",
]


@dataclass(eq=False)
class PluginError(PolystoreError, LookupError):
    """A plugin cannot be had. ``kind`` is "backend", "format" or "framework", for example."""

    kind: str
    name: str


@dataclass(eq=False)
class BackendRequiredError(PluginError, TypeError):
    """The call names no backend, or gives something else. polystore never picks one."""

    kind: str = field(default="backend", init=False)
    name: str = field(default="", init=False)
    operation: str
    known: tuple[str, ...] = ()
    place: str = ""
    """Where the call may give the name, such as "as source_backend="."""
    got: str = ""
    """The text of the value that is not a name. Empty if the call gives none."""

    def describe(self) -> str:
        name = f"the name of a backend {self.place}".rstrip()
        wrong = f"expected {name}, got {self.got}" if self.got else f"needs {name}"
        return f"{self.operation}() {wrong}. Available: {listed(self.known)}"


@dataclass(eq=False)
class UnknownPluginError(PluginError):
    known: tuple[str, ...] = ()

    def describe(self) -> str:
        hint = suggestion(self.name, self.known) or "."
        return f"no {self.kind} is called {self.name!r}{hint} Available: {listed(self.known)}"


@dataclass(eq=False)
class PluginNotInstalledError(PluginError):
    distribution: str
    others: tuple[str, ...] = ()
    """Who declares the name as well: nobody but the user can choose them."""

    def describe(self) -> str:
        other = ""
        if self.others:
            other = (
                f". {' and '.join(self.others)} also declares that name. To use it instead: "
                f"{preference(self.name, self.others[0])}"
            )
        return (
            f"{self.kind} {self.name!r} is provided by {self.distribution}, which is not "
            f"installed: pip install {self.distribution}{other}"
        )


@dataclass(eq=False)
class PluginDisabledError(PluginError):
    distribution: str
    variable: str

    def describe(self) -> str:
        return (
            f"{self.kind} {self.name!r} (from {self.distribution}) is switched off by the "
            f"environment variable {self.variable}={os.environ.get(self.variable, '')!r}"
        )


@dataclass(eq=False)
class BrokenPluginError(PluginError, ImportError):  # type: ignore[misc]
    distribution: str
    """Its distribution, or the full name of a class of this process."""
    version: str
    """Empty for a class of this process."""
    reason: str
    place: str = ""
    """File and line of the author's mistake, if it is known."""

    def describe(self) -> str:
        reason = f"{self.reason} ({self.place})" if self.place else self.reason
        if not self.version:
            return f"{self.kind} {self.name!r} ({self.distribution}) is broken: {reason}"
        return (
            f"{self.kind} {self.name!r} is installed ({self.distribution} {self.version}) but "
            f"broken: {reason}. Reinstall or upgrade {self.distribution}, or report it to its "
            "authors"
        )


@dataclass(eq=False)
class MissingDependencyError(PluginError, ImportError):  # type: ignore[misc]
    missing: tuple[str, ...]
    install: str
    distribution: str = ""

    def describe(self) -> str:
        origin = f" from {self.distribution}" if self.distribution else ""
        return (
            f"{self.kind} {self.name!r}{origin} needs {' and '.join(self.missing)}, which is not "
            f"installed: pip install {self.install!r}"
        )


@dataclass(eq=False)
class MissingOptionError(PluginError, TypeError):
    """A backend cannot be made without options: a name of your own gives them."""

    distribution: str
    options: tuple[str, ...]

    def describe(self) -> str:
        values = ", ".join(f"{option}=…" for option in self.options)
        return (
            f"{self.kind} {self.name!r} from {self.distribution} needs {values}. Add it under a "
            f"name of your choice: registry.add('my_{self.name}', {self.name!r}, {values})"
        )


@dataclass(eq=False)
class IncompatiblePluginError(PluginError):
    distribution: str
    version: str
    needs: str
    """What it is made for: "plugin API 2", "polystore-core<3,>=2.0"."""
    found: str
    """What there is: "polystore-core 1.0.0 has plugin API 1"."""
    upgrade: str
    """The distribution that is too old."""

    def describe(self) -> str:
        return (
            f"{self.kind} {self.name!r} from {self.distribution} {self.version} needs "
            f"{self.needs}, but {self.found}: pip install -U {self.upgrade}"
        )


@dataclass(eq=False)
class PluginConflictError(PluginError):
    distributions: tuple[str, ...]

    def describe(self) -> str:
        first, *others = self.distributions
        chosen = preference(self.name, first)
        if self.kind == "backend":
            full_name = f"Use a full name, such as '{first}:{self.name}'"
            advice = f"{full_name}, or choose one with {chosen}"
        else:
            off = f"POLYSTORE_DISABLE={','.join(others)}"
            advice = f"Choose one with {chosen}, or set the environment variable {off}"
            if self.kind == "framework":
                advice = f"Choose one: set the environment variable {off}"
        return (
            f"{self.kind} {self.name!r} is declared by {' and by '.join(self.distributions)}. "
            f"{advice}"
        )
