"""Images on their way from where they are stored to a viewer."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polystore_core import known_options, metadata_document
from polystore_core.errors import DataError, StorageError, UnsupportedFormatError

from .output import warn

if TYPE_CHECKING:
    from polystore_core import FileManager, Info

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
    """Those of the command line: they count more than the words of an image."""

    def each(self, addresses: Sequence[Address]) -> Iterator[dict[str, Any]]:
        """Send one after another; what cannot be loaded or shown must not hide the others."""
        for address in addresses:
            try:
                info = self._info(address)
                value = self.load(address, info)
                self.files.save(value, address.path, backend=self.viewer, **self.options)
            except (DataError, StorageError, UnsupportedFormatError) as error:
                warn(f"error: {error}")
                yield {"source": str(address), "error": str(error)}
            else:
                yield self._document(address, info)

    def series(self, addresses: Sequence[Address], names: str | None) -> list[dict[str, Any]]:
        """Send all in one batch."""
        infos = [self._info(address) for address in addresses]
        options = {**self.options} if names is None else {**self.options, "names": names}
        self.files.save_batch(
            _Loaded(self, addresses, infos),
            [address.path for address in addresses],
            backend=self.viewer,
            progress=sys.stderr.isatty(),
            **options,
        )
        return list(map(self._document, addresses, infos))

    def _info(self, address: Address) -> Info | None:
        if "info" not in self.files.registry[address.backend].capabilities:
            return None
        info = self.files.info(address.path, backend=address.backend)
        image = info.image
        if image is not None and "axes" in image.guessed and "axes" not in self.options:
            names = ", ".join(image.names)
            warn(f"warning: {address} does not name its axes: guessed {names} (-o axes=…)")
        return info

    def load(self, address: Address, info: Info | None) -> Any:
        """Load an image with its words, if the viewer has options for them."""
        sink: Any = self.files.registry[self.viewer]
        has_words = "axes" in known_options(type(sink).save)[0]
        as_ = "image" if has_words and info is not None and info.image is not None else None
        return self.files.load(address.path, backend=address.backend, as_=as_)

    def _document(self, address: Address, info: Info | None) -> dict[str, Any]:
        image = None if info is None else info.image
        return {
            "source": str(address),
            "viewer": self.viewer,
            "path": address.path,
            "shape": None if info is None else info.shape,
            "dtype": None if info is None else info.dtype,
            "options": self.options,
            "image": None if image is None else metadata_document(image),
        }


@dataclass(frozen=True, slots=True)
class _Loaded(Sequence[Any]):
    """Values that are loaded when they are sent: a series may be larger than memory."""

    show: Show
    addresses: Sequence[Address]
    infos: Sequence[Info | None]

    def __len__(self) -> int:
        return len(self.addresses)

    def __getitem__(self, index: Any) -> Any:
        return self.show.load(self.addresses[index], self.infos[index])
