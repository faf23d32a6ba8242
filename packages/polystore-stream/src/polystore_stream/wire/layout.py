"""Derive from a path where an image goes in a viewer. Works on text, without asking a viewer.

Names have aliases: "time" is "t", and "channel" and "w" are "c". Without a name template, a single
image gets its own layer, and a series becomes one stack.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import numpy as np

from polystore_core import check_text
from polystore_core.errors import InvalidOptionError

from .stores import find_stored

if TYPE_CHECKING:
    from polystore_core import NameTemplate, Path

__all__ = ["Layout", "Place", "encodable", "place_of", "places_of"]

_ALIASES = {"time": "t", "channel": "c", "w": "c"}
_AXES = ("t", "z", "c")
_SEPARATORS = "_-. "


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which parts of a name become layers, sliders and windows of a viewer.

    The parts are the fields of the template and the names in ``at=``. A part that you do not list
    becomes a slider too, before the listed ones, so that no two images have the same place. You
    may list the axes "t" ("time"), "z" and "channel" ("c", "w") even if no image has them.

    For example, ``Layout(window=("well",))`` opens a window for each well.

    Raises:
        InvalidOptionError: An option is not a tuple of names, or lists a name twice.
    """

    layer: tuple[str, ...] = ("channel",)
    """Parts whose values make a layer: each combination has its own."""
    slider: tuple[str, ...] = ("t", "z")
    """Parts that are sliders, the outermost first."""
    window: tuple[str, ...] = ()
    """Parts whose values make a window: each combination has its own."""

    def __post_init__(self) -> None:
        where: dict[str, str] = {}
        for option in (field.name for field in fields(self)):
            names = _names(option, getattr(self, option))
            object.__setattr__(self, option, names)
            for name in names:
                if other := where.get(_canonical(name)):
                    also = f"{name!r} is also in {other}={getattr(self, other)!r}"
                    expected = f"each name once; {also}"
                    raise InvalidOptionError(option, names, expected)
                where[_canonical(name)] = option

    @property
    def channels_are_layers(self) -> bool:
        """Whether each channel of an image becomes a layer."""
        return "c" in map(_canonical, self.layer)


@dataclass(frozen=True, slots=True)
class Place:
    """The window, the layer and the slider positions of an image."""

    window: str
    """Title of the window. "" is the main window."""
    layer: str | None
    """Key of the layer. ``None``: the layer that has this path already, or a new one."""
    title: str
    """Name of the layer for people."""
    at: tuple[tuple[str, str], ...]
    """Name of each slider and the coordinate on it, the outermost first."""
    channel: str = ""
    """Channel that the layer shows, if the path says it."""
    group: str = ""
    """Key of the image of this and other channels, for viewers with channels in one image."""
    group_title: str = ""
    """Name of that image for people."""

    def __str__(self) -> str:
        told = [f"layer {self.title!r}", *(f"{name}={value}" for name, value in self.at)]
        return ", ".join([*told, f"window {self.window!r}"] if self.window else told)


def place_of(
    path: Path, *, names: NameTemplate | None, layout: Layout, at: Mapping[str, object] | None
) -> Place:
    """Return the place of one image.

    Raises:
        InvalidOptionError: The path does not fit the template, ``at`` is not a mapping from names
            to str or int, or ``layout`` lists a name that neither of them has.
    """
    given = _coordinates({} if at is None else at)
    plan = _plan_names(names, tuple(given), layout)
    parts = _parts(path)
    return (
        _place_alone(parts) if plan.is_empty else plan.place(parts, plan.values(parts) | given)
    )


def places_of(
    paths: Sequence[Path],
    *,
    names: NameTemplate | None,
    layout: Layout,
    at: Sequence[Mapping[str, object]] | None,
) -> list[Place]:
    """Return the place of each image of a series. ``at`` has one mapping for each.

    Without ``names`` and ``at``, several images become one stack. Its slider is "image", and its
    title is the common start of the names.

    Raises:
        InvalidOptionError: As in ``place_of``. Also if two paths have the same place, or if the
            mappings have different names.
    """
    given = _series(at, len(paths))
    plan = _plan_names(names, tuple(given[0]) if given else (), layout)
    parts = [_parts(path) for path in paths]
    if plan.is_empty:
        places = _place_stack(parts) if len(parts) > 1 else list(map(_place_alone, parts))
    else:
        found = plan.all_values(parts)
        if given:
            found = [values | more for values, more in zip(found, given, strict=True)]
        places = list(map(plan.place, parts, found))
    _check_distinct(parts, places, names)
    return places


_Parts: TypeAlias = tuple[str, ...]
"""The parts of a path. The first one is "/" if the path is absolute."""
_Comparable = TypeVar("_Comparable", str, tuple[str, ...])


@dataclass(frozen=True, slots=True)
class _Plan:
    """Which parts of the names of one call become layers, sliders and windows."""

    names: NameTemplate | None
    layer: tuple[str, ...]
    slider: tuple[str, ...]
    window: tuple[str, ...]

    @property
    def is_empty(self) -> bool:
        """Whether the call has neither a template nor ``at``."""
        return self.names is None and not (self.layer or self.slider or self.window)

    def values(self, parts: _Parts) -> dict[str, str]:
        """Return the value of each field of the template in a path."""
        parsed = self.names.parse(_join(parts)) if self.names else {}
        return {_canonical(name): value for name, value in parsed.items()}

    def all_values(self, paths: Sequence[_Parts]) -> list[dict[str, str]]:
        """Return the values in each path. The error of the first misfit counts the others."""
        found = []
        for index, parts in enumerate(paths):
            try:
                found.append(self.values(parts))
            except InvalidOptionError as error:
                rest = sum(not self._fits(other) for other in paths[index + 1 :])
                also = f"; {rest} more of {len(paths)} names do not fit" if rest else ""
                raise InvalidOptionError(
                    error.option, error.value, error.expected + also
                ) from None
        return found

    def _fits(self, parts: _Parts) -> bool:
        return self.names is None or self.names.matches(_join(parts))

    def place(self, parts: _Parts, values: Mapping[str, str]) -> Place:
        """Return the place of a path with these values."""
        folder = self._folder(parts)
        kept = {name: values[name] for name in (*self.window, *self.layer)}
        has_channel = "c" in self.layer
        shared = [name for name in self.layer if name != "c"]
        return Place(
            _make_title(self.window, values),
            # The key includes the names of the sliders: a layer with others cannot hold this.
            self._key(folder, kept),
            _make_title(self.layer, values) or self._title(folder),
            tuple((name, values[name]) for name in self.slider),
            values["c"] if has_channel else "",
            self._key(folder, kept | {"c": ""}) if has_channel else "",
            (_make_title(shared, values) or self._title(folder)) if has_channel else "",
        )

    def _key(self, folder: _Parts, kept: Mapping[str, str]) -> str:
        return json.dumps([_join(folder), kept, self.slider])

    def _folder(self, parts: _Parts) -> _Parts:
        """Return the folders of a path; those that hold fields as the template has them."""
        scope = self.names.template.split("/")[:-1] if self.names else []
        cut = len(parts) - 1 - len(scope)
        below = zip(scope, parts[cut:-1], strict=True)
        return (*parts[:cut], *(named if "{" in named else part for named, part in below))

    def _title(self, folder: _Parts) -> str:
        constant = self.names.template.rpartition("/")[2] if self.names else ""
        text, brace, _ = constant.partition("{")
        return (
            _last(part for part in folder if "{" not in part)
            or (text.strip("*" + _SEPARATORS) if brace else "")
            or "images"
        )


def _plan_names(names: NameTemplate | None, given: tuple[str, ...], layout: Layout) -> _Plan:
    """Sort the parts of the names into layers, sliders and windows. ``given`` is from ``at``."""
    template = () if names is None else names.fields
    known = [*map(_canonical, template), *given]
    for name in known:
        if names is not None and known.count(name) > 1:
            raise InvalidOptionError(
                "names",
                names.template,
                f"each field once, but {name!r} is there twice, through an alias or in at=",
            )
    chosen = {}
    for option in (field.name for field in fields(layout)):
        wanted = getattr(layout, option)
        for name in wanted:
            if _canonical(name) not in (*known, *_AXES):
                some = dict.fromkeys([*template, *given, "t", "z", "channel"])
                expected = (
                    f"names from {', '.join(map(repr, some))}, but {name!r} is not one of them"
                )
                raise InvalidOptionError(option, wanted, expected)
        chosen[option] = tuple(name for name in map(_canonical, wanted) if name in known)
    placed = {name for group in chosen.values() for name in group}
    rest = tuple(name for name in known if name not in placed)
    return _Plan(names, chosen["layer"], rest + chosen["slider"], chosen["window"])


def _place_alone(parts: _Parts) -> Place:
    stored = find_stored(parts)
    title = _stem_and_suffix(_last(parts))[0] if stored is None else stored.title
    return Place("", None, title or "images", ())


def _place_stack(paths: Sequence[_Parts]) -> list[Place]:
    """Return the places of a series on one slider.

    The key of the layer contains everything that is cut from the coordinates. So in every batch of
    a layer, a coordinate means the same path.
    """
    fields = _place_fields(paths)
    if fields:
        return fields
    folders = [parts[:-1] for parts in paths]
    folder = folders[0][: _common_length(folders)]
    split = [_stem_and_suffix(_last(parts)) for parts in paths]
    suffixes = {suffix for _, suffix in split}
    suffix = suffixes.pop() if len(suffixes) == 1 else ""
    stems = [stem if suffix else stem + own for stem, own in split]
    start = _common_words(stems)
    title = start.strip(_SEPARATORS) or _last(folder) or "images"
    layer = json.dumps([_join(folder), start, suffix])
    places = []
    for parts, stem in zip(paths, stems, strict=True):
        text = "/".join(filter(None, (*parts[len(folder) : -1], stem[len(start) :])))
        places.append(Place("", layer, title, (("image", text or stem),)))
    return places


def _place_fields(paths: Sequence[_Parts]) -> list[Place]:
    """Return the places of the fields of one plate on one slider, or [] for other paths."""
    stored = [find_stored(parts) for parts in paths]
    fields = [one for one in stored if one is not None and one.field]
    if len(fields) < len(paths) or len({(one.store, one.below) for one in fields}) > 1:
        return []
    one = fields[0]
    title = " ".join([one.store_name, *one.below[-1:]])
    layer = json.dumps([_join(one.store), *one.below])
    return [Place("", layer, title, (("image", field.field),)) for field in fields]


def _common_words(names: Sequence[str]) -> str:
    """Return the common start of all names, up to the end of a word."""
    start = names[0][: _common_length(names)]
    if all(name == start for name in names):
        return start
    return start[: 1 + max(start.rfind(separator) for separator in _SEPARATORS)]


def _common_length(sequences: Sequence[_Comparable]) -> int:
    least, most = min(sequences), max(sequences)  # all others share the start of these two
    pairs = enumerate(zip(least, most, strict=False))
    return next((index for index, (a, b) in pairs if a != b), len(least))


def _check_distinct(
    paths: Sequence[_Parts], places: Sequence[Place], names: NameTemplate | None
) -> None:
    first: dict[Place, _Parts] = {}
    for parts, place in zip(paths, places, strict=True):
        other = first.setdefault(place, parts)
        if other != parts and place.layer is not None:
            value = names.template if names is not None else dict(place.at)
            raise InvalidOptionError(
                "names" if names is not None else "at",
                value,
                f"a field that differs between {_join(other)!r} and {_join(parts)!r}, "
                f"because both would be at {place}",
            )


def _series(at: Sequence[Mapping[str, object]] | None, count: int) -> list[dict[str, str]]:
    if at is None:
        return []
    if not isinstance(at, Sequence) or len(at) != count:
        raise InvalidOptionError("at", at, f"a list of {count} mappings, one for each path")
    found = [_coordinates(mapping) for mapping in at]
    for values in found:
        if values.keys() != found[0].keys():
            known = ", ".join(map(repr, found[0])) or "none"
            expected = f"the same names as in the first mapping: {known}"
            raise InvalidOptionError("at", values, expected)
    return found


def _coordinates(at: Mapping[str, object]) -> dict[str, str]:
    if not isinstance(at, Mapping):
        raise InvalidOptionError("at", at, "a mapping such as {'z': 3}")
    found: dict[str, str] = {}
    for name, value in at.items():
        if not isinstance(name, str) or not name.isidentifier():
            raise InvalidOptionError("at", at, f"keys such as 'z', got {name!r}")
        if isinstance(value, bool) or not isinstance(value, str | int | np.integer):
            raise InvalidOptionError("at", at, f"a str or an int for {name!r}")
        if _canonical(name) in found:
            raise InvalidOptionError(
                "at", at, f"each name once, but {name!r} is an alias of another"
            )
        found[_canonical(name)] = encodable(str(value))
    return found


def _names(option: str, given: Iterable[str]) -> tuple[str, ...]:
    if isinstance(given, str):
        raise InvalidOptionError(option, given, f"a tuple of names: ({given!r},)")
    names = tuple(given) if isinstance(given, Iterable) else ()
    if not isinstance(given, Iterable) or not all(isinstance(n, str) and n for n in names):
        raise InvalidOptionError(option, given, "a tuple of names, such as ('z',)")
    return names


def _canonical(name: str) -> str:
    return _ALIASES.get(name, name)


def _make_title(names: Iterable[str], values: Mapping[str, str]) -> str:
    """Return values for people. A bare number gets the name of its field, such as "channel 2"."""
    texts = ((name, values[name]) for name in names)
    return " ".join(
        f"{'channel' if name == 'c' else name} {text}" if text.isdigit() else text
        for name, text in texts
    )


def _stem_and_suffix(name: str) -> tuple[str, str]:
    """Split a name at its last dot. Split "cells.ome.tif" before ".ome.tif"."""
    stem = os.path.splitext(name)[0]
    stem = stem[: -len(".ome")] if stem.lower().endswith(".ome") else stem
    return stem, name[len(stem) :]


def _last(parts: Iterable[str]) -> str:
    return next((part for part in reversed(tuple(parts)) if part not in ("/", "..")), "")


def _parts(path: Path) -> _Parts:
    text = encodable(check_text(path)).replace(os.sep, "/")
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    return ("/", *parts) if text.startswith("/") else parts


def _join(parts: Sequence[str]) -> str:
    return "/".join(parts).replace("//", "/", 1)


def encodable(text: str) -> str:
    """Escape lone surrogates, because a message cannot contain them.

    Python puts them into file names that are not valid UTF-8.
    """
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()
