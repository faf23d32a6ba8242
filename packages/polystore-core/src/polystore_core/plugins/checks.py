"""Checks of the needs of plugins on this machine, for ``polystore doctor``.

If your plugin needs more than Python packages, for example a program or a screen, name a function
in its manifest: ``check="package.module:function"``. It has no arguments, returns an iterable of
:class:`Finding`, and starts or changes nothing that lasts:

    def findings():
        java = shutil.which("java")
        state, remedy = ("ok", "") if java else ("missing", "apt-get install default-jre")
        return [Finding(what="Java", state=state, found=java or "none", remedy=remedy)]

It is called before any other module of the plugin is imported. Afterwards the class of the plugin
is imported and checked.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from ..errors import MissingDependencyError, PluginError
from ..errors.base import describe_error, show_value
from .discovery import load_spec, load_target, resolve, survey
from .specs import place_of_error

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from .discovery import PluginState

__all__ = ["Finding", "FindingState", "findings"]

FindingState: TypeAlias = Literal["ok", "note", "missing"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The result of one check of a plugin.

    For example:

        Finding(what="Java", state="missing", remedy="apt-get install default-jre")
    """

    what: str
    """The thing that was checked, such as "Java" or "screen"."""
    state: FindingState
    """"missing" if the plugin does not work without it, "note" if it is worth knowing."""
    found: str = ""
    """The result: a version, a path or a problem."""
    remedy: str = ""
    """A command that solves the problem."""


def findings(prefer: Mapping[str, str] | None = None) -> Iterator[tuple[PluginState, Finding]]:
    """Check every plugin that is not switched off, and yield the findings of each.

    The class of each plugin is imported and checked. A backend without a check of its own has its
    version as a finding. A plugin that cannot be used has the reason. A format whose library is
    missing has a note, and so has a plugin whose name belongs to another distribution. Other
    formats have no finding.
    """
    for plugin in survey(prefer):
        if plugin.state != "disabled":
            for finding in _ask(plugin):
                yield plugin, finding


def _ask(plugin: PluginState) -> Iterable[Finding]:
    if plugin.state == "ignored":
        return [Finding(what="plugin", state="note", found=f"ignored: {plugin.why}")]
    try:
        declaration = resolve(plugin.kind, f"{plugin.distribution}:{plugin.name}")
        spec = load_spec(declaration)
    except MissingDependencyError as error:
        state: FindingState = "missing" if plugin.kind == "backend" else "note"
        without, remedy = " and ".join(error.missing), f"pip install {error.install!r}"
        return [Finding(what="plugin", state=state, found=f"without {without}", remedy=remedy)]
    except PluginError as error:
        return [Finding(what="plugin", state="missing", found=str(error))]
    # Before the class is imported: without its program the import may fail, and the finding helps.
    found = list(_run_check(plugin, spec.check)) if spec.check else []
    try:
        load_target(declaration)
    except PluginError as error:
        return [*found, Finding(what="plugin", state="missing", found=str(error))]
    if plugin.state == "conflicting":
        return [*found, Finding(what="plugin", state="missing", found=plugin.why)]
    version = f"{plugin.distribution} {plugin.version}"
    if not found and plugin.kind == "backend":
        return [Finding(what="plugin", state="ok", found=version)]
    return found


def _run_check(plugin: PluginState, check: str) -> Iterable[Finding]:
    module, _, attribute = check.partition(":")
    try:
        answers: list[Any] = list(getattr(importlib.import_module(module), attribute)())
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # even SystemExit, so that the other plugins are checked
        place = place_of_error(error, module.partition(".")[0])
        reason = f"failed: {describe_error(error)}" + (f" ({place})" if place else "")
    else:
        strange = [answer for answer in answers if not _is_finding(answer)]
        if not strange:
            return answers
        reason = f"returns {show_value(strange[0])}, expected a Finding of four texts"
    remedy = f"upgrade {plugin.distribution}, or report it there"
    return [Finding(what="check", state="missing", found=f"{check} {reason}", remedy=remedy)]


def _is_finding(answer: object) -> bool:
    return (
        isinstance(answer, Finding)
        and all(isinstance(getattr(answer, field.name), str) for field in fields(Finding))
        and answer.state in get_args(FindingState)
    )
