"""Nothing can be added to an archive, and the error names the alternatives."""

from __future__ import annotations

import os
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_core.errors import (
    BatchError,
    InvalidOptionError,
    PolystoreError,
    UnsupportedOperationError,
)

from .archives import (
    NAMES,
    VALUE,
    read_all_files,
    zip_group,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_testing import Bound

same = np.testing.assert_array_equal
ADVICE = r"written whole.*store="
"""Two ways to get more than one array into an archive: a zip backend, or a copied folder."""


@pytest.mark.parametrize("name", NAMES)
def test_adding_is_refused(store: Bound, name: str) -> None:
    """The error names two ways: a zip backend, or a folder that is then copied."""
    zip_group(name)
    before = read_all_files(".")
    zipped = name
    calls: list[Callable[[], object]] = [
        partial(store.save, VALUE, f"{zipped}/new"),
        partial(store.save, VALUE, f"{zipped}/a"),
        partial(store.save, VALUE[:16, :16], f"{zipped}/a", region=np.s_[:16, :16]),
        partial(store.open, f"{zipped}/a", mode="r+"),
        partial(store.create, f"{zipped}/new", shape=(4,), dtype="u1"),
        partial(store.ensure_directory, f"{zipped}/new"),
        partial(store.copy, f"{zipped}/a", f"{zipped}/b"),
        partial(store.delete, f"{zipped}/a"),
        partial(store.delete, f"{zipped}/h", recursive=True),
        partial(store.move, f"{zipped}/a", f"{zipped}/b"),
        partial(store.move, f"{zipped}/a", "moved.zarr"),
    ]
    for call in calls:
        with pytest.raises(UnsupportedOperationError, match=ADVICE) as caught:
            call()
        assert caught.value.backend == "store"
        assert zipped in str(caught.value)
        assert read_all_files(".") == before


@pytest.mark.parametrize("path", ["new.zarr.zip/a", "new.ozx/0/a", "new.ome.zarr.zip/A/01/0"])
def test_member_of_a_new_archive_is_refused(store: Bound, path: str) -> None:
    """A second member could never be added."""
    for call in (
        partial(store.save, VALUE, path),
        partial(store.create, path, shape=(4,), dtype="u1"),
        partial(store.ensure_directory, path),
    ):
        with pytest.raises(UnsupportedOperationError, match=ADVICE):
            call()
    assert os.listdir(".") == []


@pytest.mark.parametrize("name", ["new.zarr.zip", "new.ozx"])
def test_empty_archive_is_refused(store: Bound, name: str) -> None:
    for call in (
        partial(store.create, name, shape=(4,), dtype="u1"),
        partial(store.ensure_directory, name),
    ):
        with pytest.raises(UnsupportedOperationError, match=ADVICE):
            call()
    assert os.listdir(".") == []


def test_batch_into_one_archive_is_refused(store: Bound) -> None:
    with pytest.raises(BatchError) as caught:
        store.save_batch([VALUE] * 2, ["x.ozx/a", "x.ozx/b"])
    assert isinstance(caught.value.failed[0][1], UnsupportedOperationError)
    assert os.listdir(".") == []


@pytest.mark.skipif(os.open not in os.supports_dir_fd, reason="system: needs dir_fd")
@pytest.mark.parametrize("path", ["x.zarr.zip/../b", "x.ozx/../../b"])
def test_parent_of_an_archive_is_refused(store: Bound, path: str) -> None:
    with pytest.raises((InvalidOptionError, PolystoreError)):
        store.save(VALUE, path)
    assert os.listdir(".") == []
