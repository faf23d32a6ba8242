"""Promises of backends that keep the values that were saved."""

from __future__ import annotations

import multiprocessing
import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import pytest

from polystore_core import FileManager
from polystore_core.errors import (
    AlreadyExistsError,
    BatchError,
    DamagedDataError,
    DirectoryNotEmptyError,
    InvalidOptionError,
    NotADirectoryInPathError,
    NotAFileError,
    NotFoundError,
    PathOutsideRootError,
    RequestError,
    UnsupportedDataError,
)

from .conformance import NAME, Bound
from .images import ImageTests
from .promises import needs, nests_values, promises, refuses
from .sink import SinkTests, _Unstorable
from .source import SourceTests
from .values import ARRAYS, assert_same, image, make_measured

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import Value

__all__ = ["StorageTests"]

OUTSIDE = ["../a.npy", "folder/../../a.npy", "/a.npy", "./../a.npy"]


class StorageTests(SourceTests, SinkTests, ImageTests):
    """A storage returns every value as it was saved. The backend under test has a root."""

    persistent: ClassVar[bool] = True
    """Whether other processes see the values. ``False``: the values stay in their process."""
    refused: ClassVar[frozenset[str]] = frozenset()
    """Ids of ``values.ARRAYS`` that the storage cannot hold. It must refuse them."""

    @pytest.fixture
    def damage(self) -> Callable[[str], None] | None:
        """Return a function that cuts the stored bytes of a path short, or ``None``."""
        return None

    # ── saving ───────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("value", ARRAYS)
    def test_value_comes_back(
        self, store: Bound, value: Value, request: pytest.FixtureRequest
    ) -> None:
        """Every kind of array is loaded as it was saved, or refused."""
        if request.node.callspec.id in self.refused:
            with pytest.raises(UnsupportedDataError):
                store.save(value, "a.npy")
            assert not store.exists("a.npy")
            return
        store.save(value, "a.npy")
        assert_same(store.load("a.npy"), value)

    @needs("replace")
    def test_save_replaces_whole(self, store: Bound) -> None:
        """A save replaces the old value completely."""
        # The old value is longer: a save that only overwrites the start would leave its end.
        store.save(image(1, (40, 50)), "a.npy")
        store.save(image(2), "a.npy")
        assert_same(store.load("a.npy"), image(2))

    def test_missing_folders_made(self, store: Bound) -> None:
        """A save creates missing folders."""
        store.save(image(), "x/y/z/a.npy")
        assert store.is_dir("x/y/z")

    @needs("create_only")
    def test_existing_may_stay(self, store: Bound) -> None:
        """``if_exists="skip"`` keeps an existing value."""
        store.save(image(1), "a.npy")
        store.save(image(2), "a.npy", if_exists="skip")
        assert_same(store.load("a.npy"), image(1))
        store.save(image(3), "new.npy", if_exists="skip")
        assert_same(store.load("new.npy"), image(3))

    @needs("create_only")
    def test_existing_may_refuse(self, store: Bound) -> None:
        """``if_exists="error"`` raises ``AlreadyExistsError`` and keeps the existing value."""
        store.save(image(1), "a.npy", if_exists="error")
        with pytest.raises(FileExistsError) as caught:
            store.save(image(2), "a.npy", if_exists="error")
        assert isinstance(caught.value, AlreadyExistsError)
        assert_same(store.load("a.npy"), image(1))

    def test_if_exists_is_checked(self, store: Bound) -> None:
        """An unknown value of ``if_exists=`` is refused before anything is saved."""
        with pytest.raises(InvalidOptionError, match="replace"):
            store.save(image(), "a.npy", if_exists="overwrite")
        assert not store.exists("a.npy")

    def test_saved_value_is_free(self, store: Bound) -> None:
        """Changing an array after its save does not change the stored value."""
        value = image()
        store.save(value, "a.npy")
        value[:] = 0
        assert_same(store.load("a.npy"), image())

    def test_loaded_value_is_free(self, store: Bound) -> None:
        """Changing a loaded array does not change the stored value."""
        store.save(image(), "a.npy")
        store.load("a.npy")[:] = 0
        assert_same(store.load("a.npy"), image())

    @needs("replace")
    def test_refused_value_leaves_old(self, store: Bound) -> None:
        """A refused value leaves the old value as it was."""
        store.save(image(1), "a.npy")
        with pytest.raises(UnsupportedDataError) as caught:
            store.save(_Unstorable(), "a.npy")
        assert "cannot" in str(caught.value)
        assert_same(store.load("a.npy"), image(1))

    def test_refused_value_leaves_nothing(self, store: Bound) -> None:
        """A refused value leaves neither a file nor a folder."""
        store.save(image(), "a.npy")
        # The folder "x" must not stay either.
        with pytest.raises(UnsupportedDataError):
            store.save(_Unstorable(), "x/b.npy")
        assert store.list_dir(".") == ["a.npy"]

    def test_unit_is_never_lost(self, store: Bound) -> None:
        """An array with a unit is loaded with its unit, or refused."""
        try:
            store.save(make_measured(), "a.npy")
        except UnsupportedDataError:
            assert not store.exists("a.npy")
        else:
            assert_same(store.load("a.npy"), make_measured())
            assert store.load("a.npy").unit == "µm"

    def test_dtype_changes_no_value(self, store: Bound) -> None:
        """``dtype=`` refuses to change values, unless ``casting="unsafe"`` allows it."""
        store.save(np.array([[300, 7]], "uint16"), "a.npy")
        store.save(np.array([[255, 7]], "uint16"), "b.npy")
        with pytest.raises(UnsupportedDataError, match=r"'a\.npy' .* at \[0, 0\] is 300"):
            store.load("a.npy", dtype="uint8")
        assert_same(store.load("b.npy", dtype="uint8"), np.array([[255, 7]], "uint8"))
        unsafe = store.load("a.npy", dtype="uint8", casting="unsafe")
        assert_same(unsafe, np.array([[44, 7]], "uint8"))

    def test_folder_is_no_file(self, store: Bound) -> None:
        """Loading a folder, or saving to it, raises ``NotAFileError``."""
        for folder in ("folder.npy", "folder"):
            if promises(store.instance, "folders"):
                store.ensure_directory(folder)
            else:
                store.save(image(), f"{folder}/inside.npy")
            calls: list[Callable[[], Any]] = [lambda: store.load(folder)]  # noqa: B023
            if folder == "folder" or not nests_values(store.instance):
                calls.append(lambda: store.save(image(), folder))  # noqa: B023
            for call in calls:
                with pytest.raises(IsADirectoryError) as caught:
                    call()
                assert isinstance(caught.value, NotAFileError)

    def test_file_is_no_parent(self, store: Bound) -> None:
        """A value below another value is stored next to it, or refused."""
        store.save(image(), "a.npy")
        if nests_values(store.instance):
            store.save(image(1), "a.npy/b.npy")
            assert_same(store.load("a.npy/b.npy"), image(1))
        else:
            with pytest.raises(NotADirectoryInPathError):
                store.save(image(), "a.npy/b.npy")
            with refuses(store, "ensure_directory", NotADirectoryInPathError):
                store.ensure_directory("a.npy")
        assert_same(store.load("a.npy"), image())

    def test_batch_stops_at_failure(self, store: Bound) -> None:
        """A batch stops at the first failure, and names the done and the open paths."""
        replaces = promises(store.instance, "replace")
        if replaces:
            store.save(image(9), "c.npy")
        with pytest.raises(BatchError) as caught:
            store.save_batch([image(1), _Unstorable(), image(3)], ["a.npy", "b.npy", "c.npy"])
        assert caught.value.failed_index == 1
        assert caught.value.done == ("a.npy",)
        assert caught.value.not_attempted == ("c.npy",)
        assert_same(store.load("a.npy"), image(1))
        if replaces:
            assert_same(store.load("c.npy"), image(9))
        else:
            assert not store.exists("c.npy")

    @pytest.mark.parametrize("path", ["", "a\0b.npy"])
    def test_impossible_path_refused(self, store: Bound, path: str) -> None:
        """An empty path and a path with a NUL character are refused."""
        calls: list[tuple[Any, ...]] = [
            ("load", path),
            ("delete", path),
            ("save", image(), path),
        ]
        for operation, *arguments in calls:
            with refuses(store, operation, InvalidOptionError):
                getattr(store, operation)(*arguments)

    @pytest.mark.parametrize(
        "path", ["s3://b/a.npy", "file:///b/a.npy", "s3:/b/a.npy", "~/a.npy"]
    )
    def test_path_is_local(self, store: Bound, path: str) -> None:
        """URLs and "~" are refused, because they would create folders with these names.

        Override it for a storage whose paths are URLs.
        """
        store.save(image(), "a.npy")
        calls: list[tuple[Any, ...]] = [
            ("load", path),
            ("info", path),
            ("exists", path),
            ("list_files", path),
            ("delete", path),
            ("ensure_directory", path),
            ("save", image(), path),
            ("copy", "a.npy", path),
            ("move", "a.npy", path),
        ]
        for operation, *arguments in calls:
            with refuses(store, operation, InvalidOptionError, match="path="):
                getattr(store, operation)(*arguments)
        assert store.list_dir(".") == ["a.npy"]

    @pytest.mark.parametrize("name", ["._a.npy", ".DS_Store", "Thumbs.db"])
    def test_litter_is_not_saved(self, store: Bound, name: str) -> None:
        """Names of files that file browsers create are refused, because listings skip them."""
        store.save(image(), "a.npy")
        calls = [("save", image()), ("copy", "a.npy"), ("move", "a.npy")]
        for operation, argument in calls:
            for path in (name, f"f/{name}"):
                with refuses(store, operation, InvalidOptionError, match="file browsers"):
                    getattr(store, operation)(argument, path)
        assert store.list_dir(".") == ["a.npy"]

    def test_damage_is_noticed(
        self, store: Bound, damage: Callable[[str], None] | None
    ) -> None:
        """A stored value that was cut short raises ``DamagedDataError`` with its path."""
        # A test that silently skips would hide a missing check, so only stores in memory may.
        if damage is None:
            assert not self.persistent, "a persistent backend must supply `damage`"
            return
        store.save(image(shape=(50, 60)), "a.npy")
        damage("a.npy")
        with pytest.raises(DamagedDataError) as caught:
            store.load("a.npy")
        assert caught.value.path == "a.npy"
        assert caught.value.backend == NAME

    # ── names ────────────────────────────────────────────────────────────────────────────

    @needs("delete", "move")
    def test_listing_follows_changes(self, store: Bound) -> None:
        """A listing shows every move and deletion at once."""
        store.save_batch([image(), image()], ["f/a.npy", "f/b.npy"])
        store.move("f/a.npy", "f/c.npy")
        store.delete("f/b.npy")
        assert store.list_files("f") == ["f/c.npy"]

    @needs("delete")
    def test_delete_missing_refused(self, store: Bound) -> None:
        """Deleting a missing value raises ``NotFoundError``."""
        with pytest.raises(NotFoundError):
            store.delete("a.npy")

    @needs("delete")
    def test_full_folder_stays(self, store: Bound) -> None:
        """A folder with values is deleted only with ``recursive=True``."""
        store.save(image(), "f/g/a.npy")
        with pytest.raises(DirectoryNotEmptyError, match="recursive=True"):
            store.delete("f")
        assert store.exists("f/g/a.npy")
        store.delete("f", recursive=True)
        assert not store.exists("f")

    @needs("folders", "delete")
    def test_empty_folder_goes(self, store: Bound) -> None:
        """An empty folder can be created twice, and deleted."""
        store.ensure_directory("f/g")
        store.ensure_directory("f/g")  # the second call must not fail
        store.delete("f/g")
        assert store.list_dir("f") == []

    @needs("delete")
    def test_delete_all_takes_both(self, store: Bound) -> None:
        """``delete_all`` deletes files, and folders with all their values."""
        store.save_batch([image(), image()], ["f/a.npy", "b.npy"])
        store.delete_all("f")
        store.delete_all("b.npy")
        assert store.list_dir(".") == []

    @needs("replace")
    def test_copy_is_independent(self, store: Bound) -> None:
        """Changing the original does not change its copy."""
        store.save(image(1), "a.npy")
        store.copy("a.npy", "f/b.npy")
        assert_same(store.load("f/b.npy"), image(1))
        store.save(image(2), "a.npy")
        assert_same(store.load("f/b.npy"), image(1))

    @pytest.mark.parametrize("operation", ["copy", "move"])
    @pytest.mark.parametrize("suffix", ["tif", "txt", "zarr", "h5", "npy.bak"])
    def test_suffix_stays_true(self, store: Bound, operation: str, suffix: str) -> None:
        """A copied or moved value is loaded as it was, or the operation is refused."""
        store.save(image(), "a.npy")
        try:
            # A backend that only renames the bytes makes a file that no format can read.
            getattr(store, operation)("a.npy", f"b.{suffix}")
        except (RequestError, UnsupportedDataError):
            assert store.list_dir(".") == ["a.npy"]
            assert_same(store.load("a.npy"), image())
        else:
            assert_same(store.load(f"b.{suffix}"), image())

    @needs("trees")
    def test_copies_whole_folder(self, store: Bound) -> None:
        """A folder is copied with all its values, but not over another or into itself."""
        store.save_batch([image(1), image(2)], ["f/a.npy", "f/g/b.npy"])
        store.copy("f", "h/i")
        assert store.list_files("h", recursive=True) == ["h/i/a.npy", "h/i/g/b.npy"]
        with pytest.raises(AlreadyExistsError):
            store.copy("f", "h/i")
        with pytest.raises(InvalidOptionError):
            store.copy("f", "f/inside")

    @needs("renames", "replace")
    def test_move_takes_along(self, store: Bound) -> None:
        """A folder is moved with all its values."""
        store.save_batch([image(1), image(2)], ["f/a.npy", "b.npy"])
        store.move("f", "g/h")
        store.move("b.npy", "g/h/a.npy")
        assert store.list_files(".", recursive=True) == ["g/h/a.npy"]
        assert not store.exists("f")
        assert_same(store.load("g/h/a.npy"), image(2))

    @needs("move", "renames")
    def test_move_into_itself_refused(self, store: Bound) -> None:
        """Moving a folder into itself is refused, and changes nothing."""
        store.save(image(), "f/a.npy")
        # A move that copies and then deletes its source would delete the only value.
        store.move("f/a.npy", "f/a.npy")
        assert_same(store.load("f/a.npy"), image())
        with pytest.raises(InvalidOptionError):
            store.move("f", "f/g")
        assert_same(store.load("f/a.npy"), image())

    @pytest.mark.parametrize("operation", ["copy", "move"])
    @needs("create_only", "{operation}")
    def test_target_may_stay(self, store: Bound, operation: str) -> None:
        """``if_exists=`` of ``copy`` and ``move`` keeps an existing target."""
        store.save_batch([image(1), image(2)], ["a.npy", "b.npy"])
        getattr(store, operation)("a.npy", "b.npy", if_exists="skip")
        assert_same(store.load("b.npy"), image(2))
        with pytest.raises(AlreadyExistsError):
            getattr(store, operation)("a.npy", "b.npy", if_exists="error")
        assert_same(store.load("a.npy"), image(1))

    @pytest.mark.parametrize("operation", ["copy", "move"])
    def test_source_must_exist(self, store: Bound, operation: str) -> None:
        """Copying or moving a missing value raises ``NotFoundError``."""
        with refuses(store, operation, NotFoundError):
            getattr(store, operation)("a.npy", "b.npy")
        assert store.list_dir(".") == []

    # ── walls ────────────────────────────────────────────────────────────────────────────

    @pytest.mark.parametrize("path", OUTSIDE)
    def test_nothing_leaves_root(self, store: Bound, path: str) -> None:
        """No operation reads or writes outside the root."""
        store.save(image(), "inside.npy")
        calls: list[tuple[Any, ...]] = [
            ("load", path),
            ("save", image(), path),
            ("open", path),
            ("info", path),
            ("exists", path),
            ("list_dir", path),
            ("list_files", path),
            ("ensure_directory", path),
            ("delete_all", path),
            ("copy", "inside.npy", path),
            ("copy", path, "copy.npy"),
            ("move", "inside.npy", path),
            ("move", path, "moved.npy"),
        ]
        for operation, *arguments in calls:
            with refuses(store, operation, PathOutsideRootError, InvalidOptionError):
                getattr(store, operation)(*arguments)
        assert store.list_dir(".") == ["inside.npy"]

    @needs("delete")
    def test_top_cannot_be_deleted(self, store: Bound) -> None:
        """The root itself cannot be deleted."""
        store.save(image(), "a.npy")
        with pytest.raises(InvalidOptionError):
            store.delete(".", recursive=True)
        assert store.exists("a.npy")

    # ── many at once ─────────────────────────────────────────────────────────────────────

    def test_threads_write_apart(self, store: Bound) -> None:
        """Threads can save and load different paths at once."""

        def work(seed: int) -> None:
            for step in range(10):
                store.save(image(seed), f"f{step}/{seed}.npy")
                assert_same(store.load(f"f{step}/{seed}.npy"), image(seed))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(work, range(8)))
        assert len(store.list_files(".", recursive=True)) == 80

    @needs("replace")
    def test_readers_see_whole_values(self, store: Bound) -> None:
        """A reader finds the old value or the new one, never a mixture."""
        shape = (64, 65)
        store.save(np.full(shape, 0), "a.npy")

        def write(seed: int) -> None:
            for step in range(30):
                store.save(np.full(shape, 100 * seed + step), "a.npy")

        def read(_: int) -> None:
            for _ in range(60):
                found = store.load("a.npy")
                assert found.shape == shape
                # All pixels of a saved value are equal, so a mixture of two has a range.
                assert found.min() == found.max()

        with ThreadPoolExecutor(4) as pool:
            jobs = [pool.submit(job, seed) for seed in (1, 2) for job in (write, read)]
        for finished in jobs:
            # The failed assertion of a thread is raised here, or it would be lost.
            finished.result()

    @needs("create_only")
    def test_one_thread_creates(self, store: Bound) -> None:
        """If several threads create a value with ``if_exists="error"``, exactly one succeeds."""

        def create(seed: int) -> int:
            try:
                store.save(image(seed), "a.npy", if_exists="error")
            except AlreadyExistsError:
                return 0
            return 1

        # A backend that first checks and then writes would let several threads succeed.
        with ThreadPoolExecutor(8) as pool:
            assert sum(pool.map(create, range(8))) == 1

    def test_manager_is_small_pickle(self, store: Bound) -> None:
        """A pickled file manager is small and does not contain the values."""
        store.save(image(), "a.npy")
        # Frameworks send the manager to each worker, so it must not carry the values with it.
        text = pickle.dumps(store.manager)
        assert isinstance(pickle.loads(text), FileManager)  # noqa: S301
        assert len(text) < 1000

    def test_processes_share_store(self, store: Bound) -> None:
        """Other processes see the stored values, or the backend says that they do not."""
        store.save(image(), "parent.npy")
        # Pass the class, so that a process imports the module that registers the backend.
        spawn, cls = multiprocessing.get_context("spawn"), type(store.instance)
        with ProcessPoolExecutor(2, mp_context=spawn) as pool:
            jobs = [pool.submit(_work_in_process, store, seed, cls) for seed in range(4)]
            if self.persistent:
                assert [job.result() for job in jobs] == [4, 4, 4, 4]
            else:
                for job in jobs:
                    with pytest.raises(NotFoundError, match="another process"):
                        job.result()
        written = [f"{seed}.npy" for seed in range(4)] if self.persistent else []
        assert store.list_files(".") == [*written, "parent.npy"]


def _work_in_process(store: Bound, seed: int, _cls: type[Value]) -> int:
    """Read and write in another process.

    ``_cls`` is pickled by its name, so the process imports the module of the backend.
    """
    assert_same(store.load("parent.npy"), image())
    store.save(image(seed), f"{seed}.npy")
    return int(store.load(f"{seed}.npy").shape[0])
