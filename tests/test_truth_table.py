"""Arrays of every framework and place follow the rules, which are those of the page."""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore import BackendRegistry, FileManager, to_framework, to_numpy
from polystore.errors import CopyRequiredError, DataError
from polystore_core.model.equality import difference

from .truth_table import (
    COPIED,
    DTYPES,
    FRAMEWORKS,
    LAYOUTS,
    ON_GPU,
    PLACES,
    Cell,
    array_of,
    expect_handing,
    expect_loading,
    expect_reading,
    find_refusal,
    keeps,
    needs_copy,
    tables,
    to_native,
)

pytestmark = pytest.mark.frameworks

PAGE = Path(__file__).parent.parent / "docs/frameworks.md"
COLUMNS = [
    pytest.param(name, marks=pytest.mark.gpu if name in ON_GPU else ()) for name in FRAMEWORKS
]
CELLS = [(dtype, layout) for dtype in DTYPES for layout in LAYOUTS]


@pytest.fixture
def fm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileManager]:
    monkeypatch.chdir(tmp_path)
    with BackendRegistry() as registry:
        yield FileManager(registry)


def has_gpu() -> bool:
    try:
        return int(importlib.import_module("cupy").cuda.runtime.getDeviceCount()) > 0
    except Exception:  # not installed, no driver, or a driver that is too old
        return False


@pytest.fixture(params=COLUMNS)
def framework(request: pytest.FixtureRequest) -> Iterator[str]:
    """Give a column of the table. JAX has two, with 64-bit types and without them."""
    name: str = request.param
    package = name.partition(" ")[0]
    if package == "cupy" and not has_gpu():
        pytest.skip("system: CuPy finds no NVIDIA GPU")
    module = pytest.importorskip(package, reason=f"{package} is not installed")
    if package == "jax":
        module.config.update("jax_enable_x64", name == "jax")
    yield name
    if package == "jax":
        module.config.update("jax_enable_x64", False)


def of(framework: str, array: Any) -> Any:
    """Return ``array`` as the framework makes it, in its layout if the framework has it."""
    if framework == "torch":
        import torch

        if any(stride < 0 for stride in array.strides):
            array = array.copy()
        array = to_native(array)
        # The memory is read-only, and the test does not write to it.
        with warnings.catch_warnings(action="ignore"):
            if array.dtype.isbuiltin != 2:
                return torch.from_numpy(array)
            bits = torch.from_numpy(array.view(f"u{array.itemsize}"))
            return bits.view(getattr(torch, array.dtype.name))
    if framework == "tensorflow":
        import tensorflow

        return tensorflow.constant(to_native(array))
    if framework == "cupy":
        import cupy

        return cupy.asarray(to_native(array))
    if framework == "numpy":
        return array
    import jax

    return jax.numpy.array(to_native(array))


def address(value: Any) -> int:
    """Return the address of the elements, as the framework reports it."""
    if hasattr(value, "data_ptr"):
        return int(value.data_ptr())
    if hasattr(value, "unsafe_buffer_pointer"):
        return int(value.unsafe_buffer_pointer())
    if type(value).__module__.partition(".")[0] == "cupy":
        return int(value.data.ptr)
    array = value if isinstance(value, np.ndarray) else np.asarray(memoryview(value))
    return int(array.__array_interface__["data"][0])


def find_fault(cell: Cell, call: Callable[[], Any], expected: Any, start: int | None) -> str:
    """Describe how the result of ``call`` differs from the cell. ``start`` is the old address."""
    try:
        value = call()
    except DataError as error:
        if cell.fate not in ("error", "zero-copy or error"):
            return f"expected {cell.fate}, got {error}"
        is_it = type(error) is cell.error and re.search(cell.reason, str(error))
        return "" if is_it else f"expected {cell.error.__name__} {cell.reason!r}: {error!r}"
    if cell.fate == "error":
        return f"expected {cell.error.__name__}, got a {type(value).__name__}"
    if text := difference(value, expected):
        return text
    is_shared = start is not None and address(value) == start
    if start is not None and expected.size and is_shared != (cell.fate == "zero-copy"):
        return f"expected {cell.fate}"
    return ""


def report(faults: dict[tuple[str, ...], str]) -> None:
    wrong = {cell: text for cell, text in faults.items() if text}
    listed = "\n".join(f"{' '.join(cell)}: {text}" for cell, text in wrong.items())
    assert not wrong, f"{len(wrong)} of {len(faults)} cells are wrong:\n{listed}"


@pytest.mark.parametrize("copy", ["auto", "never"])
def test_numpy_reads_arrays(framework: str, copy: Any) -> None:
    faults = {}
    for dtype, layout in CELLS:
        cell = expect_reading(framework, dtype)
        if cell.fate == "absent":
            continue
        value = of(framework, array_of(dtype, layout))
        if cell == COPIED:
            start = None  # NumPy cannot read their address
            cell = needs_copy("share|on cuda") if copy == "never" else cell
        else:
            start = address(value)
        faults[dtype, layout] = find_fault(
            cell,
            lambda value=value: to_numpy(value, copy=copy, extended=True),
            array_of(dtype, layout),
            start,
        )
    report(faults)


@pytest.mark.parametrize("donate", [False, True])
@pytest.mark.parametrize("copy", ["auto", "never"])
def test_frameworks_take_arrays(framework: str, copy: Any, donate: bool) -> None:
    faults = {}
    for dtype, layout in CELLS:
        array = array_of(dtype, layout)
        cell = expect_handing(framework, dtype, layout, copy, donate=donate)
        name = framework.partition(" ")[0]
        faults[dtype, layout] = find_fault(
            cell,
            lambda array=array, name=name: to_framework(array, name, copy=copy, donate=donate),
            array,
            None if name == "tensorflow" and cell == COPIED else address(array),
        )
    report(faults)


def put(fm: FileManager, value: Any, place: str, **options: Any) -> None:
    backend, path, _ = PLACES[place]
    fm.save({"x": value} if place == "npz" else value, path, backend, **options)


def get(fm: FileManager, place: str, **options: Any) -> Any:
    backend, path, _ = PLACES[place]
    found = fm.load(path, backend, **options)
    return found["x"] if place == "npz" else found


def forget(fm: FileManager, place: str) -> None:
    backend, path, _ = PLACES[place]
    (fm.delete_all if place == "zarr" else fm.delete)(path, backend)


@pytest.mark.parametrize("place", PLACES)
def test_saved_arrays_come_back(
    fm: FileManager, tmp_path: Path, framework: str, place: str
) -> None:
    faults = {}
    for dtype, layout in CELLS:
        if expect_reading(framework, dtype).fate == "absent":
            continue
        array = array_of(dtype, layout)
        value = of(framework, array)
        cell = find_refusal(place, dtype, layout) or COPIED

        def save_and_load(value: Any = value) -> Any:
            put(fm, value, place)
            return get(fm, place)

        found = find_fault(cell, save_and_load, array, None)
        if cell.fate == "error":
            left = [*map(str, tmp_path.rglob("*"))]
            found = found or (f"left {left}" if left else "")
        elif not found:
            is_kept = keeps(place, dtype, layout)
            found = find_change(
                get(fm, place), value, layout if is_kept else "contiguous", place
            )
            forget(fm, place)
        faults[dtype, layout] = found
    report(faults)


def find_change(found: Any, value: Any, layout: str, place: str) -> str:
    """Describe how the memory of a loaded array differs from this layout."""
    if place == "memory":
        return (
            "" if type(found) is type(value) and found.dtype == value.dtype else "another type"
        )
    if not isinstance(value, np.ndarray):
        return "" if found.flags.writeable else "read-only"
    if not found.flags["F" if layout == "fortran" else "C"] or not found.flags.writeable:
        return f"not {layout}, or read-only"
    dtype = value.dtype if layout == "big-endian" else to_native(value).dtype
    return "" if found.dtype == dtype else f"the byte order is that of {found.dtype.str}"


@pytest.mark.parametrize("place", PLACES)
def test_loaded_arrays_are_of_the_framework(
    fm: FileManager, framework: str, place: str
) -> None:
    """An array of NumPy is saved, and loads as an array of the framework."""
    name = framework.partition(" ")[0]
    options: Any = {"copy": "never"} if place == "memory" else {}
    faults = {}
    for dtype, layout in CELLS:
        if find_refusal(place, dtype, layout):
            continue  # test_saved_arrays_come_back checks it
        array = array_of(dtype, layout)
        put(fm, array, place, **options)
        for copy in ("auto", "never"):
            cell = expect_loading(framework, dtype, layout, place, copy)
            if copy == "auto" and cell.fate == "zero-copy or error":
                cell = COPIED  # it may be shared, because no other array has it
            is_seen = place == "memory" and name != "tensorflow"
            faults[dtype, layout, copy] = find_fault(
                cell,
                lambda copy=copy: get(fm, place, framework=name, copy=copy),
                array,
                address(array) if is_seen else None,
            )
        forget(fm, place)
    report(faults)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_keeps_the_object(fm: FileManager, framework: str, dtype: str) -> None:
    if expect_reading(framework, dtype).fate == "absent":
        return
    value = of(framework, array_of(dtype, "contiguous"))
    put(fm, value, "memory", copy="never")
    name = framework.partition(" ")[0]
    found = get(fm, "memory", framework=name, copy="never")
    if name == "numpy":  # a read-only view
        assert address(found) == address(value)
    else:
        assert found is value
    other = "float64" if dtype == "float32" else "float32"
    with pytest.raises(CopyRequiredError, match="copy='never' forbids one"):
        get(fm, "memory", dtype=other, copy="never")


def table(name: str) -> str:
    """Return the table of the page that is called ``name``."""
    found = re.search(rf"<!-- table: {name} -->\n(.*?)\n\n", PAGE.read_text("utf-8"), re.DOTALL)
    assert found, f"the page has no table {name}"
    return found[1]


@pytest.mark.parametrize("name", tables())
def test_page_has_the_rules(name: str) -> None:
    assert tables()[name] == table(name), f"the table should be:\n{tables()[name]}"
