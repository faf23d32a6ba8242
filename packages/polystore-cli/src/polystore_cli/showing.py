"""Load images from where they are stored, and send them to a viewer."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from polystore_core import Image, check_options, known_options, metadata_document
from polystore_core.errors import (
    BatchError,
    DataError,
    StorageError,
    UnsupportedFormatError,
    UnsupportedOperationError,
)

from .output import is_terminal, printable, warn

if TYPE_CHECKING:
    from polystore_core import FileManager, Info, LazyArray

    from .arranging import View
    from .sources import Picture

__all__ = ["Show"]

_DTYPE = re.compile(r"[<>|=][a-zA-Z]([0-9]+)")
"""NumPy's name of an element type, such as "<u2": its bytes are the last part."""
_LARGE = 1 << 26
"""Images with more bytes are not loaded here. The viewer reads them itself, if it can."""
_SCREEN = 2048
"""Pixels of a screen. A plane of a plate's stack has at most as many in y and in x."""


@dataclass(frozen=True, slots=True)
class Show:
    """Sends images to one viewer, with the options of one call."""

    files: FileManager
    viewer: str
    """Name of the backend."""
    options: Mapping[str, Any]
    """The options of the command line. They win over the words of an image."""

    def check_options(self, *further: str) -> None:
        """Check that the viewer has all options.

        Raises:
            UnknownOptionError: It does not have one of them.
        """
        owner = f"save() of backend {self.viewer!r}"
        # The values of `further` are not known yet, so only their names are checked.
        check_options(self._save, {**self.options, **dict.fromkeys(further)}, owner)

    def send(self, views: Iterable[View]) -> list[dict[str, Any]]:
        """Show one view after another, and return those that failed.

        An image that cannot be loaded or shown must not hide the others.
        """
        failed = []
        for view in views:
            try:
                self._send(view)
            except (DataError, StorageError, UnsupportedFormatError, BatchError) as error:
                text = (
                    error.describe(most=None) if isinstance(error, BatchError) else str(error)
                )
                if view.how == "montage" and isinstance(error, DataError):
                    text += ". --stack shows each field of the plate"
                warn(f"error: {text}")
                failed.append({"source": str(view.address), "error": text})
        return failed

    def document(self, view: View) -> dict[str, Any]:
        """Describe a view as a JSON object."""
        first = view.pictures[0]
        shape, dtype = self._array(view, first)
        image = None if first.info is None else first.info.image
        return {
            "how": view.how,
            "viewer": self.viewer,
            "path": view.address.path,
            "sources": [str(one.address) for one in view.pictures],
            "template": view.names,
            "proposal": view.proposal,
            "fields": view.fields,
            "shape": shape,
            "dtype": dtype,
            "options": self.options,
            "image": None if image is None else metadata_document(image),
        }

    def _send(self, view: View) -> None:
        self._warn_of_guesses(view)
        if view.how != "stack":
            path = view.address.path
            self.files.save(_value(self, view, 0), path, backend=self.viewer, **self.options)
            return
        options: dict[str, Any] = {**self.options}
        if view.names is not None:
            options["names"] = view.names
        if view.at:
            options["at"] = list(view.at)
        self.files.save_batch(
            _Values(self, view),
            view.paths,
            backend=self.viewer,
            progress=is_terminal(sys.stderr),
            **options,
        )

    def _warn_of_guesses(self, view: View) -> None:
        """Warn once for each view whose axes were guessed."""
        for one in view.pictures:
            image = None if one.info is None else one.info.image
            if image is not None and "axes" in image.guessed and "axes" not in self.options:
                address, names = printable(str(one.address)), ", ".join(image.names)
                warn(f"warning: {address} does not name its axes: guessed {names} (-o axes=…)")
                return  # once for a stack

    @property
    def _save(self) -> Any:
        sink: Any = self.files.registry[self.viewer]
        return type(sink).save

    @property
    def has_words(self) -> bool:
        """Whether the viewer takes images with axes and channels, and lazy handles."""
        return "axes" in known_options(self._save)[0]

    def load(self, one: Picture) -> Any:
        """Load an image, with its axes and channels if the viewer has options for them.

        A large image is not loaded. The viewer gets a handle on it.
        """
        place, info = one.address, one.info
        if self.has_words and info is not None and _nbytes(info) > _LARGE:
            try:
                return self.open(one)
            except UnsupportedOperationError:
                pass  # its format has no handles, so load it whole
        as_ = "image" if self.has_words and info is not None and info.image else None
        return self.files.load(place.path, place.backend, as_=as_, **self._alone(one))

    def open(self, one: Picture) -> Any:
        """Return a handle on an image, with its axes and channels."""
        place = one.address
        handle = self.files.open(place.path, place.backend, **self._alone(one))
        return handle if handle.image is None else Image(handle, handle.image)

    def _alone(self, one: Picture) -> Mapping[str, Any]:
        """Return the options that leave out planes of files next to the image."""
        backend: Any = self.files.registry[one.address.backend]
        options: Mapping[str, Any] = (
            backend.options_alone(one.address.path) if one.alone else {}
        )
        return options

    def on_screen(self, one: Picture) -> Any:
        """Return the finest level of an image that fits a screen, with its axes and channels."""
        handle = self.files.open(one.address.path, backend=one.address.backend)
        level = _level(handle)
        return level if level.image is None else Image(level, level.image)

    def _array(self, view: View, first: Picture) -> tuple[tuple[int, ...] | None, str | None]:
        """Return the shape and type of the first image, as the viewer gets it."""
        if view.at:  # the level that fits a screen may be a coarser one
            found = _value(self, view, 0)
            return found.shape, found.dtype.str
        return (None, None) if first.info is None else (first.info.shape, first.info.dtype)


@dataclass(frozen=True, slots=True)
class _Values(Sequence[Any]):
    """Values that are loaded when they are sent, because a series may be larger than memory."""

    show: Show
    view: View

    def __len__(self) -> int:
        return len(self.view.pictures)

    def __getitem__(self, index: Any) -> Any:
        return _value(self.show, self.view, index)


def _value(show: Show, view: View, index: int) -> Any:
    one = view.pictures[index]
    if view.how == "montage":
        return show.open(one)
    return show.on_screen(one) if view.at else show.load(one)


def _level(handle: LazyArray) -> LazyArray:
    names = ("y", "x") if handle.image is None else handle.image.names
    plane = [names.index(name) - len(names) for name in ("y", "x") if name in names]
    # Levels go from fine to coarse, so the first one that fits is the finest.
    for level in handle.levels:
        if all(level.shape[axis] <= _SCREEN for axis in plane):
            return level
    return handle.levels[-1]


def _nbytes(info: Info) -> int:
    """Return the size in memory, or 0 for an element type that NumPy does not have."""
    found = _DTYPE.fullmatch(info.dtype or "")
    return math.prod(info.shape or (0,)) * int(found[1]) if found else 0
