"""Find the jar of the receiver in this distribution, and the jars in a Fiji."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path

from polystore_core.errors import IncompatibleReceiverError, ReceiverUnavailableError

__all__ = [
    "BACKEND",
    "JAR_NAME",
    "ReceiverJar",
    "check_installed",
    "find_installed_jars",
    "find_own_jar",
]

BACKEND = "fiji_stream"
JAR_NAME = "polystore_receiver.jar"
# Our jars of any version, in plugins/ or in a folder of it. ImageJ does not search deeper.
_PATTERNS = ("polystore_receiver*.jar", "*/polystore_receiver*.jar")
_HERE = Path(__file__).resolve().parent


@dataclass(frozen=True, slots=True)
class ReceiverJar:
    """A jar of the receiver."""

    path: Path
    version: str
    """Version of polystore-fiji, or "unknown" if the file is damaged."""
    protocol: tuple[int, int]
    """Major and minor version of the wire protocol, or (0, 0) if the file is damaged."""

    def __str__(self) -> str:
        major, minor = self.protocol
        return f"{self.version}, protocol {major}.{minor}"


def find_own_jar() -> ReceiverJar:
    """Return the jar of this distribution.

    Raises ``ReceiverUnavailableError`` if it was never compiled. That can happen in an editable
    install without a JDK.
    """
    path = _HERE / JAR_NAME
    if not path.is_file():
        script = _HERE.parents[1] / "build_receiver.py"
        raise ReceiverUnavailableError(
            BACKEND,
            "the receiver for ImageJ",
            f"has not been compiled ({path} is missing)",
            f"install a JDK and ImageJ's jar, and run: python {script}"
            if script.exists()
            else "install polystore-fiji again",
        )
    return _read(path)


def find_installed_jars(folder: Path) -> list[ReceiverJar]:
    """Return the receivers of all versions in the plugins of a Fiji or ImageJ."""
    plugins = folder / "plugins"
    return [_read(path) for pattern in _PATTERNS for path in sorted(plugins.glob(pattern))]


def check_installed(folder: Path) -> ReceiverJar:
    """Return the receiver in the plugins of ``folder``, if this distribution can use it.

    Raises:
        ReceiverUnavailableError: No receiver is installed.
        IncompatibleReceiverError: It has another protocol, or there are several. The error says
            which side to upgrade.
    """
    found, own = find_installed_jars(folder), find_own_jar()
    install = f'polystore-fiji install --fiji "{folder}"'
    if not found:
        reason = "does not have the receiver among its plugins"
        raise ReceiverUnavailableError(BACKEND, str(folder), reason, f"install it: {install}")
    # ImageJ loads the first one that it meets, perhaps the old one. So it must be the only one.
    if len(found) > 1:
        names = " and ".join(str(jar.path.relative_to(folder)) for jar in found)
        reason = f"has several receivers, but ImageJ loads only one of them: {names}"
        raise IncompatibleReceiverError(BACKEND, str(folder), reason, f"keep one: {install}")
    jar = found[0]
    if jar.protocol[0] == own.protocol[0]:
        return jar
    older = jar.protocol < own.protocol
    raise IncompatibleReceiverError(
        BACKEND,
        str(folder),
        f"has the receiver {jar}, but this polystore-fiji has {own}",
        f"update the receiver: {install}"
        if older
        else "update polystore-fiji: pip install --upgrade polystore-fiji",
    )


def _read(path: Path) -> ReceiverJar:
    try:
        with zipfile.ZipFile(path) as jar:
            text = jar.read("META-INF/MANIFEST.MF").decode("utf-8")
        # A manifest breaks lines after 72 bytes. The two that are used here are shorter.
        lines = dict(line.split(": ", 1) for line in text.split("\r\n") if ": " in line)
        major, minor = map(int, lines["Polystore-Protocol"].split("."))
        return ReceiverJar(path, lines["Implementation-Version"], (major, minor))
    except (OSError, zipfile.BadZipFile, KeyError, ValueError):
        return ReceiverJar(path, "unknown", (0, 0))
