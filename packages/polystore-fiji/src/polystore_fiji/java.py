"""Find the Java on this machine, and check its version and whether it can open windows."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polystore_core.errors import InvalidOptionError, ReceiverUnavailableError

from . import places
from .jars import BACKEND

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Java", "find_bundled_java", "find_java", "read_java"]

OLDEST_JAVA = 8
_PROBE_SECONDS = 20.0  # a java on a network drive starts slowly
_GET_JAVA = (
    "install one (Debian: apt-get install default-jre; others: https://adoptium.net), or set "
    "POLYSTORE_JAVA to a java command"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Java:
    """A Java that runs on this machine."""

    command: Path
    version: str
    """Full version, such as "17.0.15" or "1.8.0_392"."""
    windows: bool
    """Whether it can open windows. A headless JRE cannot."""

    @property
    def feature(self) -> int:
        """Main version, such as 8 or 17."""
        return _feature(self.version)

    def __str__(self) -> str:
        windows = "" if self.windows else ", headless (it cannot open windows)"
        return f"{self.version}{windows}: {self.command}"


def find_java(*, folder: Path | None = None, windows: bool = True) -> Java:
    """Return the first Java that can run ImageJ.

    If POLYSTORE_JAVA is set, only that is tried. Otherwise the search order is: the Java of the
    Fiji in ``folder``, JAVA_HOME, the PATH, and the usual places of the system.

    Args:
        folder: Folder of a Fiji or ImageJ.
        windows: Whether Java must be able to open windows.

    Raises:
        ReceiverUnavailableError: There is no Java, it is too old, or it cannot open windows.
        InvalidOptionError: POLYSTORE_JAVA is not a java command.
    """
    given = os.environ.get("POLYSTORE_JAVA")
    commands = [Path(given)] if given else [*find_bundled_java(folder), *places.java_commands()]
    # Remember why a Java cannot be used: the error names the first one, and not just "not found".
    problems = []
    for command in dict.fromkeys(commands):
        java = read_java(command) if command.is_file() else None
        if java is None:
            continue
        if java.feature < OLDEST_JAVA:
            problems.append((f"{command} is Java {java.version}, not 8 or later", _GET_JAVA))
        elif windows and not java.windows:
            remedy = "(Debian: apt-get install default-jre), or open no windows: headless=True"
            trouble = f"{command} (Java {java.version}) is headless: it cannot open windows"
            problems.append((trouble, f"install a complete Java {remedy}, --headless"))
        else:
            return java
    if given and not problems:
        raise InvalidOptionError("POLYSTORE_JAVA", given, "the path of a java command")
    reason, advice = problems[0] if problems else ("Java was not found", _GET_JAVA)
    raise ReceiverUnavailableError(BACKEND, "ImageJ", f"cannot be started: {reason}", advice)


def find_bundled_java(folder: Path | None) -> Iterator[Path]:
    """Yield the java commands in the folder of a Fiji or ImageJ."""
    if folder is None:
        return
    java = "bin/java.exe" if sys.platform == "win32" else "bin/java"
    # For example java/linux64/zulu8…/jre, java/macos64/zulu21…/zulu-21.jdk/Contents/Home, or jre.
    below = ("jre", "java/*", "java/*/*", "java/*/*/jre", "java/*/*/Contents/Home")
    for pattern in (*below, "java/*/*/*/Contents/Home"):
        yield from sorted(folder.glob(f"{pattern}/{java}"), reverse=True)


def read_java(command: Path) -> Java | None:
    """Ask a java command for its version. Return ``None`` if it is not a Java."""
    try:
        done = subprocess.run(
            [str(command), "-XshowSettings:properties", "-version"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PROBE_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    said = done.stderr + done.stdout
    version = re.search(r"java\.version = (\S+)", said) or re.search(r'version "(.+?)"', said)
    if version is None:
        return None
    home = re.search(r"java\.home = (.+)", said)
    windows = home is None or _has_windows(Path(home[1].strip()))
    return Java(command=command, version=version[1], windows=windows)


def _feature(version: str) -> int:
    number = re.match(r"(?:1\.)?(\d+)", version)  # up to Java 8, versions start with "1."
    return int(number[1]) if number else 0


def _has_windows(home: Path) -> bool:
    """Whether a Java has the library for windows, which distributions package separately."""
    names = {"win32": ["bin/awt.dll"], "darwin": ["lib/libawt_lwawt.dylib"]}
    # In Java 8, the library is in a folder named after the processor.
    unix = ["lib/libawt_xawt.so", "lib/*/libawt_xawt.so"]
    return any(any(home.glob(name)) for name in names.get(sys.platform, unix))
