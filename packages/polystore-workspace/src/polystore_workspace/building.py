"""Make a workspace from the names of files. With ``split``, the headers are read too."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from string import Formatter
from typing import TYPE_CHECKING, Any

from polystore_core import (
    BackendRegistry,
    DataSource,
    LocalStore,
    NameTemplate,
    full_path,
    progress_reporter,
)
from polystore_core.errors import InvalidOptionError, UnsupportedOperationError

from .document import Reference, Workspace
from .plates import planes_of_plate, takes_stores
from .sources import is_free

if TYPE_CHECKING:
    from polystore_core import Backends, Info, Path, Progress

__all__ = ["Plan"]

_NAMED = 10
"""The most files that an error names."""


@dataclass(slots=True)
class Plan:
    """The arguments of ``Workspace.build``, and the steps from them to a workspace."""

    names: str
    paths: str | None
    split: str
    pattern: str | None
    backend: str
    root: Path | None
    registry: Backends | None
    progress: Progress

    def workspace(self, files: Path | Iterable[Path]) -> Workspace:
        """Return the workspace of ``files``. Raises ``InvalidOptionError``, which names files."""
        source = self._source()
        root, found = self._files(files, source)
        template = NameTemplate(self.names)
        pattern = self._pattern(template)
        values = _parse_names(template, found)
        entries: dict[str, Reference] = {}
        names: dict[str, list[str]] = {}
        with progress_reporter(self.progress, len(found), "build") as report:
            for (name, file), fields in zip(found.items(), values, strict=True):
                for axes, reference in self._planes(source, root, file):
                    path = _path(pattern, name, {**fields, **axes})
                    names.setdefault(path, []).append(name)
                    entries[path] = reference  # of two files with one path: an error below
                report()
        for path, several in names.items():
            if len(several) > 1:
                known = ", ".join(f"{{{name}}}" for name in self._field_names(template))
                fault = (
                    f"{_several(dict.fromkeys(several))} would all be {path!r}. Tell them apart "
                    f"with other fields in paths={pattern!r}: {known}"
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

    def _files(
        self, files: Path | Iterable[Path], source: DataSource
    ) -> tuple[str, dict[str, Reference]]:
        """Return the root, or "", and each file by its address, or by its name in a plate."""
        if isinstance(files, str | os.PathLike):
            return self._in_folder(os.fspath(files), source)
        given = [os.fspath(path) for path in files]
        folders = [os.path.dirname(os.path.abspath(path)) for path in given]
        root = self._root(source, os.path.commonpath(folders) if folders else "")
        return root, self._references(given, root)

    def _in_folder(self, folder: str, source: DataSource) -> tuple[str, dict[str, Reference]]:
        root = self._root(source, os.path.abspath(folder))
        # A plate of the published package is a folder without the name of a Zarr store.
        if root and takes_stores(source):
            # ``relpath`` calls the root itself ".", and keys have no such name.
            inside = _relative(folder, root)
            inside = "" if inside == "." else inside
            if planes := planes_of_plate(LocalStore(root), inside):
                return root, self._of_plate(planes)
        given = source.list_files(folder, pattern=self.pattern, recursive=True)
        like = f" with names like {self.pattern!r}" if self.pattern else ""
        # Next to images, instruments leave notes and thumbnails of other kinds.
        if given and (suffix := _suffix(self.names)):
            given = [path for path in given if path.lower().endswith(suffix)]
            like += f" that end in {suffix!r}"
        return root, self._references(given, root, f" in {folder!r}{like}")

    def _root(self, source: DataSource, usual: str) -> str:
        if not is_free(source):
            return ""
        return usual if self.root is None else full_path(self.root)

    def _references(self, given: list[str], root: str, where: str = "") -> dict[str, Reference]:
        if not given:
            raise InvalidOptionError("files", given, "", f"there are no files{where}")
        addresses = [_relative(path, root) if root else path for path in given]
        # The backend would refuse these addresses later, one by one.
        outside = [p for p, a in zip(given, addresses, strict=True) if root and a[:3] == "../"]
        if outside:
            fault = f"{_several(outside)} outside of root {root!r}: choose a folder above"
            raise InvalidOptionError("root", root, "", fault)
        return {address: Reference(self.backend, address) for address in addresses}

    def _of_plate(self, planes: dict[str, Reference]) -> dict[str, Reference]:
        if self.split:
            fault = "split= is not for a plate that has names of planes: leave it out"
            raise InvalidOptionError("split", self.split, "''", fault)
        return {
            name: plane._replace(backend=self.backend)
            for name, plane in planes.items()
            if self.pattern is None or fnmatchcase(name, self.pattern)
        }

    # ── virtual paths ────────────────────────────────────────────────────────────────────

    def _field_names(self, template: NameTemplate) -> list[str]:
        return list(dict.fromkeys([*template.fields, *self.split, "file", "stem"]))

    def _pattern(self, template: NameTemplate) -> str:
        """Return the template of the virtual paths. Raises ``InvalidOptionError``."""
        if len(set(self.split)) < len(self.split):
            raise InvalidOptionError("split", self.split, "each axis once")
        if both := set(self.split) & set(template.fields):
            fault = f"{{{min(both)}}} is a field of names= and an axis of split=: rename one"
            raise InvalidOptionError("split", self.split, "", fault)
        if self.paths is None:
            folder = "{well}/" if "well" in template.fields else ""
            axes = "".join(f"_{axis}{{{axis}}}" for axis in self.split)
            return folder + (f"{{stem}}{axes}{{suffix}}" if axes else "{file}")
        known = self._field_names(template)
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
        self, source: DataSource, root: str, file: Reference
    ) -> Iterator[tuple[dict[str, int], Reference]]:
        """Yield the axes of ``split``, and the source of each plane."""
        if not self.split:
            yield {}, file
            return
        path = os.path.join(root, file.address)
        info = source.info(path)
        names, shape = self._axes(info, path), info.shape or ()
        places = [names.index(axis) for axis in self.split]
        for chosen in itertools.product(*(range(shape[place]) for place in places)):
            # Axes after the last one of ``split`` are whole without an index.
            indices: list[int | None] = [None] * (max(places) + 1)
            for place, index in zip(places, chosen, strict=True):
                indices[place] = index
            axes = dict(zip(self.split, chosen, strict=True))
            yield axes, file._replace(indices=tuple(indices))

    def _axes(self, info: Info, path: str) -> tuple[str, ...]:
        names = () if info.image is None else info.image.names
        for axis in self.split:
            if axis not in names:
                has = f"axes {''.join(names)!r}" if names else "no axes that are known"
                fault = f"split={self.split!r}: {path!r} has {has}, without {axis!r}"
                raise InvalidOptionError("split", self.split, "", fault)
        return names


def _suffix(names: str) -> str:
    """Return the suffix of all names of a template in lower case, or ""."""
    fixed = names.rpartition("}")[2].rpartition("*")[2]
    return fixed[fixed.index(".") :].lower() if "." in fixed else ""


def _relative(path: str, root: str) -> str:
    return os.path.relpath(os.path.abspath(path), root).replace(os.sep, "/")


def _parse_names(template: NameTemplate, addresses: Iterable[str]) -> list[dict[str, str]]:
    """Return the fields of each name.

    Raises:
        InvalidOptionError: Some names do not fit the template. It names the first ones.
    """
    # All names are tried, so that one error can name several files.
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
            f"names={template.template!r} ({misfits[0]!r}: {why}). Leave them out "
            "with pattern=, or change names="
        )
        raise InvalidOptionError("names", template.template, "", fault)
    return found


def _path(pattern: str, address: str, values: Mapping[str, Any]) -> str:
    file = address.rpartition("/")[2]
    stem, dot, suffix = file.partition(".")
    # A field of ``names=`` with one of these names replaces it.
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
