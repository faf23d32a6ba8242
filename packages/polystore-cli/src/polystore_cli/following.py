"""``polystore view --follow``: show images while other programs write them."""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING, Any

from polystore_core.errors import InvalidOptionError

from .address import Address
from .output import printable, warn
from .sources import TROUBLE, find_images

if TYPE_CHECKING:
    from polystore_core import Arrival

    from .showing import Show

__all__ = ["follow"]


def follow(
    show: Show, address: Address, *, names: str | None, timeout: float | None
) -> list[dict[str, str]]:
    """Show each image of a folder, or each frame of an array, when it appears.

    Ends after ``timeout`` seconds without a new image, and returns the images that failed.
    """
    failed = []
    watch = show.files.watch(address.path, backend=address.backend, timeout=timeout)
    for item in watch:
        if item.is_frame and names is not None:
            fault = f"--names arranges the files of a folder, and {address} is an array"
            raise InvalidOptionError("names", names, "none for an array", fault)
        try:
            _show(show, item, names)
        except TROUBLE as error:
            warn(f"error: {printable(str(error))}")
            failed.append(
                {"source": str(Address(item.backend, item.path)), "error": str(error)}
            )
    return failed


def _show(show: Show, item: Arrival, names: str | None) -> None:
    files, place = show.files, Address(item.backend, item.path)
    where: dict[str, Any]
    if item.is_frame:
        has_words = show.has_words and files.open(item.path, item.backend).image is not None
        value = item.load(as_="image" if has_words else None)
        path, where = f"{item.path}/{item.index}", {"at": {"t": item.index}}
    else:
        picture = find_images(files, place, alone=True).pictures[0]
        if picture.info is not None and picture.info.shape is None:
            warn(f"note: {printable(str(place))} is not an image")
            return
        value, path = show.load(picture), item.path
        stem = posixpath.basename(path).partition(".")[0]
        where = {"at": {"image": stem}} if names is None else {"names": names}
    files.save(value, path, backend=show.viewer, **{**show.options, **where})
