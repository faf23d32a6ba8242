"""List the usual places of Fiji, ImageJ and Java.

This module imports only the standard library, because the build script runs it, too.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["JAR_NAMES", "fiji_folders", "ij_jar_in", "ij_jars", "java_commands"]

# The jar of ImageJ 1 in a folder of Fiji or ImageJ2, of ImageJ, and of ImageJ's bundle for macOS.
JAR_NAMES = ("jars/ij-1.*.jar", "ij.jar", "ImageJ.app/Contents/Java/ij.jar")
# Debian and Ubuntu (imagej), Fedora (java packages).
_SYSTEM_JARS = ("/usr/share/java/ij.jar",)
_FOLDER_NAMES = ("Fiji.app", "Fiji", "fiji", "ImageJ.app", "ImageJ")
_COMMANDS = ("fiji", "imagej", "ImageJ")


def fiji_folders() -> Iterator[Path]:
    """Yield the folders of Fiji or ImageJ that are in a usual place, or on the PATH."""
    home = Path.home()
    parents = [home, home / "Applications", home / "Desktop", home / "Downloads"]
    if sys.platform == "win32":
        variables = ("PROGRAMFILES", "LOCALAPPDATA", "SYSTEMDRIVE")
        values = filter(None, map(os.environ.get, variables))
        parents += [Path(f"{value}{os.sep}") for value in values]
    elif sys.platform == "darwin":
        parents += [Path("/Applications")]
    else:
        parents += map(Path, ("/opt", "/usr/local", "/usr/local/share", "/usr/lib"))
    found = (parent / name for parent in parents for name in _FOLDER_NAMES)
    seen = set()
    for folder in (*found, *_folders_on_path()):
        # On macOS the bundle may be in its own folder: Fiji/Fiji.app.
        for place in (folder, folder.parent) if folder.suffix == ".app" else (folder,):
            if ij_jar_in(place) and place.resolve() not in seen:
                seen.add(place.resolve())
                yield place


def _folders_on_path() -> Iterator[Path]:
    for command in _COMMANDS:
        found = shutil.which(command)
        if found:  # usually a link to the launcher, in the folder itself or in Contents/MacOS
            yield from list(Path(found).resolve().parents)[:3]


def ij_jar_in(folder: Path) -> Path | None:
    """Return the newest jar of ImageJ 1 in a folder of Fiji or ImageJ, or ``None``."""
    for pattern in JAR_NAMES:
        found = sorted(folder.glob(pattern), key=lambda jar: (len(jar.name), jar.name))
        if found:
            return found[-1]
    return None


def ij_jars() -> Iterator[Path]:
    """Yield the jars of ImageJ in usual places: those of the system, then those of folders."""
    yield from (Path(jar) for jar in _SYSTEM_JARS if os.path.isfile(jar))
    yield from (jar for jar in map(ij_jar_in, fiji_folders()) if jar)


def java_commands() -> Iterator[Path]:
    """Yield the java commands of JAVA_HOME, of the PATH and of the usual places of the system."""
    name = "java.exe" if sys.platform == "win32" else "java"
    home = os.environ.get("JAVA_HOME")
    if home:
        yield Path(home, "bin", name)
    on_path = shutil.which("java")
    if on_path:
        yield Path(on_path)
    patterns = {
        "darwin": [
            "/Library/Java/JavaVirtualMachines/*/Contents/Home/bin/java",
            "/opt/homebrew/opt/openjdk*/bin/java",
            "/usr/local/opt/openjdk*/bin/java",
        ],
        "win32": [
            f"{os.environ.get('PROGRAMFILES', 'C:/Program Files')}/{vendor}/*/bin/java.exe"
            for vendor in ("Java", "Eclipse Adoptium", "Zulu", "Microsoft", "Amazon Corretto")
        ],
    }.get(sys.platform, ["/usr/lib/jvm/*/bin/java"])
    for pattern in patterns:
        anchor = Path(Path(pattern).anchor)
        yield from sorted(anchor.glob(str(Path(pattern).relative_to(anchor))), reverse=True)
