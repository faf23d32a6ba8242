"""Checks that the installed polystore-core fits the requirement of a plugin.

pip ensures that, unless it was interrupted or ``--no-deps`` was used.
"""

from __future__ import annotations

import functools
import re
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CORE", "compare_core", "core_version", "find_core_requirement"]

CORE = "polystore-core"

_ON_CORE = re.compile(r"polystore[-_.]core\s*(?:\[[^]]*\])?\s*\(?((?:[<>=!~][^;)]*)?)\)?", re.I)

Side: TypeAlias = Literal["fits", "too old", "too new"]


@functools.cache
def core_version() -> str:
    """Return the version of the installed polystore-core, or "" if it is not installed."""
    from importlib import metadata

    try:
        return metadata.version(CORE)
    except metadata.PackageNotFoundError:
        return ""


def find_core_requirement(requirements: Iterable[str]) -> str:
    """Return the versions of core that a distribution needs, such as "<2,>=1.0", or ""."""
    for requirement in requirements:
        found = _ON_CORE.fullmatch(requirement.strip())
        if found:
            return found.group(1).replace(" ", "")
    return ""


def compare_core(needed: str, version: str) -> Side:
    """Return whether core fits a requirement, or is too old or too new for it."""
    # Clauses of other forms count as fitting. pip has checked them, and this code is only for
    # the case that it has not.
    for operator, bound in re.findall(r"(?:^|,)(>=|<=|==|<|>)([\d.]+)(?=,|$)", needed):
        order = _order(version, bound)
        if order < 0 and operator in (">=", "==", ">"):
            return "too old"
        if order > 0 and operator in ("<=", "==", "<"):
            return "too new"
        if order == 0 and operator in ("<", ">"):
            return "too new" if operator == "<" else "too old"
    return "fits"


def _order(version: str, bound: str) -> int:
    # Numbers only. The library packaging would know more, but it is not a dependency of core.
    ours, theirs = (_numbers(text) for text in (version, bound))
    if not ours or not theirs:
        return 0
    length = max(len(ours), len(theirs))
    pairs = zip(_pad(ours, length), _pad(theirs, length), strict=True)
    return next(((a > b) - (a < b) for a, b in pairs if a != b), 0)


def _numbers(text: str) -> list[int]:
    found = re.match(r"\d{1,9}(\.\d{1,9})*", text)
    return [int(number) for number in found[0].split(".")] if found else []


def _pad(numbers: list[int], length: int) -> list[int]:
    return numbers + [0] * (length - len(numbers))
