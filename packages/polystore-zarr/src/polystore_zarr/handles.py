"""Arrays that are read and written in parts: made, and opened as handles."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np

from polystore_core import IfExists, check_if_exists
from polystore_core.errors import (
    AlreadyExistsError,
    InvalidOptionError,
    UnsupportedOperationError,
)

from .creating import Layout, create_array
from .growing import GrowingArray, create_growing, open_growing
from .kinds import Surroundings
from .levels import open_pixels
from .platearray import open_plate
from .plategrid import is_plate
from .tree import ZarrTree
from .values import check_attributes, checked_shape

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import DTypeLike

    from polystore_core import LazyArray, Option, Path

    from .arrays import Unaligned, ZarrArray
    from .pipelines import CodecPipeline
    from .store.base import StorePath
    from .store.layout import Address
    from .store.nodes import Node, ZarrFormat
    from .views import Samples

__all__ = ["ZarrHandles"]


class ZarrHandles(ZarrTree):
    """The part of the backend that gives handles."""

    codec_pipeline: CodecPipeline

    def create(
        self,
        path: Path,
        /,
        *,
        shape: Sequence[int | None],
        dtype: DTypeLike,
        if_exists: IfExists = "error",
        durable: bool | None = None,
        chunks: int | Sequence[int] | None = None,
        shards: int | Sequence[int] | Literal[False] | None = None,
        compressor: Option = "blosc",
        checksum: bool = True,
        fill_value: Option = None,
        attributes: Mapping[str, Option] | None = None,
        zarr_format: ZarrFormat | None = None,
        unaligned: Unaligned = "refuse",
    ) -> LazyArray:
        """Make an array to be written in parts. Parts that are not written read as ``fill_value``.

        ``if_exists="skip"`` opens an array that is there, if it has this shape and element type.
        ``None`` as the first length of ``shape`` makes an array that grows, with one frame in a
        chunk: see ``append`` and ``flush`` of its handle. ``durable=True`` flushes each append.
        """
        check_if_exists(if_exists)
        check_attributes(attributes)
        with self._translated(path, "create") as place:
            (wanted, grows), kind = checked_shape(shape), np.dtype(dtype)
            durable = self.durable if durable is None else durable
            present = self._target(place, if_exists, "create")
            place.node.files.check_regions()
            if grows:
                place.node.files.check_growing()
            if present is None or if_exists == "replace":
                around = Surroundings.of(place)
                if around.is_image:
                    raise UnsupportedOperationError(
                        self.name,
                        f"creating an array at {place.path!r}",
                        "this path is for an image: use save() with an array or a handle",
                    )
                zarr_format = zarr_format or around.zarr_format or 3
                layout = Layout(
                    chunks=chunks,
                    shards=shards,
                    compressor=compressor,
                    checksum=checksum,
                    fill_value=fill_value,
                    zarr_format=zarr_format,
                    by_plane=True,
                )

                def make(tree: StorePath) -> None:
                    if grows:
                        create_growing(tree, wanted[1:], kind, layout, attributes=attributes)
                        return
                    create_array(
                        tree, wanted, kind, layout, attributes=attributes, complete=False
                    )

                durable_tree = grows or durable  # frames that are flushed need their array
                self._put(place, make, if_exists, zarr_format=zarr_format, durable=durable_tree)
            handle: LazyArray
            if grows:
                handle = self._appending(place, durable)
                wanted = handle.shape[:1] + wanted[1:]
            else:
                handle = self._opened(
                    place, 0, writable=True, unaligned=unaligned, durable=durable
                )
            if (handle.shape, handle.dtype) != (wanted, kind):
                handle.close()
                raise AlreadyExistsError(self.name, place.path, "create")
            return handle

    def open(
        self,
        path: Path,
        /,
        *,
        level: int = 0,
        mode: Literal["r", "r+", "a"] = "r",
        unaligned: Unaligned = "refuse",
        durable: bool | None = None,
    ) -> LazyArray:
        """``mode="r+"`` gives a handle that can be written, as ``save(region=)`` writes.

        ``mode="a"`` gives one that appends to an array that grows. ``durable`` is that of its
        writes.

        A plate opens as one image, with its wells next to each other.
        """
        if mode not in ("r", "r+", "a"):
            raise InvalidOptionError("mode", mode, "'r', 'r+' or 'a'")
        durable = self.durable if durable is None else durable
        with self._translated(path, "open") as place:
            if mode == "a":
                return self._appending(place, durable)

            def read() -> LazyArray:
                node = self._found(place, "open")
                if not is_plate(node):
                    return self._handle(
                        place,
                        level,
                        node=node,
                        writable=mode == "r+",
                        unaligned=unaligned,
                        durable=durable,
                    )
                if mode == "r+":
                    reason = "save its fields: this handle only reads"
                    raise UnsupportedOperationError(self.name, "writing to a plate", reason)
                return open_plate(
                    node, level, place, backend=self.name, pipeline=self.codec_pipeline
                )

            return self._whole(place, "open", read)

    def _appending(self, place: Address, durable: bool | None) -> GrowingArray:
        return open_growing(
            self._pixels(place, "append").directory,
            path=place.path,
            backend=self.name,
            pipeline=self.codec_pipeline,
            durable=durable,
            reopen=partial(self.open, place.path),
        )

    def _opened(self, place: Address, level: int, **options: Option) -> ZarrArray | Samples:
        """Whole, so that no old document is paired with the chunks of a new array."""
        return self._whole(place, "open", lambda: self._handle(place, level, **options))

    def _handle(
        self, place: Address, level: int, *, node: Node | None = None, **options: Option
    ) -> ZarrArray | Samples:
        return open_pixels(
            self._pixels(place, "load", node),
            level,
            path=place.path,
            backend=self.name,
            pipeline=self.codec_pipeline,
            **options,
        )
