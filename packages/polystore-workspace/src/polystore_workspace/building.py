"""From the names of files to a workspace. Reads names, and with ``split`` headers."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from string import Formatter
from typing import TYPE_CHECKING, Any

from polystore_core import (
    BackendRegistry,
    DataSource,
    NameTemplate,
    full_path,
    is_litter,
    progress_reporter,
)
from polystore_core.errors import InvalidOptionError, UnsupportedOperationError

from .document import Reference, Workspace
from .sources import is_free

if TYPE_CHECKING:
    from polystore_core import Backends, Info, Path, Progress

__all__ = ["Plan"]

_NAMED = 10
"""How many files an error names."""


@dataclass(slots=True)
class Plan:
    """The arguments of ``Workspace.build``."""

    names: str
    paths: str | None
    split: str
    pattern: str | None
    backend: str
    root: Path | None
    registry: Backends | None
    progress: Progress

    def workspace(self, files: Path | Iterable[Path]) -> Workspace:
        source = self._source()
        root, addresses = self._addresses(files, source)
        template = NameTemplate(self.names)
        pattern = self._pattern(template)
        fields = dict(zip(addresses, _parsed(template, addresses), strict=True))
        entries: dict[str, Reference] = {}
        twice: dict[str, list[str]] = {}
        with progress_reporter(self.progress, len(addresses), "build") as report:
            for address, values in fields.items():
                for axes, indices in self._planes(source, root, address):
                    path = _path(pattern, address, {**values, **axes})
                    if path in entries:
                        twice.setdefault(path, [entries[path].address]).append(address)
                    entries[path] = Reference(self.backend, address, indices)
                report()
        if twice:
            path, both = next(iter(twice.items()))
            known = ", ".join(f"{{{name}}}" for name in self._known(template))
            fault = (
                f"{_several(dict.fromkeys(both))} would all be {path!r}. Tell them apart with "
                f"other fields in paths={pattern!r}: {known}"
            )
            raise InvalidOptionError("paths", self.paths, "", fault)
        return Workspace(entries, root or ".")

    def _source(self) -> DataSource:
        registry = BackendRegistry() if self.registry is None else self.registry
        source = registry[self.backend]
        if not isinstance(source, DataSource):
            raise UnsupportedOperationError(self.backend, "load", "it only writes")
        if self.root is not None and not is_free(source):
            fault = f"root= is only for folders of this machine, not for {self.backend!r}"
            raise InvalidOptionError("root", self.root, "None", fault)
        return source

    # ── files ────────────────────────────────────────────────────────────────────────────

    def _addresses(
        self, files: Path | Iterable[Path], source: DataSource
    ) -> tuple[str, list[str]]:
        """Return the root ("" for none), and the address of each file."""
        folder = os.fspath(files) if isinstance(files, str | os.PathLike) else None
        if folder is not None:
            given = source.list_files(folder, pattern=self.pattern, recursive=True)
            given = [path for path in given if not is_litter(path.rpartition("/")[2])]
        else:
            given = [os.fspath(path) for path in files]  # type: ignore[union-attr]
        if not given:
            where = f" in {folder!r}" if folder is not None else ""
            raise InvalidOptionError("files", folder or [], "", f"there are no files{where}")
        if not is_free(source):
            return "", given
        paths = list(map(os.path.abspath, given))
        if self.root is not None:
            root = full_path(self.root)
        elif folder is not None:
            root = os.path.abspath(folder)
        else:
            root = os.path.commonpath(list(map(os.path.dirname, paths)))
        addresses = [os.path.relpath(path, root).replace(os.sep, "/") for path in paths]
        outside = [p for p, a in zip(given, addresses, strict=True) if a.startswith("../")]
        if outside:
            fault = f"{_several(outside)} outside of root {root!r}: choose a folder above"
            raise InvalidOptionError("root", root, "", fault)
        return root, addresses

    # ── virtual paths ────────────────────────────────────────────────────────────────────

    def _known(self, template: NameTemplate) -> list[str]:
        return list(dict.fromkeys([*template.fields, *self.split, "file", "stem"]))

    def _pattern(self, template: NameTemplate) -> str:
        """Return the template of virtual paths. Raises ``InvalidOptionError``."""
        if len(set(self.split)) < len(self.split):
            raise InvalidOptionError("split", self.split, "each axis once")
        if both := set(self.split) & set(template.fields):
            fault = f"{{{min(both)}}} is a field of names= and an axis of split=: rename one"
            raise InvalidOptionError("split", self.split, "", fault)
        if self.paths is None:
            folder = "{well}/" if "well" in template.fields else ""
            axes = "".join(f"_{axis}{{{axis}}}" for axis in self.split)
            return folder + (f"{{stem}}{axes}{{suffix}}" if axes else "{file}")
        known = self._known(template)
        try:
            fields = [name for _, name, _, _ in Formatter().parse(self.paths)]
        except ValueError as error:
            raise InvalidOptionError("paths", self.paths, f"a template: {error}") from error
        for name in fields:
            if name is not None and name not in known:
                fields_known = ", ".join(f"{{{field}}}" for field in known)
                fault = f"paths={self.paths!r} has {{{name}}}, but known are {fields_known}"
                raise InvalidOptionError("paths", self.paths, "", fault)
        return self.paths

    def _planes(
        self, source: DataSource, root: str, address: str
    ) -> Iterator[tuple[dict[str, int], tuple[int | None, ...]]]:
        """Yield the axes of ``split`` and the indices of each plane."""
        if not self.split:
            yield {}, ()
            return
        path = os.path.join(root, address)
        info = source.info(path)
        names, shape = self._axes(info, path), info.shape or ()
        places = [names.index(axis) for axis in self.split]
        for chosen in itertools.product(*(range(shape[place]) for place in places)):
            indices: list[int | None] = [None] * (max(places) + 1)
            for place, index in zip(places, chosen, strict=True):
                indices[place] = index
            yield dict(zip(self.split, chosen, strict=True)), tuple(indices)

    def _axes(self, info: Info, path: str) -> tuple[str, ...]:
        names = () if info.image is None else info.image.names
        for axis in self.split:
            if axis not in names:
                has = f"axes {''.join(names)!r}" if names else "no axes that are known"
                fault = f"split={self.split!r}: {path!r} has {has}, without {axis!r}"
                raise InvalidOptionError("split", self.split, "", fault)
        return names


def _parsed(template: NameTemplate, addresses: Iterable[str]) -> list[dict[str, str]]:
    """Return the fields of each name. Raises ``InvalidOptionError`` that names all misfits."""
    found, misfits, why = [], [], ""
    for address in addresses:
        try:
            found.append(template.parse(address))
        except InvalidOptionError as error:
            misfits.append(address)
            why = why or error.expected.partition("; ")[2]
    if misfits:
        fault = (
            f"{_several(misfits)} {'does' if len(misfits) == 1 else 'do'} not fit "
            f"names={template.template!r} ({misfits[0]!r}: {why}). Leave them out, or change names="
        )
        raise InvalidOptionError("names", template.template, "", fault)
    return found


def _path(pattern: str, address: str, values: Mapping[str, Any]) -> str:
    file = address.rpartition("/")[2]
    stem, dot, suffix = file.partition(".")
    known = {"file": file, "stem": stem, "suffix": dot + suffix, **values}
    try:
        return pattern.format_map(known)
    except (ValueError, TypeError) as error:
        fault = f"paths={pattern!r} does not fit {address!r}: {error}"
        raise InvalidOptionError("paths", pattern, "", fault) from error


def _several(files: Iterable[str]) -> str:
    files = list(files)
    first = ", ".join(map(repr, files[:_NAMED]))
    more = len(files) - _NAMED
    return f"{first} and {more:,} more" if more > 0 else first
