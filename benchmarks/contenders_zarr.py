"""The libraries that write Zarr, each used as its users would, behind the same few calls."""

from __future__ import annotations

import json
import logging
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = [
    "ZARR_CONTENDERS",
    "ArrayLayout",
    "HandWritten",
    "IncumbentZarr",
    "PolystoreZarr",
    "Store",
]

Image = NDArray[Any]


@dataclass(frozen=True)
class ArrayLayout:
    """How polystore stores an array by default, for others to do the same."""

    shape: tuple[int, ...]
    chunks: tuple[int, ...]
    shards: tuple[int, ...] | None
    codecs: tuple[dict[str, Any], ...]
    """All codecs of the array, as they are in its ``zarr.json``."""

    @classmethod
    def of(cls, node: str | Path) -> ArrayLayout:
        """Read it from the document of the array in the directory ``node``."""
        document = json.loads(Path(node, "zarr.json").read_text())
        codecs = document["codecs"]
        grid = tuple(document["chunk_grid"]["configuration"]["chunk_shape"])
        sharded = codecs[0]["name"] == "sharding_indexed"
        chunks = tuple(codecs[0]["configuration"]["chunk_shape"]) if sharded else grid
        return cls(tuple(document["shape"]), chunks, grid if sharded else None, tuple(codecs))

    @property
    def unit(self) -> tuple[int, ...]:
        """The box that is written at once."""
        return self.shards or self.chunks

    @property
    def compressors(self) -> list[dict[str, Any]]:
        """The codecs after the one that turns numbers into bytes, which must be the first."""
        inner = self.codecs[0]["configuration"]["codecs"] if self.shards else self.codecs
        if inner[0]["name"] != "bytes":
            raise NotImplementedError(f"the other contenders have no {inner[0]}")
        return list(inner[1:])

    def boxes(self) -> Iterator[tuple[slice, ...]]:
        """Yield the boxes of the whole array, one unit each."""
        steps = [
            [slice(start, min(start + part, extent)) for start in range(0, extent, part)]
            for part, extent in zip(self.unit, self.shape, strict=True)
        ]
        return product(*steps)


class Store(ABC):
    """One library. Nothing of it is imported before the first call that needs it.

    ``folder`` is where the library makes its store; it chooses the name of the store.
    """

    @abstractmethod
    def save(self, image: Image, folder: Path, name: str, layout: ArrayLayout) -> None: ...

    @abstractmethod
    def load(self, folder: Path, name: str, layout: ArrayLayout) -> Image: ...

    @abstractmethod
    def save_batch(
        self, images: Sequence[Image], folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> None: ...

    @abstractmethod
    def load_batch(
        self, folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> list[Image]: ...

    @abstractmethod
    def list_arrays(self, folder: Path) -> list[str]: ...

    @abstractmethod
    def node(self, folder: Path, name: str) -> Path:
        """Return the directory of an array that ``save`` wrote."""

    def save_pyramid(
        self, image: Image, folder: Path, layouts: Sequence[ArrayLayout]
    ) -> list[Path]:
        """Write all levels and return their directories."""
        raise NotImplementedError

    def plane(self, folder: Path, name: str, index: int, layout: ArrayLayout) -> Image:
        """Read one plane of an array of three axes."""
        raise NotImplementedError


class HandWritten(Store):
    """zarr-python with its best settings: the codec, chunks and shards of polystore."""

    @cached_property
    def zarr(self) -> Any:
        return import_module("zarr")

    def options(self, layout: ArrayLayout) -> dict[str, Any]:
        return {
            "chunks": layout.chunks,
            "shards": layout.shards,
            "compressors": layout.compressors,
            "config": {"write_empty_chunks": True},
        }

    def node(self, folder: Path, name: str) -> Path:
        return folder / "run.zarr" / name

    def save(self, image: Image, folder: Path, name: str, layout: ArrayLayout) -> None:
        self.save_batch([image], folder, [name], layout)

    def load(self, folder: Path, name: str, layout: ArrayLayout) -> Image:
        node = str(self.node(folder, name))
        image: Image = self.zarr.open_array(node, mode="r", zarr_format=3)[...]
        return image

    def save_batch(
        self, images: Sequence[Image], folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> None:
        group = self.zarr.open_group(str(folder / "run.zarr"), mode="a", zarr_format=3)
        for image, name in zip(images, names, strict=True):
            group.create_array(name, data=image, **self.options(layout))

    def load_batch(
        self, folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> list[Image]:
        group = self._group(folder)
        return [group[name][...] for name in names]

    def list_arrays(self, folder: Path) -> list[str]:
        return sorted(self._group(folder).array_keys())

    def _group(self, folder: Path) -> Any:
        path = str(folder / "run.zarr")
        return self.zarr.open_group(path, mode="r", zarr_format=3, use_consolidated=False)

    def plane(self, folder: Path, name: str, index: int, layout: ArrayLayout) -> Image:
        node = str(self.node(folder, name))
        image: Image = self.zarr.open_array(node, mode="r", zarr_format=3)[index]
        return image

    def save_pyramid(
        self, image: Image, folder: Path, layouts: Sequence[ArrayLayout]
    ) -> list[Path]:
        """Unit by unit, each level from the one above it, which is read back."""
        group = self.zarr.open_group(str(folder / "run.zarr"), mode="a", zarr_format=3)
        above: Any = image
        for number, layout in enumerate(layouts):
            level = group.create_array(
                str(number), shape=layout.shape, dtype=image.dtype, **self.options(layout)
            )
            for box in layout.boxes():
                level[box] = above[box] if number == 0 else _halved(above[_doubled(box)])
            above = level
        return [self.node(folder, str(number)) for number in range(len(layouts))]


def _doubled(box: tuple[slice, ...]) -> tuple[slice, ...]:
    return (*box[:-2], *(slice(2 * part.start, 2 * part.stop) for part in box[-2:]))


def _halved(block: Image) -> Image:
    """Average 2 × 2 pixels of an image with even extents, halves rounded up."""
    total = block[..., 0::2, 0::2].astype(np.uint32)
    total += block[..., 0::2, 1::2]
    total += block[..., 1::2, 0::2]
    total += block[..., 1::2, 1::2]
    total += 2
    total >>= 2
    return total.astype(block.dtype)


class HandWrittenDefaults(HandWritten):
    """zarr-python as it comes."""

    def options(self, layout: ArrayLayout) -> dict[str, Any]:
        return {}


class HandWrittenZarrs(HandWritten):
    """zarr-python with the best settings and the codec pipeline in Rust."""

    @cached_property
    def zarr(self) -> Any:
        zarr = import_module("zarr")
        import_module("zarrs")
        zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline"})
        return zarr


class TensorStore(Store):
    """Its driver for Zarr 3, with the codec, chunks and shards of polystore.

    Writes of a batch, and of shards, are transactions, as its documentation advises; nothing
    is flushed to the device, as with the others.
    """

    @cached_property
    def tensorstore(self) -> Any:
        return import_module("tensorstore")

    @cached_property
    def context(self) -> Any:
        return self.tensorstore.Context({"file_io_sync": False})

    def node(self, folder: Path, name: str) -> Path:
        return folder / "run.zarr" / name

    def _spec(self, folder: Path, name: str) -> dict[str, Any]:
        path = f"{self.node(folder, name)}/"
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}

    def _create(
        self, folder: Path, name: str, dtype: np.dtype[Any], layout: ArrayLayout, **options: Any
    ) -> Any:
        grid = {"name": "regular", "configuration": {"chunk_shape": list(layout.unit)}}
        metadata = {
            "shape": list(layout.shape),
            "data_type": dtype.name,
            "chunk_grid": grid,
            "codecs": list(layout.codecs),
            "fill_value": 0,
        }
        spec = {
            **self._spec(folder, name),
            "metadata": metadata,
            "store_data_equal_to_fill_value": True,
        }
        return self.tensorstore.open(spec, create=True, context=self.context, **options)

    def _open(self, folder: Path, name: str) -> Any:
        return self.tensorstore.open(self._spec(folder, name), open=True, context=self.context)

    def save(self, image: Image, folder: Path, name: str, layout: ArrayLayout) -> None:
        self.save_batch([image], folder, [name], layout)

    def load(self, folder: Path, name: str, layout: ArrayLayout) -> Image:
        image: Image = self._open(folder, name).result().read().result()
        return image

    def save_batch(
        self, images: Sequence[Image], folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> None:
        with self.tensorstore.Transaction() as transaction:
            opening = [
                self._create(folder, name, image.dtype, layout, transaction=transaction)
                for image, name in zip(images, names, strict=True)
            ]
            writing = [
                array.result().write(image)
                for array, image in zip(opening, images, strict=True)
            ]
            for future in writing:
                future.result()

    def load_batch(
        self, folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> list[Image]:
        opening = [self._open(folder, name) for name in names]
        reading = [array.result().read() for array in opening]
        return [future.result() for future in reading]

    def list_arrays(self, folder: Path) -> list[str]:
        spec = {"driver": "file", "path": f"{folder / 'run.zarr'}/"}
        keys = (
            self.tensorstore.KvStore.open(spec, context=self.context).result().list().result()
        )
        ending = b"/zarr.json"
        return sorted(key[: -len(ending)].decode() for key in keys if key.endswith(ending))

    def plane(self, folder: Path, name: str, index: int, layout: ArrayLayout) -> Image:
        image: Image = self._open(folder, name).result()[index].read().result()
        return image

    def save_pyramid(
        self, image: Image, folder: Path, layouts: Sequence[ArrayLayout]
    ) -> list[Path]:
        """Unit by unit, each level from the one above it, which is read back."""
        above: Any = None
        for number, layout in enumerate(layouts):
            level = self._create(folder, str(number), image.dtype, layout).result()
            if number:
                factors = (1,) * (image.ndim - 2) + (2, 2)
                source = self.tensorstore.downsample(above, factors, "mean")
            else:
                source = image
            for box in layout.boxes():
                with self.tensorstore.Transaction() as transaction:
                    level.with_transaction(transaction)[box].write(source[box]).result()
            above = level
        return [self.node(folder, str(number)) for number in range(len(layouts))]


class PolystoreZarr(Store):
    """This repository, all options left at their defaults."""

    options: ClassVar[Mapping[str, Any]] = {}

    @cached_property
    def manager(self) -> Any:
        from polystore import BackendRegistry, FileManager

        registry = BackendRegistry()
        registry.add("store", "zarr", **self.options)
        return FileManager(registry)

    def node(self, folder: Path, name: str) -> Path:
        return folder / "run.zarr" / name

    def _path(self, folder: Path, name: str) -> str:
        return str(self.node(folder, name))

    def save(self, image: Image, folder: Path, name: str, layout: ArrayLayout) -> None:
        self.manager.save(image, self._path(folder, name), backend="store")

    def load(self, folder: Path, name: str, layout: ArrayLayout) -> Image:
        image: Image = self.manager.load(self._path(folder, name), backend="store")
        return image

    def save_batch(
        self, images: Sequence[Image], folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> None:
        paths = [self._path(folder, name) for name in names]
        self.manager.save_batch(images, paths, backend="store")

    def load_batch(
        self, folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> list[Image]:
        paths = [self._path(folder, name) for name in names]
        images: list[Image] = self.manager.load_batch(paths, backend="store")
        return images

    def list_arrays(self, folder: Path) -> list[str]:
        found = self.manager.list_files(str(folder / "run.zarr"), backend="store")
        return [os.path.basename(path) for path in found]

    def plane(self, folder: Path, name: str, index: int, layout: ArrayLayout) -> Image:
        image: Image = self.manager.load(
            self._path(folder, name), backend="store", region=index
        )
        return image

    def save_pyramid(
        self, image: Image, folder: Path, layouts: Sequence[ArrayLayout]
    ) -> list[Path]:
        path = folder / "image.ome.zarr"
        self.manager.save(image, str(path), backend="store", axes="tczyx"[-image.ndim :])
        return [path / str(number) for number in range(len(layouts))]


class PolystoreZarrs(PolystoreZarr):
    """This repository with the codec pipeline in Rust."""

    options: ClassVar = {"codec_pipeline": "zarrs"}


class IncumbentZarr(Store):
    """The published ``polystore``: a batch is one array of three axes in a well of a plate."""

    @cached_property
    def manager(self) -> Any:
        published = import_module("polystore")
        # It has ome-zarr warn of the format that it asks for, at every save.
        logging.getLogger("ome_zarr").setLevel(logging.ERROR)
        backend = import_module("polystore.zarr").ZarrStorageBackend()
        return published.FileManager({"zarr": backend})

    def _path(self, folder: Path, name: str) -> str:
        return str(folder / "images" / f"{name}.tif")

    def node(self, folder: Path, name: str) -> Path:
        return Path(self._path(folder, name))

    def save(self, image: Image, folder: Path, name: str, layout: ArrayLayout) -> None:
        self.manager.save(image, self._path(folder, name), "zarr")

    def load(self, folder: Path, name: str, layout: ArrayLayout) -> Image:
        image: Image = self.manager.load(self._path(folder, name), "zarr")
        return image

    def save_batch(
        self, images: Sequence[Image], folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> None:
        batch = import_module("polystore.zarr_batch")
        count = len(images)
        axis = batch.ZarrBatchAxis("z", tuple(map(str, range(count))))
        self.manager.save_batch(
            images,
            [self._path(folder, name) for name in names],
            "zarr",
            chunk_name="A01",
            row="A",
            col="01",
            batch_layout=batch.ZarrBatchLayout((axis,), tuple((i,) for i in range(count))),
        )

    def load_batch(
        self, folder: Path, names: Sequence[str], layout: ArrayLayout
    ) -> list[Image]:
        paths = [self._path(folder, name) for name in names]
        images: list[Image] = self.manager.load_batch(paths, "zarr")
        return images

    def list_arrays(self, folder: Path) -> list[str]:
        # Its list_files finds only batches: it knows no single array.
        names = self.manager.list_dir(str(folder / "images"), "zarr")
        return [name.removesuffix(".tif") for name in names]


ZARR_CONTENDERS: Mapping[str, type[Store]] = {
    "zarr": HandWritten,
    "zarr-defaults": HandWrittenDefaults,
    "zarr-zarrs": HandWrittenZarrs,
    "tensorstore": TensorStore,
    "polystore-zarr": PolystoreZarr,
    "polystore-zarrs": PolystoreZarrs,
    "incumbent-zarr": IncumbentZarr,
}
