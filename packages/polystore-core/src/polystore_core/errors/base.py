"""The base class of errors, and the phrases that they share."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence


__all__ = [
    "PolystoreError",
    "describe_error",
    "join_names",
    "join_some",
    "show_preference",
    "show_value",
    "suggest_name",
]


PAGES = "https://polystore.readthedocs.io/errors/"


class _Page:
    """The address of the part of the documentation that explains a class of errors."""

    def __get__(self, error: object, owner: type) -> str:
        # The page has an anchor for each class of this package, and none for those of others.
        ours = (cls for cls in owner.__mro__ if cls.__module__ == "polystore_core.errors")
        return f"{PAGES}#{next(ours).__name__.lower()}"


@dataclass(eq=False)
class PolystoreError(Exception):
    """The base class of all errors of polystore. Its text is built from its fields.

    A traceback ends with the page of the error::

        polystore_core.errors.NotFoundError: backend 'disk': 'a.npy' does not exist (cannot load)
        See https://polystore.readthedocs.io/errors/#notfounderror
    """

    page = _Page()
    """Address of the documentation of this class, or of the nearest base class with one."""

    def describe(self) -> str:
        """Return the text of the error."""
        return type(self).__name__

    @property
    def __notes__(self) -> list[str]:
        """The notes that were added, and where to read more.

        The address is built when a traceback is printed, so that an error costs nothing to make.
        """
        return [*self.__dict__.get("_notes", ()), f"See {self.page}"]

    @__notes__.setter
    def __notes__(self, notes: Iterable[str]) -> None:
        # Libraries that move errors between processes set the notes that they have read.
        self._notes = [note for note in notes if note != f"See {self.page}"]

    def add_note(self, note: str, /) -> None:
        """Add a note, which a traceback shows below the text."""
        # Exception.add_note would append to the list of __notes__, which is new at each access.
        if not isinstance(note, str):
            raise TypeError(f"note must be a str, not {type(note).__name__!r}")
        self.__dict__.setdefault("_notes", []).append(note)

    def __str__(self) -> str:
        return self.describe()

    def __reduce__(self) -> tuple[Callable[..., PolystoreError], tuple[Any, ...]]:
        # Exception pickles the arguments of __init__ by position: these are keywords.
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.init}
        return _rebuild, (type(self), values, self.__dict__.get("_notes", []))


def _rebuild(
    cls: type[PolystoreError], values: Mapping[str, Any], notes: Sequence[str]
) -> PolystoreError:
    error = cls(**values)
    for note in notes:
        error.add_note(note)
    return error


def join_names(names: Iterable[str]) -> str:
    """Return the first 20 names in quotes, or "none"."""
    return join_some(repr(name) for name in names) or "none"


def join_some(texts: Iterable[str]) -> str:
    """Return the first 20 texts, and how many more there are."""
    texts = list(texts)
    first, more = ", ".join(texts[:20]), len(texts) - 20
    return f"{first} and {more:,} more" if more > 0 else first


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return "; did you mean 'x'?" for the known name that is most like ``name``, or ""."""
    import difflib

    by_lower = {text.lower(): text for text in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[close[0]]!r}?" if close else ""


def show_value(value: object) -> str:
    """Return the ``repr`` of any value, cut to 200 characters. Never raises."""
    try:
        text = repr(value)
    except Exception:  # a broken __repr__, or an int of more digits than Python prints
        return f"a value of type {type(value).__name__}"
    return text if len(text) <= 200 else f"{text[:200]}…"


def describe_error(error: BaseException) -> str:
    """Return the type and the text of any exception, in one line."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # a broken __str__
        text = ""
    return f"{type(error).__name__}: {text}"


def show_preference(name: str, distribution: str) -> str:
    """Return the code that makes a registry use ``distribution`` for ``name``."""
    return f"BackendRegistry(prefer={{{name!r}: {distribution!r}}})"
