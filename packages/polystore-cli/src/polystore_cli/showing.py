"""Images on their way from where they are stored to a viewer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polystore_core import known_options, metadata_document
from polystore_core.errors import DataError, StorageError, UnsupportedFormatError

from .described import Described, described
from .output import warn

if TYPE_CHECKING:
    from polystore_core import FileManager

    from .address import Address

__all__ = ["Show"]


@dataclass(frozen=True, slots=True)
class Show:
    """What is sent to one viewer by one call.

    Both ways return what was sent, as documents for people and programs.
    """

    files: FileManager
    viewer: str
    """Name of the backend."""
    options: Mapping[str, Any]
    """Those of the command line: they count more than what a source knows."""

    def each(self, addresses: Sequence[Address]) -> Iterator[dict[str, Any]]:
        """Send one after another; what cannot be loaded or shown must not hide the others."""
        for address in addresses:
            try:
                image = self._described(address)
                options = {**image.options, **self.options}
                value = self.load(address, image)
                self.files.save(value, address.path, backend=self.viewer, **options)
            except (DataError, StorageError, UnsupportedFormatError) as error:
                warn(f"error: {error}")
                yield {"source": str(address), "error": str(error)}
            else:
                yield self._document(address, image, options)

    def series(self, addresses: Sequence[Address], names: str | None) -> list[dict[str, Any]]:
        """Send all in one batch; the first says what is known of the others."""
        images = [self._described(address) for address in addresses]
        options = {**images[0].options, **self.options}
        self.files.save_batch(
            _Loaded(self, addresses, images),
            [address.path for address in addresses],
            backend=self.viewer,
            progress=sys.stderr.isatty(),
            **(options if names is None else {**options, "names": names}),
        )
        return [
            self._document(address, image, options)
            for address, image in zip(addresses, images, strict=True)
        ]

    def _described(self, address: Address) -> Described:
        if "info" not in self.files.registry[address.backend].capabilities:
            return Described()
        info = self.files.info(address.path, backend=address.backend)
        sink: Any = self.files.registry[self.viewer]
        wanted, _ = known_options(type(sink).save)
        # A viewer that has a word for axes takes images, which say themselves what they are.
        if info.image is None or "axes" not in wanted:
            return described(info, self.options, wanted)
        if "axes" in info.image.guessed and "axes" not in self.options:
            names = ", ".join(info.image.names)
            warn(f"warning: {address} does not name its axes: guessed {names} (-o axes=…)")
        return Described(info.shape, info.dtype, image=info.image)

    def load(self, address: Address, image: Described) -> Any:
        as_ = None if image.image is None else "image"
        stored = self.files.load(address.path, backend=address.backend, as_=as_)
        return image.arranged(stored)

    def _document(
        self, address: Address, image: Described, options: Mapping[str, Any]
    ) -> dict[str, Any]:
        return {
            "source": str(address),
            "viewer": self.viewer,
            "path": address.path,
            "shape": image.shape,
            "dtype": image.dtype,
            "options": options,
            **({} if image.image is None else {"image": metadata_document(image.image)}),
        }


@dataclass(frozen=True, slots=True)
class _Loaded(Sequence[Any]):
    """Values that are loaded when they are sent: a series may be larger than memory."""

    show: Show
    addresses: Sequence[Address]
    images: Sequence[Described]

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, index: Any) -> Any:
        return self.show.load(self.addresses[index], self.images[index])
