"""Create and open arrays that are read and written in parts."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from polystore_core import IfExists, as_dtype, check_if_exists
from polystore_core.errors import (
    AlreadyExistsError,
    InvalidOptionError,
    UnsupportedOperationError,
)

from .arraywords import check_words, mark_words
from .creating import Layout, create_array
from .growing import GrowingArray, open_growing
from .growth import create_growing
from .images import ImageOptions, write_image
from .kinds import Ome, Surroundings
from .levels import open_pixels
from .members import check_members
from .platearray import open_plate
from .plategrid import is_plate
from .tree import ZarrTree
from .values import check_attributes, check_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import DTypeLike

    from polystore_core import LazyArray, Option, Path, Value

    from .arrays import Unaligned, ZarrArray
    from .images import Image
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
        ome: Ome | None = None,
        axes: str | Sequence[str] | None = None,
        scale: Sequence[float] | Mapping[str, float] | None = None,
        units: str | Mapping[str, str] | None = None,
        channels: Sequence[str | Mapping[str, Option]] | None = None,
        levels: int | None = None,
        unaligned: Unaligned = "refuse",
    ) -> LazyArray:
        """Create an array that is written in parts, and return a handle that can write.

        An array that grows in a store called ``x.ome.zarr`` is a time series in OME-Zarr. Its
        ``levels`` grow with it, and its axes start with t, such as ``axes="tcyx"``.

        Args:
            path: where to create it.
            shape: its shape. ``None`` as the first length makes an array that grows, with one
                frame in each chunk. Its handle has ``append`` and ``flush``.
            dtype: its element type.
            if_exists: "skip" opens an existing array with this shape and element type.
            durable: whether writes survive a power cut. ``True`` flushes each append.
            chunks: as for ``save``.
            shards: as for ``save``.
            compressor: as for ``save``.
            checksum: as for ``save``.
            fill_value: value of the parts that are not written.
            attributes: as for ``save``.
            zarr_format: as for ``save``.
            ome: as for ``save``.
            axes: as for ``save``.
            scale: as for ``save``.
            units: as for ``save``.
            channels: as for ``save``.
            levels: as for ``save``.
            unaligned: "lock" allows the handle to write parts of chunks, under a lock.
        """
        check_if_exists(if_exists)
        check_attributes(attributes)
        with self._translate(path, "create") as place:
            (wanted, grows), kind = check_shape(shape), as_dtype(dtype)
            durable = self.durable if durable is None else durable
            present = self._target(place, if_exists, "create")
            place.node.files.check_regions()
            if grows:
                place.node.files.check_growing()
            if present is None or if_exists == "replace":
                layout = Layout(
                    chunks=chunks,
                    shards=shards,
                    compressor=compressor,
                    checksum=checksum,
                    fill_value=fill_value,
                    by_plane=True,
                )
                around = Surroundings.of(place)
                if not grows:
                    self._refuse_image(around, ome)
                role = around.image(ome, zarr_format) if grows else None
                zarr_format = role.zarr_format if role else zarr_format or around.zarr_format
                layout = replace(layout, zarr_format=zarr_format or 3)
                of_images = ImageOptions(axes, scale, units, channels, levels)
                make = _maker(wanted, kind, grows, role, of_images, layout, attributes)
                check_members(place, is_image=role is not None)
                durable_tree = grows or durable  # flushed frames are lost without their array
                self._put(
                    place, make, if_exists, zarr_format=zarr_format or 3, durable=durable_tree
                )
            handle: LazyArray
            if grows:
                handle = self._appending(place, durable)
                # Another process may have appended frames, and an array that is kept may have
                # some.
                wanted = handle.shape[:1] + wanted[1:]
            else:
                handle = self._open_whole(
                    place, 0, writable=True, unaligned=unaligned, durable=durable
                )
            # With if_exists="skip" any array may be there. Writing to another shape would
            # damage it.
            if (handle.shape, handle.dtype) != (wanted, kind):
                handle.close()
                raise AlreadyExistsError(self.name, place.path, "create")
            return handle

    def _refuse_image(self, around: Surroundings, ome: Ome | None) -> None:
        """Raise an error for an image of a fixed shape, whose levels would not follow the parts."""
        if ome or (ome is None and around.is_image):
            path = around.place.path
            reason = "this path is for an image: use save() with an array or a handle"
            raise UnsupportedOperationError(self.name, f"creating an array at {path!r}", reason)

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
        """Open an array or image as a lazy handle. A plate opens as one image of all its wells.

        Args:
            path: the path.
            level: level of a pyramid. 0 is the image itself, -1 the smallest copy.
            mode: "r" reads. "r+" also writes, like ``save(region=)``. "a" appends to an array
                that grows.
            unaligned: "lock" allows the handle to write parts of chunks, under a lock.
            durable: whether writes survive a power cut.
        """
        if mode not in ("r", "r+", "a"):
            raise InvalidOptionError("mode", mode, "'r', 'r+' or 'a'")
        if mode == "a" and level:
            fault = f"level={level!r} needs another mode: mode='a' appends to all levels"
            raise InvalidOptionError("level", level, "0", fault)
        durable = self.durable if durable is None else durable
        with self._translate(path, "open") as place:
            if mode == "a":
                return self._appending(place, durable)

            def read() -> LazyArray:
                node = self._find(place, "open")
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
            self._pixels(place, "append"),
            path=place.path,
            backend=self.name,
            pipeline=self.codec_pipeline,
            durable=durable,
            reopen=partial(self.open, place.folder.key),  # absolute, so it survives os.chdir
        )

    def _open_whole(self, place: Address, level: int, **options: Option) -> ZarrArray | Samples:
        """Open an array so that no old document is used with the chunks of a new array."""
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


def _maker(
    shape: tuple[int, ...],
    dtype: np.dtype[Value],
    grows: bool,
    role: Image | None,
    options: ImageOptions,
    layout: Layout,
    attributes: Mapping[str, Option] | None,
) -> Callable[[StorePath], None]:
    """Check all options, and return a function that makes an array or image without pixels."""
    if role is None and options.levels is not None:
        fault = "levels= needs shape=(None, …) and ome=True, or a store called '….ome.zarr'"
        raise InvalidOptionError("levels", options.levels, "None", fault)
    if role is None and options.given() is None:
        words = None
    else:  # checks need a value of this shape. This one takes no memory
        value = np.broadcast_to(np.zeros((), dtype), shape)
        if role is not None:
            return write_image(
                value, None, role, options, layout, attributes, False, "zarr", grows=True
            )
        words = check_words(value, None, options)
    names = None if words is None else words.names
    more = None if words is None else mark_words(words)

    def make(tree: StorePath) -> None:
        said: dict[str, Any] = {
            "attributes": attributes,
            "dimension_names": names,
            "more": more,
        }
        if grows:
            create_growing(tree, shape[1:], dtype, layout, **said)
        else:
            create_array(tree, shape, dtype, layout, complete=False, **said)

    return make
