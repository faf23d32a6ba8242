"""The name is wrong, or its plugin cannot be used."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from .base import PolystoreError, join_names, show_preference, suggest_name

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
    """A plugin cannot be used."""

    kind: str
    """The kind of plugin, for example "backend", "format" or "framework"."""
    name: str


@dataclass(eq=False)
class BackendRequiredError(PluginError, TypeError):
    """The call does not name a backend. polystore never chooses one for you."""

    kind: str = field(default="backend", init=False)
    name: str = field(default="", init=False)
    operation: str
    known: tuple[str, ...] = ()
    place: str = ""
    """Where the call may give the name, such as "as source_backend="."""
    got: str = ""
    """The text of a value that is not a name. Empty if the call gives none."""

    def describe(self) -> str:
        name = f"the name of a backend {self.place}".rstrip()
        wrong = f"expected {name}, got {self.got}" if self.got else f"needs {name}"
        return f"{self.operation}() {wrong}. Available: {join_names(self.known)}"


@dataclass(eq=False)
class UnknownPluginError(PluginError):
    """No plugin has this name. The text suggests a similar one."""

    known: tuple[str, ...] = ()

    def describe(self) -> str:
        hint = suggest_name(self.name, self.known) or "."
        if hint == "." and self.kind == "backend" and any(sign in self.name for sign in "./\\"):
            hint = ", which looks like a path. The path is first, as in load('a.npy', 'disk')."
        return (
            f"no {self.kind} is called {self.name!r}{hint} Available: {join_names(self.known)}"
        )


@dataclass(eq=False)
class PluginNotInstalledError(PluginError):
    """The plugin is known, but its distribution is not installed."""

    distribution: str
    others: tuple[str, ...] = ()
    """Installed distributions that declare the same name. polystore uses one only if you say so."""

    def describe(self) -> str:
        other = ""
        if self.others:
            other = (
                f". {' and '.join(self.others)} also declares that name. To use it instead: "
                f"{show_preference(self.name, self.others[0])}"
            )
        return (
            f"{self.kind} {self.name!r} is provided by {self.distribution}, which is not "
            f"installed: pip install {self.distribution}{other}"
        )


@dataclass(eq=False)
class PluginDisabledError(PluginError):
    """An environment variable switches the plugin off."""

    distribution: str
    variable: str

    def describe(self) -> str:
        return (
            f"{self.kind} {self.name!r} (from {self.distribution}) is switched off by the "
            f"environment variable {self.variable}={os.environ.get(self.variable, '')!r}"
        )


@dataclass(eq=False)
class BrokenPluginError(PluginError, ImportError):  # type: ignore[misc]
    """The plugin has a mistake in its code or its manifest. Report it to its authors."""

    distribution: str
    """Its distribution, or the full name of a class of this process."""
    version: str
    """Empty for a class of this process."""
    reason: str
    place: str = ""
    """The file and line of the mistake, if they are known."""

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
    """The plugin is installed, but a library that it needs is not."""

    missing: tuple[str, ...]
    install: str
    distribution: str = ""

    def describe(self) -> str:
        origin = f" from {self.distribution}" if self.distribution else ""
        verb = "is" if len(self.missing) == 1 else "are"
        return (
            f"{self.kind} {self.name!r}{origin} needs {' and '.join(self.missing)}, which {verb} "
            f"not installed: pip install {self.install!r}"
        )


@dataclass(eq=False)
class MissingOptionError(PluginError, TypeError):
    """The backend needs options before it can be used. Add it to the registry with them."""

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
    """The plugin is too old or too new for the polystore-core that is installed."""

    distribution: str
    version: str
    needs: str
    """The requirement of the plugin: "plugin API 2" or "polystore-core<3,>=2.0"."""
    found: str
    """The version that is installed: "polystore-core 1.0.0 has plugin API 1"."""
    upgrade: str
    """The distribution that is too old."""

    def describe(self) -> str:
        return (
            f"{self.kind} {self.name!r} from {self.distribution} {self.version} needs "
            f"{self.needs}, but {self.found}: pip install -U {self.upgrade}"
        )


@dataclass(eq=False)
class PluginConflictError(PluginError):
    """Two or more installed distributions declare this name. Choose one of them."""

    distributions: tuple[str, ...]

    def describe(self) -> str:
        first, *others = self.distributions
        chosen = show_preference(self.name, first)
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
