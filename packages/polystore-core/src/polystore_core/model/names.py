"""``NameTemplate``: reads the well, site, channel and plane in the names of files.

>>> NameTemplate("*_{well}f{field}d{channel}.tif").parse("AS_0904_O01f00d2.TIF")
{'well': 'O01', 'field': '00', 'channel': '2'}

A template is cut at each part of any length: ``*`` and the fields of free text. A stretch between
two cuts has at most one end for each start, and a later start never ends earlier. So the first
match of each stretch is the right one, and a long name takes no more time than its length. Each
stretch is an atomic group of one regular expression.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import NamedTuple, NoReturn, TypeAlias

from ..errors import InvalidOptionError
from ..paths import is_litter

__all__ = ["NameTemplate", "split_well"]

_Refuse: TypeAlias = Callable[[str], NoReturn]

_WELL = re.compile(r"([A-Za-z]{1,2})([0-9]{1,3})")
_END = r"(?=/|\Z)"
_TOKEN = re.compile(r"\{(?P<field>[^{}]*)\}|(?P<star>\*)|(?P<text>[^{}*]+)|[{}]")


class _Shape(NamedTuple):
    """The form of the values of a field. Runs are possessive, so no value ends in a number."""

    means: str
    regex: str
    after_gap: str
    """``regex``, which also must not start inside a run."""
    first: str
    """The class of its first character: "a" for letters, "0" for digits."""
    last: str
    """The class of its last character."""


_GUID = "[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}(?![0-9A-Za-z])"
_RUN = f"(?:[0-9]+?(?={_GUID})|[0-9]++)"
"""All digits in a row, except those that begin a GUID."""
_DIGITS = _Shape("digits", _RUN, f"(?<![0-9]){_RUN}", "0", "0")
_SHAPES = dict.fromkeys(("column", "field", "site", "t", "time", "w", "z"), _DIGITS) | {
    "row": _Shape(
        "letters or digits",
        "(?:[A-Za-z]++|[0-9]++)",
        "(?:(?<![A-Za-z])[A-Za-z]++|(?<![0-9])[0-9]++)",
        "a",  # digits too, but next to another field only letters are unambiguous
        "a",
    ),
    "well": _Shape(
        "a well such as B03",
        "[A-Za-z]{1,2}+[0-9]{1,3}+(?![0-9])",
        "(?<![A-Za-z])[A-Za-z]{1,2}+[0-9]{1,3}+(?![0-9])",
        "a",
        "0",
    ),
}


class _Piece(NamedTuple):
    """Fixed text, or a field with a shape."""

    field: str
    """"" for fixed text."""
    means: str
    regex: str


@dataclass(frozen=True, slots=True)
class _Stretch:
    """The pieces between two cuts."""

    gap: str
    """The cut before it: "*", the name of a field of free text, or "" at the start."""
    pieces: tuple[_Piece, ...]
    is_last: bool

    @property
    def regex(self) -> str:
        """The regular expression of its gap and pieces, an atomic group."""
        gap = "[^/]*?" if self.gap == "*" else f"(?P<{self.gap}>[^/]+?)" if self.gap else ""
        return f"(?>{gap}{self._join(len(self.pieces))}{_END if self.is_last else ''})"

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of its fields."""
        names = (self.gap, *(piece.field for piece in self.pieces))
        return tuple(name for name in names if name not in ("", "*"))

    def find(self, name: str, at: int) -> re.Match[str] | None:
        """Return the first match in ``name[at:]``. Without a gap it must be at the start."""
        end = _END if self.is_last else ""
        return self._search(self._join(len(self.pieces)) + end, name, at)

    def _join(self, count: int) -> str:
        return "".join(piece.regex for piece in self.pieces[:count])

    def _search(self, regex: str, name: str, at: int) -> re.Match[str] | None:
        pattern = re.compile(regex)
        if not self.gap:
            return pattern.match(name, at)
        start = at + (self.gap != "*")  # a value has at least one character
        return pattern.search(name, start) if start <= len(name) else None

    def misfit(self, name: str, at: int) -> str:
        """Describe how far ``name`` fits, and the text that should follow."""
        for count in range(len(self.pieces), 0, -1):
            found = self._search(self._join(count), name, at)
            if found:
                return _misfit(name, found.end(), self._describe_piece(count))
        if self.gap in ("", "*"):
            return _misfit(name, at, self._describe_piece(0), anywhere=bool(self.gap))
        text = f"text ({{{self.gap}}})"
        if at == len(name):
            return _misfit(name, at, text)
        return _misfit(name, at, f"{self._describe_piece(0)} after {text}", anywhere=True)

    def _describe_piece(self, index: int) -> str:
        return self.pieces[index].means if index < len(self.pieces) else "the end"


def _misfit(name: str, at: int, wanted: str, *, anywhere: bool = False) -> str:
    rest = repr(name[at:]) if at < len(name) else "nothing"
    where = f"after {name[:at]!r}, " if at else ""
    return f"{where}expected {wanted}{' in' if anywhere else ', got'} {rest}"


@dataclass(frozen=True, slots=True)
class NameTemplate:
    """A template for the names of the files of an experiment.

    For example:

        names = NameTemplate("{well}_f{field}_w{channel}.tif")
        names.parse("plate/B03_f2_w1.tif")  # {"well": "B03", "field": "2", "channel": "1"}

    The rules of a template:

    - ``{name}`` is a field. Its name is a Python identifier, and occurs once.
    - ``*`` is any text without "/", or none. It is as short as the rest of the name allows.
    - All other text must be in the name as it is. Case matters, except in the suffix: ``.tif`` also
      fits ``.TIF``. The suffix starts at the first dot of the fixed text at the end.
    - A template without "/" is compared with the name of the file only. A template with "/" is
      compared with as many of the last parts of the path as it has itself.
    - Files of file browsers, such as "._a.tif", never fit (``is_litter``).

    The values of a field depend on its name:

    - ``well``: one or two letters and one to three digits, such as "B3", "O01" or "AA12".
    - ``row``: letters or digits. ``column``, ``field``, ``site``, ``z``, ``t``, ``time`` and ``w``:
      digits. They include all letters or digits in a row, so that a number is never cut.
      MetaXpress writes a GUID directly after the last number. The first eight digits of the GUID
      do not belong to the number, so ``w11619fbbe-5bcd-…`` is w1.
    - All other fields, also ``channel``: the shortest text, not empty, with which the rest fits.

    Two fields may touch if it is clear where the first one ends. ``{row}{column}`` is clear, but
    two fields of free text, or two of digits, are not.

    Raises:
        InvalidOptionError: The template breaks one of these rules.
    """

    template: str
    _parts: tuple[tuple[_Stretch, ...], ...] = field(init=False, repr=False, compare=False)
    _pattern: re.Pattern[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not isinstance(self.template, str) or not self.template:
            raise InvalidOptionError("template", self.template, "a non-empty str")
        parts = self.template.split("/")
        if not all(parts):
            self._refuse("text on both sides of each '/'")
        last = len(parts) - 1
        cut = tuple(_cut(p, i == last, self._refuse) for i, p in enumerate(parts))
        names = Counter(name for part in cut for stretch in part for name in stretch.fields)
        for name, times in names.items():
            if times > 1:
                self._refuse(f"each field once, but {{{name}}} occurs {times} times")
        # One expression for the whole template: four times as fast as one for each stretch.
        regex = "/".join("".join(stretch.regex for stretch in part) for part in cut)
        object.__setattr__(self, "_parts", cut)
        object.__setattr__(self, "_pattern", re.compile(regex))

    def __reduce__(self) -> tuple[type[NameTemplate], tuple[str]]:
        return type(self), (self.template,)

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of the fields, in the order of the template."""
        return tuple(self._pattern.groupindex)

    def parse(self, path: str | os.PathLike[str]) -> dict[str, str]:
        """Return the value of each field in a name, as text.

        The file is not opened, and need not exist. Sort values with :func:`natural_order`.

        Raises:
            InvalidOptionError: The name does not fit. The error says how far it fits.
        """
        parts = _parts_of(path)
        if parts and is_litter(parts[-1]):
            self._reject(path, "it is a file that a file browser has created")
        if len(parts) < len(self._parts):
            self._reject(path, f"expected at least {len(self._parts)} parts, got {len(parts)}")
        names = parts[-len(self._parts) :]
        # Stretch by stretch only for the error, which says how far the name fits.
        found = self._pattern.match("/".join(names))
        if found is None:
            self._reject(path, next(filter(None, map(_first_misfit, self._parts, names))))
        values: dict[str, str] = found.groupdict()
        return values

    def matches(self, path: str | os.PathLike[str]) -> bool:
        """Return whether the name fits, so that :meth:`parse` returns its values."""
        parts = _parts_of(path)[-len(self._parts) :]
        if len(parts) != len(self._parts) or is_litter(parts[-1]):
            return False
        return self._pattern.match("/".join(parts)) is not None

    def _refuse(self, expected: str) -> NoReturn:
        raise InvalidOptionError("template", self.template, expected)

    def _reject(self, path: str | os.PathLike[str], reason: str) -> NoReturn:
        expected = f"a name that fits {self.template!r}; {reason}"
        raise InvalidOptionError("name", os.fspath(path), expected)


def split_well(well: str) -> tuple[str, str]:
    """Return the row and the column of a well as text.

    For example:

        split_well("O01")  # ("O", "01")

    Raises:
        InvalidOptionError: ``well`` is not one or two letters and one to three digits.
    """
    found = _WELL.fullmatch(well) if isinstance(well, str) else None
    if found is None:
        expected = "one or two letters and one to three digits, such as B03"
        raise InvalidOptionError("well", well, expected)
    return found[1], found[2]


def _parts_of(path: str | os.PathLike[str]) -> list[str]:
    text = path.as_posix() if isinstance(path, PurePath) else os.fspath(path)
    if not isinstance(text, str):
        raise InvalidOptionError("path", path, "a str, or a PathLike of a str")
    return list(filter(None, text.replace(os.sep, "/").split("/")))


def _first_misfit(stretches: tuple[_Stretch, ...], name: str) -> str:
    """Return how far ``name`` fits, or an empty string if all of it does."""
    at = 0
    for stretch in stretches:
        found = stretch.find(name, at)
        if found is None:
            return stretch.misfit(name, at)
        at = found.end()
    return ""


def _cut(part: str, has_suffix: bool, refuse: _Refuse) -> tuple[_Stretch, ...]:
    """Cut one part of a template into its stretches."""
    stretches: list[_Stretch] = []
    gap, pieces = "", list[_Piece]()
    before: re.Match[str] | None = None
    for token in _TOKEN.finditer(part):
        _check(token, before, refuse)
        name = token["field"]
        # A field of free text is a cut like "*", with a name.
        if token["star"] or (name and name not in _SHAPES):
            stretches.append(_Stretch(gap, tuple(pieces), is_last=False))
            gap, pieces = name or "*", []
        elif name:
            shape = _SHAPES[name]
            regex = shape.after_gap if gap and not pieces else shape.regex
            means = f"{shape.means} ({{{name}}})"
            pieces.append(_Piece(name, means, f"(?P<{name}>{regex})"))
        else:
            regex = _escape(token["text"], has_suffix and token.end() == len(part))
            pieces.append(_Piece("", repr(token["text"]), regex))
        before = token
    return (*stretches, _Stretch(gap, tuple(pieces), is_last=True))


def _escape(text: str, has_suffix: bool) -> str:
    stem, dot, suffix = text.partition(".") if has_suffix else (text, "", "")
    return re.escape(stem) + (f"(?ai:{re.escape(dot + suffix)})" if dot else "")


def _check(token: re.Match[str], before: re.Match[str] | None, refuse: _Refuse) -> None:
    """Raise for a token that is not valid, or whose start is unclear after the one before."""
    if token[0] in ("{", "}"):
        refuse(f"braces in pairs, but {token[0]!r} at position {token.start()} is alone")
    name = token["field"]
    if name is not None and not name.isidentifier():
        refuse(f"a Python identifier in braces, not {token[0]!r}")
    ends, starts = before and _edge(before, -1), _edge(token, 0)
    if before is not None and ends == starts and (before["field"] or before["star"]):
        refuse(f"{_SEAMS[starts]} between {before[0]!r} and {token[0]!r}")


_SEAMS = {
    "*": "text",
    "a": "something other than a letter",
    "0": "something other than a digit",
}


def _edge(token: re.Match[str], index: int) -> str:
    """Return the class of a token's first or last character; "*" where it may be any."""
    name = token["field"]
    if name in _SHAPES:
        return _SHAPES[name].last if index else _SHAPES[name].first
    if token["text"]:
        # "r{row}c{column}" is clear, where the row is a number.
        return "0" if token[0][index] in "0123456789" else ""
    return "*"
