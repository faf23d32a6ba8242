import subprocess
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from polystore_core import to_numpy
from polystore_core.errors import UnsupportedDataError
from polystore_core.modules import is_instance

Python = Callable[..., subprocess.CompletedProcess[str]]
Require = Callable[[str], ModuleType]


@pytest.mark.parametrize(
    ("value", "module", "name", "expected"),
    [
        (np.zeros(3), "numpy", "ndarray", True),
        (np.ma.zeros(3), "numpy", "ndarray", True),
        ([1], "numpy", "ndarray", False),
        ([1], "no.such.module", "Array", False),
        ([1], "numpy", "no_such_class", False),
        ([1], "numpy", "zeros", False),
    ],
)
def test_instances_are_recognised(
    value: object, module: str, name: str, expected: bool
) -> None:
    assert is_instance(value, module, name) is expected
    assert "no.such.module" not in sys.modules


@pytest.mark.parametrize("module", [None, ModuleType("numpy.ma")])
def test_module_without_class_has_no_instances(
    monkeypatch: pytest.MonkeyPatch, module: Any
) -> None:
    monkeypatch.setitem(sys.modules, "numpy.ma", module)
    assert to_numpy(np.zeros(3)).tolist() == [0, 0, 0]


SAVING = """
import importlib
import sys
import threading
import numpy as np
from polystore_core import FileManager

module, backend, path, folder = sys.argv[1:]
value = np.zeros(2, [("a", "i4")] if path == ".csv" else "f8")
fm = FileManager()
fm.save(value, f"{folder}/first{path}", backend=backend)  # imports everything that a save needs
assert module not in sys.modules
imported, failures = threading.Event(), []

def save(number):
    try:
        while not imported.is_set():
            fm.save(value, f"{folder}/{number}{path}", backend=backend)
    except Exception as error:
        failures.append(repr(error))

threads = [threading.Thread(target=save, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
importlib.import_module(module)
imported.set()
for thread in threads:
    thread.join()
print(failures)
"""


@pytest.mark.parametrize(
    ("module", "backend", "path", "package"),
    [
        ("numpy.ma", "disk", ".npy", "polystore_formats"),
        ("pandas", "disk", ".csv", "polystore_formats"),
        ("dask.array", "zarr", ".zarr/a", "polystore_zarr"),
    ],
)
def test_threads_save_during_import(
    require: Require,
    python: Python,
    tmp_path: Any,
    module: str,
    backend: str,
    path: str,
    package: str,
) -> None:
    for name in (package, module.partition(".")[0]):
        require(name)
    done = python(SAVING, module, backend, path, tmp_path)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_masked_arrays_are_refused() -> None:
    with pytest.raises(UnsupportedDataError, match="would lose its mask"):
        to_numpy(np.ma.zeros(3))
