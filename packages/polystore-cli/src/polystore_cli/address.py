"""Addresses on the command line: ``backend:path``, such as ``disk:plate/a.tif``."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from polystore_core import FileManager

__all__ = [
    "Address",
    "AddressError",
    "complete_address",
    "is_directory",
    "parse_address",
    "usual_backend",
]

_NAME = re.compile(r"\w[\w.-]*")
# The character before the dot is needed: "a.zarr" is a store, and ".zarr" a hidden folder.
_STORE = re.compile(r"[^/\\]\.(?:zarr(?:\.zip)?|ozx)(?:[/\\]|$)", re.IGNORECASE)


class AddressError(ValueError):
    """The command line is wrong. The exit code is 2."""


@dataclass(frozen=True, slots=True)
class Address:
    """A path, and the backend that holds it."""

    backend: str
    """Name of a backend, or ``distribution:name``."""
    path: str
    """Never empty. ``"."`` is the top folder of the backend."""

    @property
    def is_folder(self) -> bool:
        """Whether the text says that it is a folder: ``plate/``, or the top."""
        return self.path == "." or self.path.endswith("/")

    @property
    def name(self) -> str:
        """Last part of the path. Empty for the top."""
        name = os.path.basename(self.path.rstrip("/"))
        return "" if name in (".", "..") else name

    def at(self, path: str) -> Address:
        """Return the address of ``path`` in the same backend."""
        return Address(self.backend, path)

    def __truediv__(self, name: str) -> Address:
        if self.path == "." or not name:
            # The top of a backend has no name, so its content goes into the target itself.
            return self.at(name or self.path)
        return self.at(f"{self.path.rstrip('/')}/{name}")

    def __str__(self) -> str:
        return f"{self.backend}:{self.path}"


def usual_backend(path: str) -> str:
    """Return "zarr" if a part of the path ends as a Zarr store does, zipped or not, else "disk"."""
    return "zarr" if _STORE.search(path) else "disk"


def parse_address(text: str, names: Collection[str]) -> Address:
    """Split ``text`` into backend and path.

    ``names`` are the known backends. A first part that looks like a name counts as one, because the
    registry explains best why it is unknown or switched off. ``C:\\x`` and ``plate/a:b.tif`` do not
    name a backend. Shells do not expand the ``~`` in ``disk:~/plate``, so it is expanded here.

    Raises:
        AddressError: The text does not name a backend, or is a URL.
    """
    first, colon, path = text.partition(":")
    # "s3://bucket" is an address only if a backend is called "s3".
    is_url = path.startswith("//") and first not in names
    usual = "disk" if is_url else usual_backend(text)
    example = usual if usual in names else next(iter(names), "BACKEND")
    if is_url and _looks_like_a_name(first, names):
        raise AddressError(f"{text!r} is a URL: write BACKEND:PATH, such as {example}:a.tif")
    if not colon or not _looks_like_a_name(first, names):
        raise AddressError(f"{text!r} does not name a backend: write {example}:{text}")
    # "acme-disk:disk:a.tif": a distribution, and one of its backends.
    second, colon, rest = path.partition(":")
    if colon and first not in names and second in names:
        first, path = f"{first}:{second}", rest
    return Address(first, os.path.expanduser(path) or ".")


def complete_address(text: str, names: Collection[str]) -> Address:
    """Parse ``text``. Without a backend, it is a path in its usual backend."""
    try:
        return parse_address(text, names)
    except AddressError:
        return Address(usual_backend(text), text)


def is_directory(files: FileManager, address: Address) -> bool:
    """Whether there is a folder. ``False`` if the backend has no folders."""
    able = "is_dir" in files.registry[address.backend].capabilities
    return able and files.is_dir(address.path, backend=address.backend)


def _looks_like_a_name(text: str, names: Collection[str]) -> bool:
    # "C:\\x" is a path of Windows. No backend has a name of one letter.
    drive_letter = len(text) == 1 and text.isalpha()
    return text in names or (not drive_letter and _NAME.fullmatch(text) is not None)
