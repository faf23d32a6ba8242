"""The pipeline of ``polystore demo``: images of a plate become labels, a table and a picture."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from polystore_core import Image, survey
from polystore_core.errors import BatchError, InvalidOptionError, NotFoundError

from .synthetic import draw_overview, draw_plate, find_nuclei, measure_nuclei

if TYPE_CHECKING:
    from polystore_core import FileManager

__all__ = ["Report", "Step", "run_demo"]

_PIXEL_SIZE = 0.65  # µm
_WORDS: dict[str, Any] = {
    "axes": "cyx",
    "scale": (1, _PIXEL_SIZE, _PIXEL_SIZE),
    "units": "um",
    "channels": ["DNA", "actin"],
}
_COLUMNS = [
    ("well", "U3"),
    ("field", "i8"),
    ("nucleus", "i8"),
    *((name, "f8") for name in ("y_um", "x_um", "area_um2", "dna_mean", "actin_mean")),
]
_VIEWERS = ("napari_stream", "fiji_stream")
_MARK = "demo.json"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that the demo did."""

    what: str
    where: str
    """An address such as ``disk:polystore-demo/images``, or ``"NumPy"``."""
    seconds: float


@dataclass(slots=True)
class Report:
    """The steps of a demo, its results, and the code that repeats it."""

    folder: str
    steps: list[Step] = field(default_factory=list)
    nuclei: dict[str, int] = field(default_factory=dict)
    """How many there are in each well."""
    picture: str = ""
    """The path of the overview."""
    viewer: str | None = None
    """The backend of the viewer that shows the images."""
    notes: list[str] = field(default_factory=list)
    """Parts that were left out, each with the command that installs its library."""
    code: str = ""
    """Lines of Python that do the same with the images in the folder."""


def run_demo(
    files: FileManager,
    folder: str = "polystore-demo",
    *,
    viewer: str | None = None,
    show: bool = True,
    tell: Callable[[Step], None] = lambda _step: None,
) -> Report:
    """Draw images, find the nuclei in them, and save labels, a table and a picture.

    Args:
        files: has the backends. The demo uses those that are installed.
        folder: a path on disk. It must be new, empty, or the folder of an earlier demo.
        viewer: "napari", "fiji" or the backend of another viewer. ``None`` takes the first one
            that works here.
        show: if ``False``, no viewer is opened.
        tell: called after each step.

    Raises:
        InvalidOptionError: ``folder`` has files that no demo wrote.
        StorageError: ``folder`` cannot be written.
    """
    return _Demo(files, folder, tell).run(viewer, show=show)


class _Demo:
    def __init__(self, files: FileManager, folder: str, tell: Callable[[Step], None]) -> None:
        self.files = files
        self.folder = folder.rstrip("/") or folder
        self.tell = tell
        self.usable = {state.name for state in survey() if state.state == "ok"}
        self.report = Report(self.folder)
        # .npy has no place for axes and pixel sizes.
        self.suffix = ".ome.tif" if "ome.tif" in self.usable else ".npy"

    def run(self, viewer: str | None, *, show: bool) -> Report:
        files, suffix, report = self.files, self.suffix, self.report
        self._claim_folder()
        if suffix == ".npy":
            report.notes.append("no TIFF images: pip install 'polystore[tiff]'")
        with self._step(f"draw the images of a plate, save them as {suffix}", "images"):
            drawn = list(draw_plate())
            names = [f"{well}_f{number}" for well, number, _ in drawn]
            paths = self._paths("images", names)
            self._save([Image.of(pixels, **_WORDS) for _, _, pixels in drawn], paths)
        with self._step("load them as one batch", "images"):
            images = self._load(paths)
        with self._step("find the nuclei"):
            labels = [_label(image) for image in images]
        with self._step("save the label images", "labels"):
            results = self._paths("labels", names)
            self._save(labels, results)
        if "zarr" in self.usable:
            with self._step("save both as an OME-Zarr plate", "plate.ome.zarr", "zarr"):
                self._save_plate(names, images, labels)
        else:
            report.notes.append("no OME-Zarr plate: pip install 'polystore[zarr]'")
        with self._step("save a table, one row for each nucleus", "nuclei.csv"):
            table = _measure(drawn, images, labels)
            files.save(table, f"{self.folder}/nuclei.csv", backend="disk")
        picture = "overview.png" if "png" in self.usable else "overview.npy"
        with self._step("draw an overview", picture):
            overview = draw_overview(
                [image.data for image in images], [label.data for label in labels]
            )
            report.picture = f"{self.folder}/{picture}"
            files.save(overview, report.picture, backend="disk")
        if picture == "overview.npy":
            report.notes.append("no PNG of the overview: pip install 'polystore[image]'")
        if show:
            self._show(viewer, names, images, labels)
        report.nuclei = dict(Counter(str(well) for well in table["well"]))
        report.code = self._code()
        # Last, and over the mark of `_claim_folder`: only a finished demo has results in it.
        files.save(asdict(report), f"{self.folder}/{_MARK}", backend="disk")
        return report

    def _claim_folder(self) -> None:
        """Refuse a folder with files of the user, which the demo could replace."""
        try:
            found = self.files.list_dir(self.folder, backend="disk")
        except NotFoundError:
            found = []
        if found and _MARK not in found:
            fault = (
                f"the folder {self.folder!r} has files that no demo wrote, such as {found[0]!r}: "
                "choose another one with --folder"
            )
            raise InvalidOptionError("folder", self.folder, "a new folder", fault)
        # First of all: the folder of a demo that was interrupted can be used again.
        document = {"made by": "polystore demo"}
        self.files.save(document, f"{self.folder}/{_MARK}", backend="disk")

    @contextmanager
    def _step(self, what: str, name: str = "", backend: str = "disk") -> Iterator[None]:
        start = time.perf_counter()
        yield
        # Not in a `finally`: a step that fails is not reported, and its error ends the demo.
        where = f"{backend}:{self.folder}/{name}" if name else "NumPy"
        step = Step(what, where, round(time.perf_counter() - start, 3))
        self.report.steps.append(step)
        self.tell(step)

    def _paths(self, name: str, names: Sequence[str]) -> list[str]:
        return [f"{self.folder}/{name}/{one}{self.suffix}" for one in names]

    def _save(self, images: list[Image], paths: list[str]) -> None:
        is_tiff = self.suffix == ".ome.tif"
        values = images if is_tiff else [image.data for image in images]
        self.files.save_batch(values, paths, backend="disk")

    def _load(self, paths: list[str]) -> list[Image]:
        if self.suffix == ".npy":
            arrays = self.files.load_batch(paths, backend="disk")
            return [Image.of(array, **_WORDS) for array in arrays]
        images: list[Image] = self.files.load_batch(paths, backend="disk", as_="image")
        return images

    def _save_plate(self, names: list[str], images: list[Image], labels: list[Image]) -> None:
        plate = f"{self.folder}/plate.ome.zarr"
        fields = [f"{plate}/{name[0]}/{name[1:3]}/{name[-1]}" for name in names]
        self.files.save_batch(images, fields, backend="zarr")
        nuclei = [f"{path}/labels/nuclei" for path in fields]
        self.files.save_batch(labels, nuclei, backend="zarr")

    def _show(
        self, viewer: str | None, names: list[str], images: list[Image], labels: list[Image]
    ) -> None:
        """Show the plate in the viewer that was asked for, or in the first one that works."""
        if viewer is not None:
            stream = f"{viewer}_stream"
            is_short = stream in _VIEWERS or stream in self.files.registry
            self._send(stream if is_short else viewer, names, images, labels)
            return
        installed = [backend for backend in _VIEWERS if backend in self.usable]
        if not installed:
            self.report.notes.append("no viewer: pip install 'polystore[napari]'")
        for backend in installed:
            try:
                self._send(backend, names, images, labels)
            except BatchError as error:  # such as no screen: the pictures are on disk
                _, cause = error.failed[error.failed_index]
                self.report.notes.append(f"no viewer: {cause}")
            else:
                return

    def _send(
        self, backend: str, names: list[str], images: list[Image], labels: list[Image]
    ) -> None:
        with self._step("show images and nuclei", "images", backend):
            for folder, values in (("images", images), ("nuclei", labels)):
                paths = [f"{self.folder}/{folder}/{name}" for name in names]
                self.files.save_batch(values, paths, backend=backend, names="{well}_f{field}")
        self.report.viewer = backend

    def _code(self) -> str:
        """Return the lines that repeat the demo with the images in the folder."""
        keyword, plane = "", "image[0]"
        if self.suffix == ".ome.tif":
            keyword, plane = ', as_="image"', "image.data[0]"
        lines = [
            "from polystore import FileManager",
            "from polystore_cli.synthetic import find_nuclei  # or a function of yours",
            "",
            # The quotes and escapes of JSON are those of Python too, so backslashes of
            # Windows stay.
            f"folder = {json.dumps(self.folder)}",
            "fm = FileManager()",
            f'paths = fm.list_files(folder + "/images", backend="disk", pattern="*{self.suffix}")',
            f'images = fm.load_batch(paths, backend="disk"{keyword})',
            f"labels = [find_nuclei({plane}) for image in images]",
            'names = [f"{folder}/again/{i}' + self.suffix + '" for i in range(len(labels))]',
            'fm.save_batch(labels, names, backend="disk")',
        ]
        if "zarr" in self.usable:
            lines += [
                'names = [f"{folder}/again.zarr/{i}" for i in range(len(labels))]',
                'fm.save_batch(labels, names, backend="zarr")',
            ]
        if self.report.viewer is not None:
            lines.append(f'fm.save_batch(images, paths, backend="{self.report.viewer}")')
        return "\n".join(lines)


def _label(image: Image) -> Image:
    dna = image.sel(c=0)
    return Image.of(dna.with_data(find_nuclei(dna.data)), label=True, name="nuclei")


def _measure(
    drawn: Sequence[tuple[str, int, Any]], images: Sequence[Image], labels: Sequence[Image]
) -> Any:
    rows = [
        (well, number, *row)
        for (well, number, _), image, label in zip(drawn, images, labels, strict=True)
        for row in measure_nuclei(image.data, label.data, _PIXEL_SIZE)
    ]
    return np.array(rows, _COLUMNS)
