"""Saved images become pictures on a web page: ``FOLDER/index.html``."""

import os
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from polystore_core import (
    DataSink,
    array_and_words,
    file_lock,
    full_path,
    image_metadata,
    to_numpy,
)
from polystore_core.errors import PolystoreError, UnsupportedDataError, with_context
from polystore_stream import Limits

PAGE = """<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="2">
<title>Gallery</title><style>figure {{ display: inline-block }}</style>
{}
"""
FIGURE = '<figure><img src="{}?{}"><figcaption>{}</figcaption></figure>'


class GalleryBackend(DataSink):
    """Draws each saved image in this process. ``folder`` is where the page is."""

    def __init__(self, *, folder: str) -> None:
        self.gallery = Gallery(full_path(folder, "folder"), self.context.registry["disk"])

    def save(self, data: Any, path: Any, /) -> None:
        try:
            data, words = array_and_words(data)
            array = to_numpy(data)
            axes = image_metadata(array.shape, array.dtype, like=words).names
            self.gallery.show({os.fspath(path): draw(array, axes)})
        except PolystoreError as error:
            raise with_context(error, self.name, os.fspath(path), "save") from error.__cause__


class Gallery:
    """The pictures in a folder, and a page that shows them. Threads and processes share it."""

    def __init__(self, folder: str, disk: Any) -> None:
        self.folder, self.disk = Path(folder), disk

    def show(self, pictures: dict[str, Any]) -> None:
        """Write the picture of each path, and then the page."""
        self.folder.mkdir(parents=True, exist_ok=True)
        # Without the lock, a page could miss the picture that another process is saving.
        with file_lock(self.folder / "page"):
            for path, picture in pictures.items():
                # Quoted: a path has slashes, and "a/b" must not replace "a_b".
                self.disk.save(picture, self.folder / f"{quote(path, safe='')}.png")
            self._write_page()

    def clear(self) -> None:
        """Remove all pictures."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with file_lock(self.folder / "page"):
            for name in self._names():
                self.disk.delete(name)
            self._write_page()

    def _names(self) -> Any:
        return self.disk.list_files(self.folder, suffixes=[".png"])

    def _write_page(self) -> None:
        figures = []
        for file in map(Path, self._names()):
            version = file.stat().st_mtime_ns  # so that browsers load a new picture
            figures.append(FIGURE.format(quote(file.name), version, escape(unquote(file.stem))))
        page = PAGE.format("\n".join(figures))
        self.disk.save(page, self.folder / "index.html", format="txt")


def draw(pixels: Any, axes: Any) -> Any:
    """Return a picture of the middle plane: gray from black to white, or RGB."""
    if pixels.dtype.kind not in "biuf" or not pixels.size:
        reason = f"expected numbers, got {pixels.dtype} of shape {pixels.shape}"
        raise UnsupportedDataError(reason)
    is_rgb = axes[-1] == "s"
    while pixels.ndim > 2 + is_rgb:
        pixels = pixels[len(pixels) // 2]
    if is_rgb and pixels.dtype == np.uint8:
        return pixels
    low, high = Limits().with_planes(np.moveaxis(pixels, -1, 0) if is_rgb else pixels).pair()
    gray = np.nan_to_num((pixels.astype(float) - low) / (high - low))
    return (255 * gray.clip(0, 1)).astype(np.uint8)
