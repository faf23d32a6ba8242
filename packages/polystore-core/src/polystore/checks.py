"""What plugins need of this machine, and what is missing: ``polystore doctor``.

A plugin that needs more than Python packages (a program, a screen) names a function in its
manifest, as ``check="package.module:function"``. It takes nothing and returns an iterable of
:class:`Finding`; it looks, and starts or changes nothing that outlives it::

    def findings():
        java = shutil.which("java")
        state, remedy = ("ok", "") if java else ("missing", "apt-get install default-jre")
        return [Finding(what="Java", state=state, found=java or "none", remedy=remedy)]

No other module of the plugin is imported to ask it.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from .errors import MissingDependencyError, PluginError
from .plugins import load_spec, resolve, survey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .plugins import PluginState

__all__ = ["Finding", "FindingState", "findings"]

FindingState: TypeAlias = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that a plugin looked for."""

    what: str
    """"Java", "screen"."""
    state: FindingState
    """"missing" if the plugin does not work without it, "note" if it is worth knowing."""
    found: str = ""
    """What is there: a version, a path, or what is wrong."""
    remedy: str = ""
    """What helps: a command."""


def findings(prefer: Mapping[str, str] | None = None) -> Iterator[tuple[PluginState, Finding]]:
    """Yield what each plugin that is not switched off has found, asked one after the other.

    A backend without a check is there with its version, a plugin that cannot be used with the
    reason; a format without its library is no more than worth knowing. Other formats are
    silent.
    """
    for plugin in survey(prefer):
        if plugin.state != "disabled":
            for finding in _asked(plugin):
                yield plugin, finding


def _asked(plugin: PluginState) -> Iterable[Finding]:
    try:
        spec = load_spec(resolve(plugin.kind, f"{plugin.distribution}:{plugin.name}"))
    except MissingDependencyError as error:
        state: FindingState = "note" if plugin.kind == "format" else "missing"
        without, remedy = " and ".join(error.missing), f"pip install {error.install!r}"
        return [Finding(what="plugin", state=state, found=f"without {without}", remedy=remedy)]
    except PluginError as error:
        return [Finding(what="plugin", state="missing", found=str(error))]
    if plugin.state != "ok":
        return [Finding(what="plugin", state="missing", found=plugin.why)]
    if spec.check:
        return _checked(plugin, spec.check)
    version = f"{plugin.distribution} {plugin.version}"
    return [Finding(what="plugin", state="ok", found=version)] * (plugin.kind == "backend")


def _checked(plugin: PluginState, check: str) -> Iterable[Finding]:
    module, _, attribute = check.partition(":")
    try:
        answers: list[Any] = list(getattr(importlib.import_module(module), attribute)())
    except (Exception, SystemExit) as error:  # a stranger's check hides no other plugin's
        reason = f"failed: {type(error).__name__}: {error}"
    else:
        strange = [answer for answer in answers if not isinstance(answer, Finding)]
        if not strange:
            return answers
        reason = f"answers {strange[0]!r}, expected a Finding"
    remedy = f"upgrade {plugin.distribution}, or report it there"
    return [Finding(what="check", state="missing", found=f"{check} {reason}", remedy=remedy)]
