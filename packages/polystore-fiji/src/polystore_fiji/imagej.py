"""Find the ImageJ or Fiji on this machine, and its launcher. This module starts nothing."""

from __future__ import annotations

import os
import platform
import re
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

from polystore_core.errors import InvalidOptionError, ReceiverUnavailableError

from . import places
from .jars import BACKEND, find_installed_jars

__all__ = ["ImageJ", "find_imagej", "imagej_at", "imagej_folder", "installations"]

_GET_IMAGEJ = (
    "get Fiji (https://fiji.sc) and name its folder with --fiji, fiji= or POLYSTORE_FIJI, or "
    "ImageJ (Debian: apt-get install imagej) and name its ij.jar with --ij, ij= or POLYSTORE_IJ"
)
_FOLDER = "a folder of Fiji or ImageJ with jars/ij-1.*.jar or ij.jar, and plugins/"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageJ:
    """An installed ImageJ: a single jar, or the folder of a Fiji or ImageJ."""

    jar: Path
    version: str
    """Version of ImageJ 1, such as "1.53t"."""
    folder: Path | None = None
    """Folder with jars/ or ij.jar, and plugins/."""
    launcher: Path | None = None
    """Launcher of Fiji or ImageJ2 for this system."""

    def __str__(self) -> str:
        return f"{self.version}: {self.folder or self.jar}"


def find_imagej(
    *, fiji: str | os.PathLike[str] | None = None, ij: str | os.PathLike[str] | None = None
) -> ImageJ:
    """Return the ImageJ to start: the one that you name, or one that is found.

    Without arguments, POLYSTORE_FIJI and POLYSTORE_IJ are used. Without these, the usual places are
    searched: first a folder with our receiver, then another folder, then a jar of the system.

    Args:
        fiji: Folder of a Fiji or ImageJ, or a launcher in it.
        ij: An ij.jar.

    Raises:
        InvalidOptionError: The path is not an ImageJ.
        ReceiverUnavailableError: None is found.
    """
    if fiji is not None and ij is not None:
        raise InvalidOptionError("ij", os.fspath(ij), "None, because fiji= is given too")
    if fiji is None and ij is None:
        fiji = os.environ.get("POLYSTORE_FIJI") or None
        ij = None if fiji else os.environ.get("POLYSTORE_IJ") or None
        names = ("POLYSTORE_FIJI", "POLYSTORE_IJ")
    else:
        names = ("fiji", "ij")
    if fiji is not None:
        return imagej_at(fiji, option=names[0])
    if ij is not None:
        version = _imagej_version(Path(ij))
        if version is None:
            expected = "a jar of ImageJ 1, with the class ij.ImageJ"
            raise InvalidOptionError(names[1], os.fspath(ij), expected)
        return ImageJ(jar=Path(ij).absolute(), version=version)
    found = installations()
    if not found:
        raise ReceiverUnavailableError(BACKEND, "ImageJ", "was not found", _GET_IMAGEJ)
    # Of equals ``min`` returns the first, and ``installations`` lists folders before jars.
    return min(found, key=lambda one: not (one.folder and find_installed_jars(one.folder)))


def imagej_at(path: str | os.PathLike[str], option: str = "fiji") -> ImageJ:
    """Return the Fiji or ImageJ in a folder. See :func:`imagej_folder`."""
    imagej = _imagej_in(imagej_folder(path, option))
    if imagej is None:
        raise InvalidOptionError(option, os.fspath(path), f"{_FOLDER} (its jar is damaged)")
    return imagej


def _imagej_in(folder: Path) -> ImageJ | None:
    jar = places.ij_jar_in(folder)
    version = jar and _imagej_version(jar)
    if not jar or not version:
        return None
    return ImageJ(jar=jar, version=version, folder=folder, launcher=_launcher_in(folder))


def imagej_folder(path: str | os.PathLike[str], option: str = "fiji") -> Path:
    """Return the folder of a Fiji or ImageJ. ``path`` may also be a launcher in it, or its .app.

    Raises ``InvalidOptionError`` with the name ``option``.
    """
    place = Path(path).expanduser().absolute()
    around = [place]
    if place.is_file() or place.suffix == ".app":
        # The launcher may be four folders deep: Fiji/Fiji.app/Contents/MacOS/fiji-macos.
        around += list(place.resolve().parents)[:4]
    for folder in around:
        if places.ij_jar_in(folder) and (folder / "plugins").is_dir():
            return folder
    raise InvalidOptionError(option, os.fspath(path), _FOLDER + _explain_content(place))


def installations() -> list[ImageJ]:
    """Return each ImageJ in the usual places: folders first, jars of the system last."""
    folders = [folder for folder in places.fiji_folders() if (folder / "plugins").is_dir()]
    found = list(filter(None, map(_imagej_in, folders)))
    # A jar of the system may be a link into one of the folders.
    known = {imagej.jar for imagej in found}
    for jar in places.ij_jars():
        version = _imagej_version(jar)
        if version and jar not in known:
            found.append(ImageJ(jar=jar, version=version))
    return found


def _explain_content(place: Path) -> str:
    if not place.exists():
        return " (it does not exist)"
    if not place.is_dir():
        return " (it is a file, but not a launcher in such a folder)"
    names = sorted(os.listdir(place)) if os.access(place, os.R_OK) else []
    return f" (it holds {', '.join(names[:5])}{', …' * (len(names) > 5)})" if names else ""


def _launcher_in(folder: Path) -> Path | None:
    """Return the launcher of Fiji or ImageJ2 for this system.

    The names come from net.imagej.updater.util.Platforms of imagej-updater, and from the folders of
    fiji-builds.
    """
    arm = platform.machine().lower() in ("arm64", "aarch64")
    if sys.platform == "win32":
        names = [f"fiji-windows-{'arm64' if arm else 'x64'}.exe", "fiji-windows-x64.exe"]
        names += ["ImageJ-win64.exe"]
    elif sys.platform == "darwin":
        programs = [f"fiji-macos-{'arm64' if arm else 'x64'}", "fiji-macos", "ImageJ-macosx"]
        bundles = ("Fiji.app/Contents/MacOS", "Contents/MacOS")
        names = [f"{bundle}/{program}" for bundle in bundles for program in programs]
    else:
        names = ["fiji-linux-arm64"] if arm else ["fiji-linux-x64", "ImageJ-linux64"]
    return next((folder / name for name in names if (folder / name).is_file()), None)


def _imagej_version(jar: Path) -> str | None:
    """Read the version from a constant of the class ij.ImageJ, or return ``None``."""
    try:
        with zipfile.ZipFile(jar) as file:
            code = file.read("ij/ImageJ.class")
    except (OSError, zipfile.BadZipFile, KeyError):
        return None
    # A text in a class file has the byte 1, its length in two bytes, and its UTF-8.
    found = re.search(rb"\x01\x00[\x04-\x08](1\.\d\d[a-z]?\d*)", code)
    return found[1].decode() if found else "1"
