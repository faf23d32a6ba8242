"""polystore-torch: the images of any backend as a dataset of PyTorch."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, islice
from typing import Any

import torch

from polystore_core import Axis, FileManager, Image, ImageMetadata, NameTemplate, Path
from polystore_core.errors import InvalidOptionError, UnsupportedDataError

__all__ = ["Images"]


class Images(torch.utils.data.Dataset[Any]):
    """A dataset of the images in a folder whose names fit a template, in natural order.

    For example:

        train = Images("plate", backend="disk", names="{well}_f{field}_w{channel}.tif")
        pixels, labels = train[0]  # a tensor (C, H, W), and {"well": "B02", "field": "1"}

    An item is a tensor and a dict of the fields of the name, as text. Files that differ only in the
    field ``along`` are the channels of one item. If the template has no such field, each file is an
    item and keeps its shape.

    Args:
        folder: The folder. A template with "/" also finds files in folders inside.
        backend: Name of the backend.
        names: A template for the names, such as "{well}_f{field}_w{channel}.tif".
        files: The file manager that reads the files. By default it is a new one.
        along: The field of the channels.
        channels: The channels to use, in this order. By default all of them.
        transform: A function of the tensor that returns its replacement. With ``as_="image"`` it
            gets and returns an ``Image``, a tensor with its metadata.
        **options: Options of ``FileManager.load``, such as ``dtype="float32"``. By default a tensor
            has the dtype of its files.

    Raises:
        InvalidOptionError: No name fits, two files have the same fields, or a channel is missing.
        BatchError: Files cannot be loaded. Reading an item raises it.
        UnsupportedDataError: The channels of an item differ in shape or dtype. Reading an item
            raises it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        backend: str,
        names: str | NameTemplate,
        files: FileManager | None = None,
        along: str = "channel",
        channels: Sequence[str] | None = None,
        transform: Callable[[Any], Any] | None = None,
        **options: Any,
    ) -> None:
        self.files = FileManager() if files is None else files
        self.backend, self.transform = backend, transform
        self.options = {"framework": "torch", **options}
        self.names = names if isinstance(names, NameTemplate) else NameTemplate(names)
        self.along = along if along in self.names.fields else ""
        found = self.files.list_files(folder, backend, recursive="/" in self.names.template)
        items: dict[object, dict[str, str]] = {}
        for path in filter(self.names.matches, found):
            labels = self.names.parse(path)
            channel = labels.pop(self.along, "")
            # Without a field for channels each file is an item, even if two have equal fields.
            item = items.setdefault(tuple(labels.values()) if self.along else path, {})
            if item.setdefault(channel, path) != path:
                raise self._misfit(f"{item[channel]!r} and {path!r} have the same fields")
        if not items:
            example = f"the first of {len(found):,} is {found[0]!r}" if found else "it is empty"
            raise self._misfit(f"no file in {str(folder)!r} fits; {example}")
        self.channels = tuple(channels or dict.fromkeys(c for i in items.values() for c in i))
        for item in items.values():
            if lacks := set(self.channels) - set(item):
                raise self._misfit(
                    f"no file with {self.along} {lacks} next to {[*item.values()]}"
                )
        self._paths = [tuple(map(item.__getitem__, self.channels)) for item in items.values()]

    def _misfit(self, fault: str) -> InvalidOptionError:
        fault = f"names={self.names.template!r}: {fault}"
        return InvalidOptionError("names", self.names, "", fault)

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, index: int) -> Any:
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Any]:
        """Return several items, which are read in one ``load_batch``. A ``DataLoader`` calls it."""
        chosen = [self._paths[index] for index in indices]
        values = iter(self.files.load_batch([*chain(*chosen)], self.backend, **self.options))
        return [self._item(item, list(islice(values, len(item)))) for item in chosen]

    def _item(self, paths: Sequence[str], values: Sequence[Any]) -> tuple[Any, dict[str, str]]:
        image = values[0]
        if self.along:
            tensors = [value.data if isinstance(value, Image) else value for value in values]
            # torch.stack would promote unequal dtypes without a word, and not name the file.
            if len(kinds := {(*t.shape, t.dtype) for t in tensors}) > 1:
                reason = f"channels of one item need one shape and dtype, not {kinds}"
                raise UnsupportedDataError(reason, "", paths[0], self.backend, "load")
            words = self._words(image.metadata) if isinstance(image, Image) else None
            stack = torch.stack(tensors)
            image = stack if words is None else Image(stack, words)
        image = image if self.transform is None else self.transform(image)
        labels = self.names.parse(paths[0])
        labels.pop(self.along, "")
        return image.data if isinstance(image, Image) else image, labels

    def metadata(self, index: int) -> ImageMetadata | None:
        """Return the metadata of an item from the header of its first file, or ``None``."""
        words = self.files.info(self._paths[index][0], self.backend).image
        return None if words is None else self._words(words)

    def _words(self, first: ImageMetadata) -> ImageMetadata:
        if not self.along:
            return first
        # The channels of the first file are those of the item only if each file has such an axis.
        channels = first.channels if "c" in first.names else ()
        return replace(first, axes=(Axis(self.along), *first.axes), channels=channels)

    def __repr__(self) -> str:
        what = f"{len(self)} items, names={self.names.template!r}, backend={self.backend!r}"
        return f"<Images: {what}, channels={self.channels}>"
