"""Fixtures that encode values and damage bytes."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import pytest

from polystore_core import Format
from polystore_core.errors import DamagedDataError, UnsupportedDataError, UnsupportedFileError

Encode: TypeAlias = Callable[..., bytes]
Read: TypeAlias = Callable[..., Any]
Require: TypeAlias = Callable[[str], ModuleType]
Refusal: TypeAlias = Callable[[Format, Any], str]
ImageJ: TypeAlias = Callable[[str, Path], list[dict[str, Any]]]
Survivors: TypeAlias = Callable[[Format, bytes], list[Any]]

HARNESS = Path(__file__).with_name("imagej") / "Harness.java"


@pytest.fixture
def require() -> Require:
    """Import a module, or skip the test because it is not installed."""

    def import_module(name: str) -> ModuleType:
        module: ModuleType = pytest.importorskip(name, reason=f"{name} is not installed")
        return module

    return import_module


@pytest.fixture
def encode() -> Encode:
    """Encode a value in a format."""

    def write(format: Format, value: Any, **options: Any) -> bytes:
        file = io.BytesIO()
        format.save(value, file, **options)
        return file.getvalue()

    return write


@pytest.fixture
def read() -> Read:
    """Load a value of a format from bytes."""

    def load(format: Format, data: bytes, **options: Any) -> Any:
        return format.load(io.BytesIO(data), **options)

    return load


@pytest.fixture
def refusal() -> Refusal:
    """Return the error of a format that refuses a value before it writes anything."""

    def refuse(format: Format, value: Any) -> str:
        file = io.BytesIO()
        with pytest.raises(UnsupportedDataError) as caught:
            format.save(value, file)
        assert file.getvalue() == b""
        assert file.tell() == 0
        return str(caught.value)

    return refuse


@pytest.fixture
def survivors() -> Survivors:
    """Load 44 cuts and 120 changed bits of a file, and return the values that load.

    The others raise ``DamagedDataError``, or ``UnsupportedFileError`` if the changed bit marks,
    for example, a member as encrypted.
    """

    def load_all(format: Format, data: bytes) -> list[Any]:
        loaded = []
        for damaged in _damage(data):
            with contextlib.suppress(DamagedDataError, UnsupportedFileError):
                loaded.append(format.load(io.BytesIO(damaged)))
        return loaded

    return load_all


def _damage(data: bytes) -> Iterator[bytes]:
    for part in range(44):
        yield data[: part * len(data) // 44]
    chance = random.Random(0)
    for _ in range(120):
        changed = bytearray(data)
        changed[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        yield bytes(changed)


@pytest.fixture(scope="session")
def imagej() -> ImageJ:
    """Run ``imagej/Harness.java`` with a command and a folder, and return the lines it prints."""
    jar = os.environ.get("POLYSTORE_IJ", "/usr/share/java/ij.jar")
    missing = [name for name in ("java", "javac") if shutil.which(name) is None]
    if missing or not Path(jar).is_file():
        pytest.skip(
            f"no {' and no '.join(missing) or jar}: apt-get install imagej default-jdk-headless, "
            "or set POLYSTORE_IJ to an ij.jar"
        )

    def run(command: str, folder: Path) -> list[dict[str, Any]]:
        result = subprocess.run(
            ["java", "-Djava.awt.headless=true", "-cp", jar, HARNESS, command, folder],
            capture_output=True,
            encoding="utf-8",
            timeout=120,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        # Some versions of ImageJ print that they miss their tables of colours.
        lines = result.stdout.splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    return run


@pytest.fixture(scope="session")
def imagej_files(imagej: ImageJ, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with ROIs, a set of ROIs, and images that ImageJ wrote."""
    folder = tmp_path_factory.mktemp("imagej")
    imagej("make", folder)
    return folder
