"""Promises about ``copy=``, ``framework=`` and handles that load."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import framework_of, to_numpy
from polystore_core.errors import (
    BatchError,
    CopyRequiredError,
    InvalidOptionError,
    PolystoreError,
)

from .conformance import NAME, Bound, Conformance
from .values import assert_same

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from polystore_core import LazyArray, Value

__all__ = ["CopyTests"]

COPIES = ["auto", "never", "always"]
# The kit does not depend on torch, so its cases run only where authors have it.
FRAMEWORKS = [None, "numpy", *(["torch"] if find_spec("torch") else [])]


class CopyTests(Conformance):
    """``copy=`` means the same on every backend, also on those that do not implement it.

    You can write to a loaded value. ``copy="never"`` may return a view of the value that the
    backend keeps. Such a view is read-only. If a copy is needed, the call raises
    ``CopyRequiredError``.
    """

    @pytest.mark.parametrize("copy", COPIES)
    @pytest.mark.parametrize("framework", FRAMEWORKS)
    def test_copies_are_equal(
        self, store: Bound, existing: Mapping[str, Value], framework: str | None, copy: str
    ) -> None:
        """Every value of ``copy=`` and ``framework=`` loads equal pixels."""
        expected = existing["a.npy"]
        with store.open("a.npy") as handle:
            for load, region in _calls(store, handle, framework=framework, copy=copy):
                found = _load_or_none(load, copy)
                # NumPy arrays can be read-only views, so reading one never needs a copy. torch does
                # not have read-only tensors.
                if found is None:
                    assert framework == "torch", "reading is not a copy"
                    continue
                assert framework_of(found) == (framework or framework_of(expected))
                assert_same(to_numpy(found), region(expected))

    @pytest.mark.parametrize("copy", COPIES)
    @pytest.mark.parametrize("framework", FRAMEWORKS)
    def test_copies_are_free(
        self, store: Bound, existing: Mapping[str, Value], framework: str | None, copy: str
    ) -> None:
        """You can write to a loaded array without changing the stored one."""
        with store.open("a.npy") as handle:
            for load, _ in _calls(store, handle, framework=framework, copy=copy):
                try:
                    load()[...] = 0
                # NumPy raises ValueError for an assignment to a read-only view. The other two
                # come from a load that is refused.
                except (CopyRequiredError, BatchError, ValueError):
                    assert copy == "never"
                assert_same(store.load("a.npy"), existing["a.npy"])
                # A handle may share memory with the arrays that it has returned, so read it
                # again.
                np.testing.assert_array_equal(handle[...], existing["a.npy"])

    def test_needed_copy_is_named(self, store: Bound, existing: Mapping[str, Value]) -> None:
        """``copy="never"`` with another dtype raises ``CopyRequiredError`` in every load."""
        with store.open("a.npy") as handle:
            for load, _ in _calls(store, handle, dtype="float32", copy="never"):
                with pytest.raises((CopyRequiredError, BatchError)) as caught:
                    load()
                error = _cause(caught.value)
                assert isinstance(error, CopyRequiredError)
                assert (error.backend, error.path) == (NAME, "a.npy")
                assert "float32" in error.reason
                assert "copy='auto'" in str(error)

    @pytest.mark.parametrize("copy", ["maybe", None, True, 1, ["auto"]])
    def test_invalid_copy_refused(
        self, store: Bound, existing: Mapping[str, Value], copy: Value
    ) -> None:
        """An unknown value of ``copy=`` is refused before anything is read."""
        calls: list[tuple[str, Value, dict[str, Any]]] = [
            # The path is missing: a backend that reads first raises NotFoundError, and fails
            # here.
            ("load", "missing.npy", {}),
            ("load", "missing.npy", {"as_": "image"}),
            ("load_batch", ["missing.npy"], {}),
            ("load_batch", ["missing.npy"], {"as_": "image"}),
            ("load_batch", ["missing.npy"], {"stack": True}),
        ]
        for operation, path, options in calls:
            with pytest.raises(InvalidOptionError, match="auto, always, never"):
                getattr(store, operation)(path, copy=copy, **options)
        with store.open("a.npy") as handle:
            for array in (handle, handle.transpose((1, 0))):
                with pytest.raises(InvalidOptionError, match="auto, always, never"):
                    array.load(copy=copy)


Call = tuple["Callable[[], Value]", "Callable[[Value], Value]"]


def _calls(store: Bound, handle: LazyArray, **asked: Value) -> list[Call]:
    """Return calls that load "a.npy", each with a function that selects the expected part."""
    # A step backwards is a view in NumPy, but torch has no negative strides.
    rows = np.s_[1:3, ::-2]
    turned = handle.transpose((1, 0))
    return [
        (lambda: store.load("a.npy", **asked), lambda array: array),
        (lambda: store.load("a.npy", region=rows, **asked), lambda array: array[rows]),
        (lambda: store.load_batch(["a.npy"], **asked)[0], lambda array: array),
        (lambda: handle.load(**asked), lambda array: array),
        (lambda: handle.load(region=rows, **asked), lambda array: array[rows]),
        (lambda: turned.load(**asked), lambda array: array.T),
        (lambda: turned.load(region=rows, **asked), lambda array: array.T[rows]),
    ]


def _load_or_none(load: Callable[[], Value], copy: str) -> Value:
    """Return the result of ``load``, or ``None`` if it needs a copy that ``copy`` forbids."""
    try:
        return load()
    except (CopyRequiredError, BatchError) as error:
        if copy == "never" and isinstance(_cause(error), CopyRequiredError):
            return None
        raise


def _cause(error: PolystoreError) -> Exception:
    if isinstance(error, BatchError):
        ((_, cause),) = error.failed.values()
        return cause
    return error
