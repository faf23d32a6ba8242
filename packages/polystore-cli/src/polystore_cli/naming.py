"""Find a name template in the names of the images of a folder.

>>> find_template(["AS_09_O01f00d2.TIF", "AS_09_O01f01d2.TIF", "AS_09_O02f00d2.TIF"]).template
'AS_09_{well}f{field}d2.TIF'

Names of the same form are cut into words, and words into letters and digits. Each piece is a
column. A column that is the same in all names is text of the template. A column that varies is

1. a field, if the letters before it say which: ``w1``, ``ch1``, ``s03``, ``pos002``, ``t010``, …
2. a well, if it looks like one, such as ``B03``
3. a field with a name of its own, if two names would have the same values without it
4. ``*`` otherwise, for example the GUIDs of ImageXpress.

Only names are read, and no files.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from polystore_core import NameTemplate
from polystore_core.errors import InvalidOptionError

__all__ = ["Found", "find_template"]

_Columns: TypeAlias = "list[_Column]"

_GUID = r"[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}"
_WORD = re.compile(rf"({_GUID})|([^\W_]+)|([\W_]+)")
# It cuts "wDAPI" into "w" and "DAPI", and "Cy5" into "Cy" and "5".
_RUN = re.compile(r"[0-9]+|[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[^0-9A-Za-z]+|.")
_MARKERS = {
    marker: name
    for name, markers in {
        "channel": "channel chan ch c wavelength wave wv w d",
        "field": "field fld fov f",
        "site": "site s position pos p xy tile series scene",
        "t": "timepoint time tp t frame sk",
        "z": "zstep z slice plane",
        "row": "row r",
        "column": "column col",
    }.items()
    for marker in markers.split()
}
_RANK = {marker: rank for rank, marker in enumerate(_MARKERS)}
"""If two markers mean the same field, the first one wins: "c" before "w", "w" before "d"."""
_STAINS = re.compile(
    "dapi|hoechst|gfp|[cry]fp|fitc|tritc|rhod|cy[0-9]|alexa|af[0-9]|mcherry|tdtomato|texas|"
    "brightfield|bf|dic|phase|trans|draq|mito|actin|tubulin",
    re.IGNORECASE,
)
# A letter that is the same in all names is a row only up to P, the last one of 384 wells.
# Letters that vary may go up to AF, the last row of 1536 wells, and digits up to column 48.
_ROWS = frozenset("ABCDEFGHIJKLMNOP")
_MANY_ROWS = _ROWS | frozenset("QRSTUVWXYZ") | {f"A{letter}" for letter in "ABCDEF"}
_LAST_COLUMN = 48
_MOST_CHANNELS = 16
_FREE = ("channel", "name", "number")
"""Fields that match any text. They end where the text after them begins."""


@dataclass(frozen=True, slots=True)
class Found:
    """A template, and which names it fits."""

    template: str
    fits: list[str]
    misfits: list[str]
    """Names of another form, and names that differ from others only in a ``*``."""
    values: dict[str, int]
    """How many values each field has."""


@dataclass(slots=True)
class _Column:
    """The same piece of every name."""

    values: tuple[str, ...]
    kind: str
    """"letters", "digits", "text" (both), "between" (words) or "guid"."""
    starts: bool = False
    """Whether a word starts here."""
    role: str = ""
    """Name of the field, "*", or "" for text."""
    counts: int = field(init=False)

    def __post_init__(self) -> None:
        self.counts = len(set(self.values))

    @property
    def varies(self) -> bool:
        return self.counts > 1

    @property
    def text(self) -> str:
        return self.values[0]


def find_template(names: Sequence[str]) -> Found | None:
    """Return the template that fits most of ``names``, which are names of files without folders.

    Returns ``None`` if no template gives each name its own values.
    """
    group = _of_one_form(names)
    if len(group) < 2:
        return None
    columns = _columns([_stem(name) for name in group])
    # Letters such as "w" and "t" are certain. The rest is a guess, so it comes second.
    _name_fields(columns)
    _tell_apart(columns)
    written = _write_template(columns) + group[0][len(_stem(group[0])) :]
    try:
        template = NameTemplate(written)
    except InvalidOptionError:
        return None  # two fields touch, so a name does not say where the first one ends
    found = _fit_names(template, names)
    return found if len(found.fits) > 1 else None


def _fit_names(template: NameTemplate, names: Iterable[str]) -> Found:
    places: dict[tuple[str, ...], str] = {}
    misfits = []
    for name in names:
        place = tuple(template.parse(name).values()) if template.matches(name) else ()
        if not place or place in places:
            misfits.append(name)
        else:
            places[place] = name
    values = {
        name: len(set(column))
        for name, column in zip(template.fields, zip(*places, strict=True), strict=False)
    }
    return Found(template.template, list(places.values()), misfits, values)


# ── columns ──────────────────────────────────────────────────────────────────────────────


def _of_one_form(names: Iterable[str]) -> list[str]:
    """Return the largest group of names with the same suffix and the same text between words."""
    forms: dict[tuple[str, ...], list[str]] = {}
    for name in names:
        stem = _stem(name)
        form = ["guid" if guid else between or "" for guid, _, between in _WORD.findall(stem)]
        forms.setdefault((name[len(stem) :].lower(), *form), []).append(name)
    # A folder often has a few other images, such as an overview. The template is for the many.
    return max(forms.values(), key=len, default=[])


def _stem(name: str) -> str:
    stem = os.path.splitext(name)[0]
    return stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem


def _columns(stems: Sequence[str]) -> _Columns:
    columns: _Columns = []
    words = [_WORD.findall(stem) for stem in stems]
    for pieces in zip(*words, strict=True):
        guid, word, _ = pieces[0]
        if word:
            columns += _pieces([word for _, word, _ in pieces])
        else:
            values = tuple(["".join(piece) for piece in pieces])
            columns.append(_Column(values, "guid" if guid else "between"))
    return columns


def _pieces(words: Sequence[str]) -> _Columns:
    """Cut words into letters and digits, as long as all words have the same kinds of pieces."""
    runs = [_RUN.findall(word) for word in words]
    columns: _Columns = []
    least = min(map(len, runs))
    same_length = len(set(map(len, runs))) == 1
    kinds = [[_kind(run) for run in some] for some in runs]
    is_alike = same_length and all(some == kinds[0] for some in kinds)
    shared = 0
    # "DAPI" and "Cy5" stay whole: the letters "Cy" are only a part of a name.
    while shared < (least if is_alike else least - 1):
        if len({some[shared] for some in kinds}) > 1:
            break
        columns.append(_Column(tuple([some[shared] for some in runs]), kinds[0][shared]))
        shared += 1
    if not is_alike:
        columns.append(_Column(tuple(["".join(some[shared:]) for some in runs]), "text"))
    columns[0].starts = True
    return columns


def _kind(run: str) -> str:
    return "digits" if run.isdecimal() and run.isascii() else "letters"


# ── fields that the names tell ────────────────────────────────────────────────────────────


def _name_fields(columns: _Columns) -> None:
    marked = _find_markers(columns)
    well = next((at for at in range(len(columns)) if _is_well(columns, at, marked)), None)
    taken: set[str] = set()
    if well is not None:
        if columns[well].varies or columns[well + 1].varies:
            columns[well].role = "well"
        # In "C03", the letter is a row, and so its digits are not a channel.
        marked.pop(well + 1, None)
        taken = {"well"}
    elif (row := _row_and_column(columns)) is not None:
        columns[row].role, columns[row + 2].role = "row", "column"
    for at, marker in sorted(marked.items(), key=lambda item: _RANK[item[1]]):
        name = _meaning(marker, set(marked.values()))
        if name not in taken and columns[at].varies and not columns[at].role:
            columns[at].role = name
            taken.add(name)


def _meaning(marker: str, markers: set[str]) -> str:
    """Return the field of a marker. It may depend on the others, as in r01c01f01p01 of Harmony."""
    if marker == "c" and "r" in markers:
        return "column"
    if marker == "p" and "f" in markers and "z" not in markers:
        return "z"
    return _MARKERS[marker]


def _find_markers(columns: _Columns) -> dict[int, str]:
    """Return the marker of each column that has one."""
    found = {}
    for at, column in enumerate(columns):
        if column.kind not in ("digits", "text") and not _is_word_of_letters(columns, at):
            continue
        before = columns[at - 1] if at else None
        is_apart = before is not None and before.kind == "between" and at > 1
        if is_apart and before is not None and before.text in ("_", "-", " ", "="):
            before = columns[at - 2]
        if before is None or before.varies or before.kind != "letters":
            continue
        marker = before.text.lower()
        is_whole = before.starts and (len(marker) > 1 or marker in "tz")
        # The text after "wv" is a stain, as in "wv DAPI". After "pos" it is not.
        takes_text = column.kind == "digits" or _MARKERS.get(marker) == "channel"
        if marker in _MARKERS and takes_text and (is_whole or not is_apart):
            found[at] = marker
    return found


def _is_word_of_letters(columns: _Columns, at: int) -> bool:
    column = columns[at]
    after = columns[at + 1].kind if at + 1 < len(columns) else "between"
    return column.kind == "letters" and column.starts and after == "between"


def _is_well(columns: _Columns, at: int, marked: dict[int, str]) -> bool:
    """Whether a well begins at ``at``: its letters, and its digits after them."""
    if at + 1 == len(columns) or columns[at + 1].kind != "digits":
        return False
    letters, digits = columns[at], columns[at + 1]
    before = columns[at - 1].text.lower() if at else ""
    if letters.kind != "letters" or not (letters.starts or before == "well"):
        return False
    rows = {row.upper() for row in letters.values} if letters.varies else set(letters.values)
    if not rows <= (_MANY_ROWS if letters.varies else _ROWS):
        return False
    if not _are_columns(digits):
        return False
    # In "F01_C2" all letters are markers. In "C20_w1" the upper case says that C is a row.
    others = [columns[other - 1].text for other in marked if other != at + 1]
    is_marker = at + 1 in marked and any(text.isupper() for text in others)
    return not is_marker or before == "well"


def _are_columns(column: _Column) -> bool:
    """Whether these digits may be columns of a plate."""
    return all(len(d) <= 2 and 0 < int(d) <= _LAST_COLUMN for d in column.values)


def _row_and_column(columns: _Columns) -> int | None:
    """Return the column of the row in "A - 01(fld 1 wv DAPI).tif", as InCell writes wells."""
    for at in range(len(columns) - 2):
        row, between, column = columns[at : at + 3]
        is_well = (
            between.text == " - " and column.kind == "digits" and row.varies and row.starts
        )
        if is_well and _ROWS.issuperset(row.values) and _are_columns(column):
            return at
    return None


# ── fields that give each name its own values ───────────────────────────────────────────


def _tell_apart(columns: _Columns) -> None:
    """Name more columns until no two names have the same values. The others become ``*``."""
    _absorb(columns)
    rest = [c for c in columns if c.varies and not c.role and not _is_of_well(columns, c)]
    names = {column.role for column in columns}
    # If two columns are equally good, take the later one: names usually end in a running number.
    rest.reverse()
    for column in sorted(rest, key=_order):
        if not _are_apart(columns):
            column.role = _own_name(column, names)
            names.add(column.role)
        else:
            column.role = "*"
    for column in columns:
        if column.kind == "guid" and not column.role:
            column.role = "*"


def _absorb(columns: _Columns) -> None:
    """Join a channel and the text that touches it: "w1DAPI" is one name."""
    for at in range(1, len(columns)):
        before, column = columns[at - 1], columns[at]
        if before.role == "channel" and column.varies and column.kind != "between":
            column.role = "channel"


def _is_of_well(columns: _Columns, column: _Column) -> bool:
    """Whether these are the digits of a well, which belong to the field of its letters."""
    at = next(number for number, other in enumerate(columns) if other is column)
    return at > 0 and columns[at - 1].role == "well"


def _order(column: _Column) -> tuple[int, int]:
    """Sort words before numbers, few values before many, and random text last."""
    kinds = {"letters": 0, "text": 0, "digits": 1, "between": 2, "guid": 3}
    return kinds[column.kind], 0 if _is_channel(column) else column.counts


def _are_apart(columns: _Columns) -> bool:
    chosen = [c.values for c in columns if c.role not in ("", "*") or _is_of_well(columns, c)]
    places = set(zip(*chosen, strict=True)) if chosen else set()
    return len(places) == len(columns[0].values)


def _is_channel(column: _Column) -> bool:
    """Whether these are names of channels: of stains, or as short as "D", "F" and "R"."""
    if column.kind not in ("letters", "text") or column.counts > _MOST_CHANNELS:
        return False
    values = set(column.values)
    return any(map(_STAINS.match, values)) or max(map(len, values)) <= 3


def _own_name(column: _Column, taken: set[str]) -> str:
    """Choose a name for a field whose meaning is unknown."""
    if "channel" not in taken and _is_channel(column):
        return "channel"
    if "t" not in taken and column.kind == "digits" and _is_counted(column.values):
        return "t"
    first = "name" if column.kind in ("letters", "text") else "number"
    number = 2
    name = first
    while name in taken:
        name, number = f"{first}{number}", number + 1
    return name


def _is_counted(values: Sequence[str]) -> bool:
    """Whether these are numbers of frames: "0001", "0002", … without a gap."""
    numbers = {int(value) for value in values}
    is_dense = max(numbers) - min(numbers) == len(numbers) - 1
    return is_dense and len(numbers) > 2 and max(map(len, values)) > 2


# ── the template ─────────────────────────────────────────────────────────────────────────


def _write_template(columns: _Columns) -> str:
    parts: list[str] = []
    for column in columns:
        part = f"{{{column.role}}}" if column.role not in ("", "*") else column.role
        # A template would read braces and stars in a name as its own, so they become "*".
        part = part or re.sub(r"[{}*]+", "*", column.text)
        if _is_of_well(columns, column):
            continue
        if parts and part == parts[-1] and column.role:
            continue  # the same field, or "*", in the next column
        if parts and part == "*" and _is_free(parts[-1]):
            continue  # the field before it takes this text too
        if parts and parts[-1] == "*" and _is_free(part):
            parts.pop()
        parts.append(part)
    return "".join(parts)


def _is_free(part: str) -> bool:
    return part.startswith("{") and part.strip("{}").rstrip("0123456789") in _FREE
