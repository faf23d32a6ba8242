"""Promises of backends that can be read."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import DataSink, DataSource
from polystore_core.errors import (
    BatchError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotFoundError,
    UnknownOptionError,
    UnsupportedOperationError,
)

from .conformance import NAME, Bound
from .copies import CopyTests
from .promises import check_refusal, promises
from .values import assert_same, image

if TYPE_CHECKING:
    from collections.abc import Mapping

    from polystore_core import Value

__all__ = ["REGIONS", "SourceTests"]

REGIONS = [
    pytest.param(np.s_[1], id="row"),
    pytest.param(np.s_[1:3], id="rows"),
    pytest.param(np.s_[..., 2], id="column"),
    pytest.param(np.s_[1, 1:4:2], id="step"),
    pytest.param(np.s_[-1, -2], id="pixel"),
    pytest.param(np.s_[...], id="all"),
    pytest.param(np.s_[2:2], id="nothing"),
]

# The order matters: calls that read "a.npy" come before those that remove it.
_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "load": ("a.npy",),
    "load_batch": (["a.npy"],),
    "open": ("a.npy",),
    "info": ("a.npy",),
    "exists": ("a.npy",),
    "is_file": ("a.npy",),
    "is_dir": ("a.npy",),
    "is_symlink": ("a.npy",),
    "list_dir": (".",),
    "list_files": (".",),
    "list_image_files": (".",),
    "find_file_recursive": (".", "a.npy"),
    "collect_dirs_and_files": (".",),
    "save": (image(), "new.npy"),
    "save_batch": ([image()], ["newer.npy"]),
    "create": ("created.npy",),
    "ensure_directory": ("folder",),
    "delete": ("a.npy",),
    "delete_all": ("a.npy",),
    "copy": ("a.npy", "copy.npy"),
    "move": ("a.npy", "moved.npy"),
    "create_symlink": ("a.npy", "link.npy"),
    "mirror_directory_with_symlinks": (".", "mirror"),
}


_KEYWORDS: dict[str, dict[str, Any]] = {"create": {"shape": (2, 3), "dtype": "uint16"}}


class SourceTests(CopyTests):
    """Reading works the same everywhere.

    If your backend cannot be written to, override ``existing`` as well.
    """

    @pytest.fixture
    def existing(self, store: Bound) -> Mapping[str, Value]:
        """Save some values and return them by their paths. A read-only backend returns its own."""
        values = {
            "a.npy": image(1),
            "folder/b.npy": image(2),
            "folder/c10.npy": image(3),
            "folder/c9.npy": image(4),
        }
        store.save_batch(list(values.values()), list(values))
        return values

    def test_load_gives_equal(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A loaded value equals the stored value."""
        for path, value in existing.items():
            assert_same(store.load(path), value)

    def test_missing_is_named(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """Loading a missing value raises ``NotFoundError`` with its path and backend."""
        with pytest.raises(FileNotFoundError) as caught:
            store.load("folder/missing.npy")
        assert isinstance(caught.value, NotFoundError)
        assert caught.value.backend == NAME
        assert caught.value.path == "folder/missing.npy"

    def test_unknown_option_refused(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A misspelt option is refused."""
        with pytest.raises(UnknownOptionError, match="'regoin'"):
            store.load("a.npy", regoin=np.s_[0])

    def test_batch_keeps_order(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A batch returns its values in the order of the paths."""
        # Each path comes twice, because threads may finish in any order.
        paths = [*existing, *reversed(list(existing))]
        for path, value in zip(paths, store.load_batch(paths), strict=True):
            assert_same(value, existing[path])

    def test_batch_names_failures(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A failed batch names every path that failed, and the paths that were loaded."""
        first = next(iter(existing))
        with pytest.raises(BatchError) as caught:
            store.load_batch(["no1.npy", first, "no2.npy"])
        assert [path for path, _ in caught.value.failed.values()] == ["no1.npy", "no2.npy"]
        assert all(isinstance(e, NotFoundError) for _, e in caught.value.failed.values())
        assert caught.value.done == (first,)
        assert "no1.npy" in str(caught.value)

    def test_batch_reports_progress(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A batch reports its progress after each value."""
        seen: list[tuple[int, int]] = []
        store.load_batch(
            list(existing), progress=lambda done, total: seen.append((done, total))
        )
        assert seen == [(i + 1, len(existing)) for i in range(len(existing))]

    def test_batch_stacks(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """``stack=True`` returns one array, equal to the stacked values."""
        paths = [*existing, *reversed(list(existing))]
        stacked = store.load_batch(paths, stack=True)
        assert type(stacked) is np.ndarray
        assert stacked.flags.writeable
        assert_same(stacked, np.stack([existing[path] for path in paths]))
        part = store.load_batch(paths, stack=True, region=np.s_[1:3, 2])
        assert_same(part, np.stack([existing[path][1:3, 2] for path in paths]))
        floats = store.load_batch(paths, stack=True, dtype="f4")
        assert_same(floats, stacked.astype("f4"))

    def test_stack_names_failures(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A failed stack names every path that failed."""
        first = next(iter(existing))
        with pytest.raises(BatchError) as caught:
            store.load_batch([first, "no1.npy", first, "no2.npy"], stack=True)
        assert [path for path, _ in caught.value.failed.values()] == ["no1.npy", "no2.npy"]
        assert all(isinstance(e, NotFoundError) for _, e in caught.value.failed.values())

    def test_empty_batch_is_fine(self, store: Bound) -> None:
        """An empty batch returns an empty list."""
        assert store.load_batch([]) == []

    @pytest.mark.parametrize("region", REGIONS)
    def test_region_equals_indexing(
        self, store: Bound, existing: Mapping[str, Value], region: Value
    ) -> None:
        """``region=`` returns what indexing the whole array returns."""
        np.testing.assert_array_equal(
            store.load("a.npy", region=region), existing["a.npy"][region]
        )

    def test_region_outside_refused(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """A region outside the array raises ``IndexError``."""
        with pytest.raises(IndexError):
            store.load("a.npy", region=np.s_[99])

    @pytest.mark.parametrize("region", REGIONS)
    def test_handle_reads_parts(
        self, store: Bound, existing: Mapping[str, Value], region: Value
    ) -> None:
        """Indexing an open handle returns what indexing the whole array returns."""
        expected = existing["a.npy"]
        with store.open("a.npy") as handle:
            assert (handle.shape, handle.dtype) == (expected.shape, expected.dtype)
            assert (handle.ndim, handle.nbytes) == (expected.ndim, expected.nbytes)
            np.testing.assert_array_equal(handle[region], expected[region])
            # NumPy and other frameworks read the handle through __array__.
            np.testing.assert_array_equal(np.asarray(handle), expected)

    def test_handle_pickles(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """An open handle can be pickled."""
        handle = pickle.loads(pickle.dumps(store.open("a.npy")))  # noqa: S301
        np.testing.assert_array_equal(handle[...], existing["a.npy"])

    def test_info_describes_array(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """``info`` returns the shape and the element type."""
        info = store.info("a.npy")
        assert (info.path, info.kind) == ("a.npy", "file")
        assert (info.shape, info.dtype) == (
            existing["a.npy"].shape,
            existing["a.npy"].dtype.str,
        )

    def test_kinds_are_told(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """``exists``, ``is_file`` and ``is_dir`` agree on files, folders and missing paths."""
        table = {
            path: (store.exists(path), store.is_file(path), store.is_dir(path))
            for path in (
                "a.npy",
                "folder",
                "folder/b.npy",
                "nothing",
                "nothing/b.npy",
                "a.npy/b",
            )
        }
        assert table == {
            "a.npy": (True, True, False),
            "folder": (True, False, True),
            "folder/b.npy": (True, True, False),
            "nothing": (False, False, False),
            "nothing/b.npy": (False, False, False),
            "a.npy/b": (False, False, False),
        }
        assert not store.is_symlink("a.npy")

    def test_lists_are_natural(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """Listings are in natural order: "c9" comes before "c10"."""
        inside = ["folder/b.npy", "folder/c9.npy", "folder/c10.npy"]
        assert store.list_dir(".") == ["a.npy", "folder"]
        assert store.list_files("folder") == inside
        assert store.list_files(".") == ["a.npy"]
        assert store.list_files(".", recursive=True) == ["a.npy", *inside]
        assert store.list_files("folder", pattern="c*") == inside[1:]
        # Instruments write .TIF as well as .tif, so the case of a suffix does not count.
        assert store.list_files("folder", suffixes=[".NPY"]) == inside
        assert store.list_files("folder", suffixes=[".tif"]) == []
        assert store.list_image_files("folder") == []
        assert store.collect_dirs_and_files(".") == (["folder"], ["a.npy", *inside])
        assert store.find_file_recursive(".", "c9.npy") == "folder/c9.npy"
        assert store.find_file_recursive(".", "c8.npy") is None

    def test_watch_gives_files_and_frames(
        self, store: Bound, existing: Mapping[str, Value]
    ) -> None:
        """``watch`` yields the files of a folder, and the frames of a stack."""
        files = list(store.watch("folder", pattern="c*", settle=0, timeout=0))
        assert [file.path for file in files] == ["folder/c9.npy", "folder/c10.npy"]
        for file in files:
            assert_same(file.load(), existing[file.path])
        frames = list(store.watch("a.npy", start=1, settle=0, timeout=0))
        assert [frame.index for frame in frames] == list(range(1, len(existing["a.npy"])))
        for frame in frames:
            assert_same(frame.load(), existing["a.npy"][frame.index])

    @pytest.mark.parametrize("pattern", ["**/*.npy", "folder/*.npy", "**"])
    def test_pattern_is_for_names(
        self, store: Bound, existing: Mapping[str, Value], pattern: str
    ) -> None:
        """A pattern with a folder is refused, because it would match nothing."""
        for operation in (store.list_files, store.list_image_files):
            with pytest.raises(InvalidOptionError, match="recursive=True"):
                operation(".", pattern=pattern)
        with pytest.raises(InvalidOptionError, match="suffixes="):
            store.list_files(".", suffixes=".npy")
        with pytest.raises(InvalidOptionError, match="name="):
            store.find_file_recursive(".", "folder/b.npy")

    def test_missing_folder_named(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """Listing a missing folder raises ``NotFoundError``."""
        for operation in (store.list_dir, store.list_files, store.collect_dirs_and_files):
            with pytest.raises(NotFoundError):
                operation("nothing")

    def test_file_is_no_folder(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """Listing a file raises ``NotADirectoryInPathError``."""
        with pytest.raises(NotADirectoryInPathError):
            store.list_dir("a.npy")

    def test_capabilities_are_true(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """``capabilities`` has exactly the operations that the backend does not refuse."""
        backend = store.instance
        claimed = backend.capabilities
        # Call every operation, because a backend may claim one that its store then refuses.
        for operation, arguments in _ARGUMENTS.items():
            method = getattr(backend, operation, None)
            if method is None:
                assert operation not in claimed
                continue
            try:
                method(*arguments, **_KEYWORDS.get(operation, {}))
            except (UnsupportedOperationError, BatchError) as error:
                assert operation not in claimed
                if operation != "create":  # it may be refused although the store allows all
                    check_refusal(_first(error), backend)
            except OSError:  # an earlier operation of the table has removed the file
                assert operation in claimed
            else:
                assert operation in claimed

    def test_role_matches_type(self, store: Bound) -> None:
        """A backend that reads is a ``DataSource``, and one that writes is a ``DataSink``."""
        backend = store.instance
        assert backend.capabilities.reads == isinstance(backend, DataSource)
        # An instance may do less than its class, for example if its file is read-only.
        writes = promises(backend, "replace") or promises(backend, "create_only")
        assert backend.capabilities.writes == (isinstance(backend, DataSink) and writes)

    def test_repr_names_backend(self, store: Bound) -> None:
        """The ``repr`` of a backend has its name."""
        assert NAME in repr(store.instance)


def _first(error: UnsupportedOperationError | BatchError) -> UnsupportedOperationError:
    """Return the refusal. A batch has it as the cause of its first failure."""
    if isinstance(error, BatchError):
        (_, cause), *_ = error.failed.values()
        assert isinstance(cause, UnsupportedOperationError)
        return cause
    return error
