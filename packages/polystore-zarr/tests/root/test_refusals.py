"""Options that cannot be confined to a root are refused when the backend is made."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from polystore_core import BackendRegistry, LocalStore
from polystore_core.errors import InvalidOptionError, UnsupportedOperationError
from polystore_zarr.backend import ZarrBackend

from .trees import NEW, needs_dir_fd

if TYPE_CHECKING:
    from pathlib import Path


@needs_dir_fd
@pytest.mark.parametrize("option", ["root", "store"])
def test_zarrs_cannot_be_confined(tmp_path: Path, option: str) -> None:
    """The pipeline zarrs opens files by their paths, in Rust."""
    value = tmp_path if option == "root" else LocalStore(tmp_path)
    with pytest.raises(UnsupportedOperationError, match=rf"zarrs.*{option}="):
        ZarrBackend(**{option: value}, codec_pipeline="zarrs")
    registry = BackendRegistry()
    registry.add("z", "zarr", codec_pipeline="zarrs", **{option: value})
    with pytest.raises(UnsupportedOperationError, match=rf"'z'.*zarrs.*{option}="):
        registry["z"].save(NEW, "a.zarr")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("pipeline", ["zarr", "zarrs"])
def test_both_pipelines_without_a_root(pipeline: str) -> None:
    assert ZarrBackend(codec_pipeline=pipeline).codec_pipeline == pipeline


@pytest.mark.parametrize("pipeline", ["rust", "", None])
def test_unknown_pipeline_is_named(tmp_path: Path, pipeline: str) -> None:
    for options in ({}, {"root": tmp_path}):
        with pytest.raises(InvalidOptionError, match="'zarr' or 'zarrs'"):
            ZarrBackend(codec_pipeline=pipeline, **options)


def test_root_needs_a_system_with_dir_fd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On Windows the backend could not keep its promise. The disk backend has the same limit."""
    monkeypatch.setattr(os, "supports_dir_fd", set())
    with pytest.raises(
        UnsupportedOperationError, match=r"root=.*relative to a directory"
    ) as caught:
        ZarrBackend(root=tmp_path / "root")
    assert "disk" not in str(caught.value)
    assert not (tmp_path / "root").exists()
    ZarrBackend()  # no root, so this works on any system


@needs_dir_fd
def test_root_and_store_exclude_each_other(tmp_path: Path) -> None:
    with pytest.raises(InvalidOptionError, match="root="):
        ZarrBackend(root=tmp_path, store=LocalStore(tmp_path))
