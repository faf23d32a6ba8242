import shutil
import subprocess
import zipfile

import pytest

from polystore_zip.backend import ZipBackend


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "scan.zip")


@pytest.fixture
def backend(file):
    return ZipBackend(file=file)


@pytest.fixture
def check_others(file):
    """Return a function that checks the names of the archive and reads it with other programs."""

    def check(names):
        with zipfile.ZipFile(file) as archive:
            assert sorted(archive.namelist()) == sorted(names)
            assert archive.testzip() is None
        if shutil.which("unzip"):
            done = subprocess.run(["unzip", "-tq", file], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout

    return check
