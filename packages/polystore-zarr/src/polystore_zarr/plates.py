"""Save a folder of image files with names of an instrument as one OME-Zarr plate."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from polystore_core import (
    NameTemplate,
    Progress,
    join,
    natural_order,
    progress_reporter,
    split_well,
)
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

from .members import gathering_members
from .ome import check_well

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from polystore_core import FileManager, Option, Pixels

__all__ = ["save_plate"]

_AXES = {"t": "t", "time": "t", "channel": "c", "w": "c", "z": "z"}
_PLACES = ("well", "row", "column", "field", "site")


def save_plate(
    manager: FileManager,
    folder: str,
    plate: str,
    *,
    names: str | NameTemplate,
    source_backend: str,
    backend: str,
    exclude: str | None = None,
    channels: Mapping[str, str | Mapping[str, Option]] | None = None,
    progress: Progress = False,
    **options: Option,
) -> list[str]:
    """Save the images of ``folder`` as one plate, and return the paths of its fields.

    Args:
        manager: loads the files and saves the plate.
        folder: the folder of the files.
        plate: path of the plate, such as "plate.ome.zarr".
        names: template of the file names, such as ``"*_{well}f{field}d{channel}.TIF"``. It needs
            ``{well}``, or ``{row}`` and ``{column}``. ``{field}`` or ``{site}`` is the field of a
            well. ``{t}`` or ``{time}``, ``{channel}`` or ``{w}``, and ``{z}`` become axes.
        source_backend: name of the backend of the files.
        backend: name of the backend of the plate.
        exclude: shell pattern of file names to leave out, such as ``"*_thumb*"``.
        channels: for the name of a channel in file names, a label, or a mapping with label, color
            and window.
        progress: report each field.
        options: options of ``save``.

    Raises:
        InvalidOptionError: The folder has no images, a name does not fit, or a field lacks files.
            Nothing has been written.
        NotFoundError: The folder does not exist.
        UnsupportedDataError: The images of a field have different shapes.
    """
    template = names if isinstance(names, NameTemplate) else NameTemplate(names)
    _check_fields(template)
    files = manager.list_image_files(
        folder, backend=source_backend, recursive="/" in template.template
    )
    if exclude is not None:
        files = [file for file in files if not fnmatchcase(file.rpartition("/")[2], exclude)]
    if not files:
        raise InvalidOptionError(
            "folder",
            folder,
            "a folder with image files. To include subfolders, use a '/' in names=",
        )
    fields = _fields(template, files)
    paths = natural_order(fields)
    with (
        # Otherwise each field would write the document of the plate, which lists all wells.
        gathering_members(backend),
        progress_reporter(progress, len(paths), "save plate", unit="field") as report,
    ):
        for path in paths:
            found = fields[path]
            labels = [(channels or {}).get(name, name) for name in found.names("c")]
            pixels = found.stack(manager.load_batch(found.files, backend=source_backend))
            given = {"channels": labels, **options} if "c" in found.axes else options
            axes = "".join([*found.axes, "y", "x"])
            manager.save(
                pixels, join(plate, path), backend=backend, ome=True, axes=axes, **given
            )
            report()
    return [join(plate, path) for path in paths]


@dataclass(frozen=True, slots=True)
class _Field:
    """The files of one field of view, over its axes."""

    path: str
    axes: tuple[str, ...]
    places: dict[tuple[str, ...], str]
    """File of each position: the names along each axis."""

    def names(self, axis: str) -> list[str]:
        """Return the names along one axis, in natural order."""
        if axis not in self.axes:
            return []
        at = self.axes.index(axis)
        return natural_order({place[at] for place in self.places})

    @property
    def files(self) -> list[str]:
        """The files in the order of the axes."""
        grid = product(*map(self.names, self.axes))
        return [self.places[place] for place in grid]

    def check_complete(self) -> None:
        """Raise ``InvalidOptionError`` if a file is missing."""
        for place in product(*map(self.names, self.axes)):
            if place not in self.places:
                what = ", ".join(
                    f"{axis}={name}" for axis, name in zip(self.axes, place, strict=True)
                )
                fault = f"field {self.path!r} lacks the file for {what}"
                raise InvalidOptionError("folder", self.path, f"a file for {what}", fault)

    def stack(self, planes: Sequence[Pixels]) -> Pixels:
        """Return the planes as one array, with the axes of the field before y and x."""
        shapes = {(plane.shape, plane.dtype.str) for plane in planes}
        if len(shapes) != 1 or planes[0].ndim != 2:
            raise UnsupportedDataError(
                f"the files of field {self.path!r} hold {sorted(shapes)!s:.200}, expected one grey "
                "plane each, all with the same shape and type"
            )
        lengths = [len(self.names(axis)) for axis in self.axes]
        return np.stack(planes).reshape(*lengths, *planes[0].shape)


def _check_fields(template: NameTemplate) -> None:
    has_well = "well" in template.fields or {"row", "column"} <= set(template.fields)
    unknown = [name for name in template.fields if name not in _PLACES and name not in _AXES]
    axes = [_AXES[name] for name in template.fields if name in _AXES]
    if unknown or not has_well or len(axes) != len(set(axes)):
        raise InvalidOptionError(
            "names",
            template.template,
            "a template with {well} or {row}{column}, and any of {field} or {site}, {channel} or "
            "{w}, {z}, and {t} or {time}. Use * for other text",
        )


def _fields(template: NameTemplate, files: Iterable[str]) -> dict[str, _Field]:
    # OME-NGFF has its own order of axes. The names of files may have another one.
    axes = sorted((_AXES[name] for name in template.fields if name in _AXES), key="tcz".index)
    fields: dict[str, _Field] = {}
    for file in files:
        values = template.parse(file)
        path = _path(values)
        place = {_AXES[name]: value for name, value in values.items() if name in _AXES}
        field = fields.setdefault(path, _Field(path, tuple(axes), {}))
        key = tuple(place[axis] for axis in axes)
        if key in field.places:
            raise InvalidOptionError(
                "names",
                template.template,
                f"fields that tell {field.places[key]!r} from {file!r}, or exclude= for one",
            )
        field.places[key] = file
    # All fields are checked before the first is saved, so that no plate is left half written.
    for field in fields.values():
        field.check_complete()
    return fields


def _path(values: Mapping[str, str]) -> str:
    """Return the path ROW/COLUMN/FIELD for the fields of a name."""
    row, column = (
        split_well(values["well"]) if "well" in values else (values["row"], values["column"])
    )
    field = values.get("field", values.get("site", "0"))
    # "01" and "1" are the same field. Names of columns keep their zeros, as on the plate.
    parts = row.upper(), column, str(int(field)) if field.isdigit() else field
    check_well(*parts)
    return "/".join(parts)
