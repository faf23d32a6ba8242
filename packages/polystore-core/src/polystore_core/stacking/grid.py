"""``Grid``: the places of files in a stack, found from their names."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice, product
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InvalidOptionError
from ..values import natural_order

if TYPE_CHECKING:
    from ..model.names import NameTemplate

__all__ = ["Grid", "Labels"]

_MOST_DIGITS = 18
"""Longer numbers do not fit into 64 bits, and stay text."""

_MOST_HOLES = 1_000_000
"""Combinations without a file. A Dask graph needs about a kilobyte for each."""

Labels: TypeAlias = "tuple[int | str, ...]"
"""The place of a file in a stack: the value of each field of its name."""


@dataclass(frozen=True, slots=True)
class Grid:
    """The place of each file in the stack, along the fields of its name."""

    template: NameTemplate
    labels: tuple[Labels, ...]
    """The values of each field, in order."""
    found: Mapping[Labels, str]

    @classmethod
    def of(cls, paths: Sequence[str], template: NameTemplate) -> Grid:
        """Create the grid of files. Raises ``InvalidOptionError`` for names that do not fit."""
        if not paths:
            raise InvalidOptionError("paths", paths, "at least one path")
        if not template.fields:
            raise InvalidOptionError("names", template.template, "a template with a field")
        parsed = [tuple(template.parse(path).values()) for path in paths]
        columns = [_convert_digits(column) for column in zip(*parsed, strict=True)]
        found: dict[Labels, str] = {}
        for path, place in zip(paths, zip(*columns, strict=True), strict=True):
            if place in found:
                same = _describe_place(template.fields, place)
                fault = (
                    f"{found[place]!r} and {path!r} both have {same}: leave out one of them, or "
                    f"add the field that tells them apart to names={template.template!r}"
                )
                raise InvalidOptionError("paths", path, "different fields", fault)
            found[place] = path
        return cls(template, tuple(_sort_labels(column) for column in columns), found)

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of different values of each field."""
        return tuple(map(len, self.labels))

    def check_complete(self) -> None:
        """Raise ``InvalidOptionError`` if a combination of labels has no file."""
        total = math.prod(self.shape)
        if total == len(self.found):
            return
        # A generator, because a wrong template can make millions of combinations.
        holes = (place for place in product(*self.labels) if place not in self.found)
        some = "; ".join(
            _describe_place(self.template.fields, place) for place in islice(holes, 5)
        )
        fault = (
            f"{total - len(self.found):,} of {total:,} combinations have no file: {some}"
            f"{'' if total - len(self.found) <= 5 else '; …'}. Pass missing=0 to fill them with "
            "zeros, or leave out the files of other combinations"
        )
        raise InvalidOptionError("paths", len(self.found), "a file for each", fault)

    def check_size(self) -> None:
        """Raise ``InvalidOptionError`` if there are too many combinations for the memory."""
        total = math.prod(self.shape)
        if total > _MOST_HOLES + len(self.found):
            lengths = ", ".join(map("{}: {:,}".format, self.template.fields, self.shape))
            fault = (
                f"{len(self.found):,} files make {total:,} combinations ({lengths}): leave the "
                f"field that differs from file to file out of names={self.template.template!r}"
            )
            raise InvalidOptionError("missing", total, "fewer combinations", fault)

    def check_axes(self, names: Sequence[str]) -> None:
        """Raise ``InvalidOptionError`` if a field has the name of an axis of the files."""
        both = [name for name in self.template.fields if name in names]
        if both:
            fault = (
                f"{{{both[0]}}} in names={self.template.template!r} is also an axis of the files "
                f"({', '.join(names)}): call the field by another name"
            )
            raise InvalidOptionError("names", self.template.template, "other names", fault)


def _convert_digits(column: Sequence[str]) -> Sequence[int] | Sequence[str]:
    # isdigit alone also accepts digits of other scripts, and "\u00b2", for which int() raises.
    if all(text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS for text in column):
        return [int(text) for text in column]
    return column


def _sort_labels(column: Sequence[Any]) -> Labels:
    different = set(column)
    return tuple(sorted(different) if isinstance(column[0], int) else natural_order(different))


def _describe_place(fields: Sequence[str], place: Labels) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in zip(fields, place, strict=True))
