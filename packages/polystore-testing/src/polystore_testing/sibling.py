"""Promises about formats whose value is in more than one file."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pytest

from polystore_core import FileManager, Format, FormatRegistry, LazyArray, Opener
from polystore_core.errors import (
    DamagedDataError,
    NotAFileError,
    NotFoundError,
    UnknownOptionError,
    UnsupportedDataError,
    UnsupportedFileError,
)

from .conformance import NAME, Bound, Conformance
from .values import assert_same, image

if TYPE_CHECKING:
    import os
    from collections.abc import Callable

    from numpy.typing import NDArray

    from polystore_core import BackendRegistry, Document, Pixels, Region, Value

__all__ = ["Pointer", "SiblingTests"]

# Names that lead out of the folder on some system: up, to the root, with backslashes and drives of
# Windows, as URLs, and to a home folder. All of them are refused on every system.
ELSEWHERE = [
    "../outside.npy",
    "g/../../outside.npy",
    "g/..",
    "..",
    "/outside.npy",
    "..\\outside.npy",
    "\\outside.npy",
    "C:\\outside.npy",
    "C:outside.npy",
    "file:///outside.npy",
    "s3://bucket/outside.npy",
    "~/outside.npy",
    "a.npy\0",
    "",
]


class Pointer(Format):
    """A text file, ``.pointer``, that names the ``.npy`` file whose array is its value.

    ``save`` takes the name, so that a test can write any name.
    """

    name = "pointer"
    reads_siblings = True

    def save(self, value: Value, file: BinaryIO, /) -> None:
        if not isinstance(value, str):
            raise UnsupportedDataError("expected the name of a .npy file", self.name)
        file.write(b"pointer:" + value.encode())

    def load(self, file: BinaryIO, opener: Opener | None = None, /) -> Pixels:
        if opener is None:
            raise UnsupportedFileError(
                "its array is in another file: load it through a backend", self.name
            )
        return _read(self._target(file, opener))

    def info(self, file: BinaryIO, opener: Opener | None = None, /) -> Document:
        array = self.load(file, opener)
        return {"shape": array.shape, "dtype": array.dtype.str}

    def open(self, opener: Opener, /) -> PointerArray:
        with opener() as file:
            return PointerArray(self._target(file, opener))

    def _target(self, file: BinaryIO, opener: Opener) -> Opener:
        mark, _, name = file.read().partition(b":")
        if mark != b"pointer":
            raise DamagedDataError(
                "not a pointer (it does not start with b'pointer:')", self.name
            )
        # Any bytes must give a name: the opener has to refuse it, and not the codec.
        return opener.sibling(name.decode(errors="replace"))


class PointerArray(LazyArray):
    """An array that reads the other file whenever it is indexed."""

    def __init__(self, target: Opener) -> None:
        self._target = target
        array = _read(target)
        self.shape, self.dtype = array.shape, array.dtype

    def __getitem__(self, region: Region) -> Pixels:
        return np.array(_read(self._target)[region])


class SiblingTests(Conformance):
    """A format may open the files next to its own, and no others.

    The registry of the backend also has the format ``Pointer``. The backend may have a root or not.
    """

    @pytest.fixture
    def store(self, registry: BackendRegistry) -> Bound:
        """Return the backend under test, with the format ``Pointer``."""
        # A format of an entry point would be there for all users of the kit, so only this
        # registry gets it.
        registry.formats = _WithPointer()
        return Bound(FileManager(registry))

    @pytest.fixture
    def point(self, store: Bound) -> Callable[[str], str]:
        """Return a function that saves a pointer to a name and returns its path. The pointer is

        next to ``a.npy`` and ``g/b.npy``.
        """
        paths = ["outside.npy", "f/a.npy", "f/g/b.npy"]
        store.save_batch([image(seed) for seed in range(len(paths))], paths)

        def save(name: str) -> str:
            store.save(name, "f/p.pointer")
            return "f/p.pointer"

        return save

    @pytest.mark.parametrize(("name", "seed"), [("a.npy", 1), ("./a.npy", 1), ("g/b.npy", 2)])
    def test_sibling_is_read(
        self, store: Bound, point: Callable[[str], str], name: str, seed: int
    ) -> None:
        """A format loads, opens and describes a value in a file next to its own or below it."""
        path, expected = point(name), image(seed)
        assert_same(store.load(path), expected)
        assert_same(store.load(path, region=np.s_[1:3]), expected[1:3])
        assert store.info(path).shape == expected.shape
        with store.open(path) as handle:
            assert_same(handle[1:3], expected[1:3])

    def test_sibling_at_top(self, store: Bound, point: Callable[[str], str]) -> None:
        """A file at the top of the store can refer to files in folders."""
        point("a.npy")
        store.save("f/g/b.npy", "p.pointer")
        assert_same(store.load("p.pointer"), image(2))

    def test_handle_of_two_files_pickles(
        self, store: Bound, point: Callable[[str], str]
    ) -> None:
        """An open handle on two files can be pickled."""
        handle = pickle.loads(pickle.dumps(store.open(point("g/b.npy"))))  # noqa: S301
        np.testing.assert_array_equal(handle[...], image(2))

    @pytest.mark.parametrize("operation", ["load", "info", "open"])
    def test_missing_sibling_is_named(
        self, store: Bound, point: Callable[[str], str], operation: str
    ) -> None:
        """If a referred file is missing, the error names that file."""
        path = point("g/missing.npy")
        with pytest.raises(NotFoundError) as caught:
            getattr(store, operation)(path)
        assert (caught.value.backend, caught.value.path) == (NAME, "f/g/missing.npy")
        assert store.exists(path), "the file that refers to the missing one is there"

    @pytest.mark.parametrize("operation", ["load", "info", "open"])
    @pytest.mark.parametrize("name", ELSEWHERE)
    def test_sibling_stays_in_folder(
        self, store: Bound, point: Callable[[str], str], name: str, operation: str
    ) -> None:
        """A file cannot refer to files outside its own folder."""
        path = point(name)
        with pytest.raises(UnsupportedFileError, match="below it") as caught:
            getattr(store, operation)(path)
        assert (caught.value.backend, caught.value.path) == (NAME, path)

    def test_folder_is_not_a_sibling(self, store: Bound, point: Callable[[str], str]) -> None:
        """A file that refers to a folder raises ``NotAFileError``."""
        with pytest.raises(NotAFileError) as caught:
            store.load(point("g"))
        assert caught.value.path == "f/g"

    def test_opener_is_not_an_option(self, store: Bound, point: Callable[[str], str]) -> None:
        """The opener of siblings is not an option of ``load``."""
        with pytest.raises(UnknownOptionError):
            store.load(point("a.npy"), opener=None)


class _WithPointer(FormatRegistry):
    def of(self, path: str | os.PathLike[str], *, backend: str = "") -> Format:
        pointer = str(path).endswith(".pointer")
        return Pointer() if pointer else super().of(path, backend=backend)

    def __reduce__(self) -> tuple[type[_WithPointer], tuple[()]]:
        return _WithPointer, ()


def _read(target: Opener) -> Pixels:
    with target() as file:
        array: NDArray[Any] = np.load(file, allow_pickle=False)
    return array
