"""The root of the tree, and the words that errors share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


__all__ = ["PolystoreError", "listed", "preference", "several", "shown", "suggestion", "told"]


@dataclass(eq=False)
class PolystoreError(Exception):
    """Root of the tree. Its text is built from its fields."""

    def describe(self) -> str:
        return type(self).__name__

    def __str__(self) -> str:
        return self.describe()

    def __reduce__(self) -> tuple[Callable[..., PolystoreError], tuple[Any, ...]]:
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return _rebuild, (type(self), values, getattr(self, "__notes__", []))


def _rebuild(
    cls: type[PolystoreError], values: Mapping[str, Any], notes: Sequence[str]
) -> PolystoreError:
    error = cls(**values)
    for note in notes:
        error.add_note(note)
    return error


def listed(names: Iterable[str]) -> str:
    return several(repr(name) for name in names) or "none"


def several(texts: Iterable[str]) -> str:
    """Return the first 20 texts, and how many more there are."""
    texts = list(texts)
    first, more = ", ".join(texts[:20]), len(texts) - 20
    return f"{first} and {more:,} more" if more > 0 else first


def suggestion(name: str, known: Iterable[str]) -> str:
    import difflib

    by_lower = {text.lower(): text for text in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def shown(value: object) -> str:
    """Return the ``repr`` of a stranger's value: short, and never an exception."""
    try:
        text = repr(value)
    except Exception:  # a broken __repr__, or an int of more digits than Python prints
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}…"


def told(error: BaseException) -> str:
    """Return the type and text of a stranger's exception, in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a broken __str__
        text = ""
    return f"{type(error).__name__}: {text}"


def preference(name: str, distribution: str) -> str:
    """Return the code that lets ``distribution`` answer for ``name``."""
    return f"BackendRegistry(prefer={{{name!r}: {distribution!r}}})"
