"""Stores that polystore and other tools exchange. They open ours, and we open theirs.

None of the readers and writers here shares code with polystore.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest

from polystore_core import FileManager

from .samples import (
    ROWS_COLUMNS,
    SAMPLES,
    VERSIONS,
    LabelledImage,
    PlateOfOurs,
    Require,
    Sample,
    StoredImage,
)

if TYPE_CHECKING:
    from types import ModuleType


@pytest.fixture(scope="session")
def require() -> Require:
    """Import a module, or skip the test because it is not installed."""

    def import_module(name: str) -> ModuleType:
        # The warnings of a foreign package during its import are meant for its authors. For
        # example, ome_zarr.writer makes an object of a class that it deprecates.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
        return module

    return import_module


@pytest.fixture(scope="session")
def fm() -> FileManager:
    return FileManager()


@pytest.fixture(scope="session", params=VERSIONS)
def version(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="session")
def stored_images(
    version: str, fm: FileManager, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, StoredImage]:
    folder = tmp_path_factory.mktemp("images")
    found = {}
    for name, sample in SAMPLES.items():
        options = sample.options(version)
        if version == "0.4":
            options.pop("shards", None)
        path, pixels = f"{folder}/{name}.ome.zarr", sample.pixels()
        fm.save(pixels, path, backend="zarr", **options)
        found[name] = StoredImage(path, version, sample, pixels)
    return found


@pytest.fixture(params=SAMPLES)
def image(request: pytest.FixtureRequest, stored_images: dict[str, StoredImage]) -> StoredImage:
    return stored_images[request.param]


@pytest.fixture(scope="session")
def labelled_image(
    version: str, fm: FileManager, tmp_path_factory: pytest.TempPathFactory
) -> LabelledImage:
    path = str(tmp_path_factory.mktemp("labelled") / "cells.ome.zarr")
    sample = SAMPLES["volume"]
    pixels = sample.pixels()
    fm.save(pixels, path, backend="zarr", **sample.options(version))
    labels = {}
    for name, dtype in (("nuclei", "uint32"), ("cells", "int16")):
        labels[name] = sample.pixels(len(name))[0].astype(dtype)
        fm.save(
            labels[name],
            f"{path}/labels/{name}",
            backend="zarr",
            ome=version,
            axes="zyx",
            scale=(3.0, 0.65, 0.65),
            units="um",
            levels=3,
        )
    return LabelledImage(path, pixels, labels)


@pytest.fixture(scope="session")
def plate(
    version: str, fm: FileManager, tmp_path_factory: pytest.TempPathFactory
) -> PlateOfOurs:
    path = str(tmp_path_factory.mktemp("plate") / "plate.ome.zarr")
    sample = Sample("cyx", (2, 40, 30), scale=(1, 0.5, 0.5), units="um", channels=("a", "b"))
    fields = {}
    for number, (row, column) in enumerate(ROWS_COLUMNS):
        for name in ("0", "1", "10")[: number % 3 + 1]:
            field = f"{row}/{column}/{name}"
            fields[field] = sample.pixels(10 * number + int(name))
            fm.save(fields[field], f"{path}/{field}", backend="zarr", **sample.options(version))
    nuclei = fields["B/2/0"][0].astype("uint16")
    fm.save(
        nuclei, f"{path}/B/2/0/labels/nuclei", backend="zarr", ome=version, axes="yx", levels=3
    )
    fields["B/2/0/labels/nuclei"] = nuclei
    return PlateOfOurs(path, version, fields)
