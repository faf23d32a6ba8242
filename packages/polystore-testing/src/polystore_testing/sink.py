"""Promises of backends that can be written to."""

from __future__ import annotations

import io

import pytest

from polystore_core import DataSource
from polystore_core.errors import (
    BatchLengthError,
    DuplicatePathError,
    InvalidOptionError,
    NotAPathError,
    UnknownOptionError,
    UnsupportedDataError,
    UnsupportedOperationError,
)

from .conformance import Bound, Conformance
from .values import image

__all__ = ["SinkTests"]


class SinkTests(Conformance):
    """Writing works the same everywhere, also for viewers, which cannot be read back."""

    def test_save_returns_nothing(self, store: Bound) -> None:
        """``save`` returns ``None``."""
        assert store.save(image(), "a.npy") is None

    def test_path_may_be_pathlike(self, store: Bound) -> None:
        """A path may be a ``pathlib`` path."""
        from pathlib import PurePosixPath

        store.save(image(), PurePosixPath("folder/a.npy"))

    def test_swapped_arguments_told(self, store: Bound) -> None:
        """Swapped arguments raise an error that says so."""
        with pytest.raises(NotAPathError, match="swapped"):
            store.save("a.npy", image())
        with pytest.raises(NotAPathError, match="swapped"):
            store.save_batch(["a.npy"], [image()])

    def test_open_file_is_no_path(self, store: Bound) -> None:
        """An open file instead of a path is refused, with advice."""
        with pytest.raises(NotAPathError, match="pass the path of the file"):
            store.save(image(), io.BytesIO())

    def test_misspelt_option_refused(self, store: Bound) -> None:
        """A misspelt option is refused."""
        with pytest.raises(UnknownOptionError, match="'compresion'"):
            store.save(image(), "a.npy", compresion="zlib")

    def test_one_path_is_no_batch(self, store: Bound) -> None:
        """A single path is refused where a list of paths is expected."""
        with pytest.raises(InvalidOptionError):
            store.save_batch([image()], "a.npy")

    def test_lengths_must_match(self, store: Bound) -> None:
        """A batch needs as many values as paths."""
        with pytest.raises(BatchLengthError, match="2 values for 1 paths"):
            store.save_batch([image(), image()], ["a.npy"])

    @pytest.mark.parametrize("twin", ["a.npy", "./a.npy"])
    def test_paths_must_differ(self, store: Bound, twin: str) -> None:
        """A batch refuses two equal paths before it saves anything."""
        with pytest.raises(DuplicatePathError, match=r"\[0\] and \[2\]"):
            store.save_batch([image(1), image(2), image(3)], ["a.npy", "b.npy", twin])
        # Nothing of the batch may be saved. A viewer cannot be asked.
        if isinstance(store.instance, DataSource) and "exists" in store.instance.capabilities:
            assert not store.exists("b.npy")

    def test_batch_saves_progress(self, store: Bound) -> None:
        """A batch reports its progress after each value."""
        seen: list[tuple[int, int]] = []
        store.save_batch(
            [image(1), image(2)],
            ["a.npy", "b.npy"],
            progress=lambda done, total: seen.append((done, total)),
        )
        assert seen == [(1, 2), (2, 2)]

    def test_impossible_value_refused(self, store: Bound) -> None:
        """A value that cannot be stored raises ``UnsupportedDataError``."""
        with pytest.raises(UnsupportedDataError):
            store.save(_Unstorable(), "a.npy")

    def test_sink_refuses_reading(self, store: Bound) -> None:
        """A backend that cannot read refuses all reading operations."""
        # A viewer is not a storage, but it may return the pixels that it shows.
        own = store.instance.capabilities.operations
        for operation in {"load", "open", "list_files", "exists"} - own:
            with pytest.raises(UnsupportedOperationError):
                getattr(store, operation)("a.npy")


class _Unstorable:
    """A value that is not an array and cannot be copied or pickled."""

    def __deepcopy__(self, memo: object) -> _Unstorable:
        # The memory backend stores any object that it can copy, so only such a value is
        # refused by every backend.
        raise TypeError("cannot be copied")
