"""Find the promises of a backend, and check that it refuses all others.

``@needs("trees")`` says which promise a test needs. If the backend does not make that promise, the
same test runs, and it must end with the refusal.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

from polystore_core import (
    BackendRegistry,
    ByteStore,
    FileBackend,
    FileManager,
    Folders,
    Links,
    Locks,
    Renames,
    StoreFeatures,
    Trees,
    Versions,
)
from polystore_core.errors import UnsupportedOperationError

from .conformance import NAME, Bound

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from typing import Literal

    from polystore_core import Value

    IfPresent = Literal["replace", "error"]

__all__ = [
    "ABILITIES",
    "check_refusal",
    "check_store_refuses",
    "condition_of",
    "needs",
    "nests_values",
    "promises",
    "refuses",
]

Test = TypeVar("Test", bound=Callable[..., Any])

ABILITIES: dict[str, type[Any]] = {
    ability.__name__.lower(): ability
    for ability in (Renames, Folders, Links, Locks, Versions, Trees)
}
"""The abilities that a store can inherit, by the name of the feature."""

_FEATURES = {field.name for field in fields(StoreFeatures)}

_OPERATIONS = {
    "replace": "save",
    "create_only": "save",
    "delete": "delete",
    "folders": "ensure_directory",
    "links": "create_symlink",
    "renames": "move",
    "trees": "copy",
}
"""For each feature of a store, the operation that promises it in another backend."""


def promises(backend: Value, promise: str) -> bool:
    """Whether a backend makes a promise: an operation ("move"), or a feature ("renames").

    If a backend has ``features``, or a store with them, they are its promises. Any other backend
    promises the operations in its ``capabilities``.
    """
    features = _features_of(backend)
    if features is not None and promise in _OPERATIONS:
        return getattr(features, promise) not in ("none", False)
    return _OPERATIONS.get(promise, promise) in backend.capabilities


def _features_of(backend: Value) -> StoreFeatures | None:
    if isinstance(backend, FileBackend):
        return backend.store.features
    found = getattr(backend, "features", None)
    return found if isinstance(found, StoreFeatures) else None


def nests_values(backend: Value) -> bool:
    """Whether both "a" and "a/b" may be values."""
    return isinstance(backend, FileBackend) and backend.store.features.nested_values


def refuses(
    store: Bound, operation: str, *errors: type[Exception], match: str | None = None
) -> AbstractContextManager[Value]:
    """Expect one of ``errors`` from a wrong call of ``operation``.

    A backend without the operation may refuse it before it checks the arguments.
    """
    if operation in store.instance.capabilities:
        return pytest.raises(errors, match=match)
    return pytest.raises((*errors, UnsupportedOperationError))


def needs(*names: str) -> Callable[[Test], Test]:
    """Mark a test with the promises that it needs. A backend without one of them must refuse it.

    Then the test runs until a call raises ``UnsupportedOperationError``. The error must name the
    backend, the store and the promise, and the call must not have changed anything. A name such as
    "{operation}" means the value of that parameter of the test.
    """

    def mark(test: Test) -> Test:
        # Without it, pytest would not see which fixtures the test needs.
        @functools.wraps(test)
        def run(self: object, /, **fixtures: Value) -> None:
            wanted = [name.format(**fixtures) for name in names]
            if "bytes_store" in fixtures:
                store = fixtures["bytes_store"]
                missing = [name for name in wanted if not _claims(store, name)]
                for name in missing:
                    check_store_refuses(store, name)
                if not missing:
                    test(self, **fixtures)
                return
            backend = fixtures["store"].instance
            missing = [name for name in wanted if not promises(backend, name)]
            if missing:
                with _expect_refusal(backend, missing):
                    test(self, **{**fixtures, "store": _Watched(fixtures["store"].manager)})
            else:
                test(self, **fixtures)

        return run  # type: ignore[return-value]

    return mark


def check_refusal(error: UnsupportedOperationError, backend: Value, *missing: str) -> None:
    """Check that a refusal names the backend, and the missing feature of its store.

    A backend that is not a ``FileBackend`` may need other features of its store. It may also refuse
    an operation that no store could allow.
    """
    assert error.backend == NAME, f"the backend is not named: {error}"
    text = str(error)
    is_of_store = isinstance(backend, FileBackend) or "features." in text
    if _features_of(backend) is not None and is_of_store:
        names = [""]
        if isinstance(backend, FileBackend):
            names = [name for name in missing if name in _FEATURES] or names
        assert repr(backend.store) in text, f"the store is not named: {text}"
        assert any(f"features.{name}" in text for name in names), (
            f"not named: features.{' or features.'.join(names)}: {text}"
        )


@contextmanager
def _expect_refusal(backend: Value, missing: list[str]) -> Iterator[None]:
    with pytest.raises(UnsupportedOperationError) as caught:
        yield
    check_refusal(caught.value, backend, *missing)


class _Watched(Bound):
    """A backend that checks that a refused call changes nothing."""

    def __getattr__(self, operation: str) -> Callable[..., Value]:
        call = super().__getattr__(operation)

        def watched(*arguments: Value, **options: Value) -> Value:
            # Compare the whole content: a refused copy may have created a folder, for example.
            before = self._content()
            try:
                return call(*arguments, **options)
            except UnsupportedOperationError:
                assert self._content() == before, f"{operation} was refused after a change"
                raise

        return watched

    def _content(self) -> Value:
        backend = self.instance
        if _features_of(backend) is not None:
            return {stat.key: backend.store.read(stat.key) for stat in backend.store.scan()}
        if "collect_dirs_and_files" not in backend.capabilities:
            return None
        folders, files = backend.collect_dirs_and_files(".")
        # Compare pickles: `==` of two dicts fails for arrays, which have no single truth value.
        return folders, {path: pickle.dumps(backend.load(path)) for path in files}


# ── stores ───────────────────────────────────────────────────────────────────────────────


def condition_of(store: ByteStore) -> IfPresent:
    """Return an ``if_exists`` for a new value that every store accepts."""
    return "replace" if _claims(store, "replace") else "error"


def _claims(store: ByteStore, feature: str) -> bool:
    return getattr(store.features, feature) not in ("none", False)


def check_store_refuses(store: ByteStore, feature: str) -> None:
    """Check that ``require``, or the ``FileBackend`` of a store, refuses a feature."""
    backend = FileBackend(store)
    with BackendRegistry() as registry:
        registry.add(NAME, backend)
        bound = _Watched(FileManager(registry))
        if feature in ABILITIES:
            with pytest.raises(UnsupportedOperationError) as caught:
                store.require(ABILITIES[feature], "this")
            caught.value.backend = NAME  # a store does not know the name of its backend
        else:
            for key in ("a.npy", "b.npy"):
                store.put(key, key.encode(), if_exists=condition_of(store))
            with pytest.raises(UnsupportedOperationError) as caught:
                _ask(bound, feature)
        check_refusal(caught.value, backend, feature)


def _ask(bound: Bound, feature: str) -> None:
    if feature == "delete":
        bound.delete("a.npy")
    elif feature == "durable":
        bound.save(0, "a.npy", durable=True)
    else:
        bound.copy(
            "a.npy", "b.npy", if_exists="error" if feature == "create_only" else "replace"
        )
