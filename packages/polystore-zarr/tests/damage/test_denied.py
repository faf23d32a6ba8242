"""Stores that a user may not read or change."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from polystore_core.errors import AccessDeniedError

from .stores import LAYOUTS, VALUE, make_backend, needs_root, read_all_files

if TYPE_CHECKING:
    from collections.abc import Iterator

NOBODY = Path(__file__).with_name("nobody.py")


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that every user may read. The folders of pytest are closed to other users."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@needs_root
def test_denied_access_is_reported(public: Path) -> None:
    """A call that another user may not make is refused with the reason, and changes nothing."""
    root, backend = public, make_backend(public)
    for name in ("a", "closed", "no_chunk", "no_chunks"):
        backend.save(VALUE, f"a.zarr/{name}", chunks=16, shards=False)
    backend.save(VALUE, "a.zarr/no_chunks_zstd", **LAYOUTS["zstd"])
    backend.save(VALUE, "closed.zarr/a")
    backend.save(VALUE, "plate.ome.zarr/B/03/0", levels=1)
    backend.save(VALUE, "killed.zarr/a")
    (root / ".~ps-killed.zarr.aside/2/killed.zarr/b").mkdir(parents=True)
    (root / "unlisted").mkdir()
    (root / "unlisted").chmod(0o1733)
    (root / "closed.zarr").chmod(0o700)
    (root / "a.zarr/closed").chmod(0o700)
    (root / "a.zarr/no_chunk/c/0/0").chmod(0o600)
    (root / "a.zarr/no_chunks/c").chmod(0o700)
    (root / "a.zarr/no_chunks_zstd/c").chmod(0o700)
    before = read_all_files(root)
    ran = subprocess.run(
        [sys.executable, NOBODY, str(root)], capture_output=True, text=True, timeout=60
    )
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    assert found.pop("readable")[0] is True
    assert found.pop("listed")[0] == ["a"]
    for name, (kind, number, text) in found.items():
        assert (name, kind, number) == (name, AccessDeniedError.__name__, errno.EACCES), text
        assert "check the owner and the permissions" in text
    assert read_all_files(root) == before
