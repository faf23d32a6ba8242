"""Imports of a conversion, and data that could end the process."""

import sys
from pathlib import Path

import pytest

from polystore_core import to_framework
from polystore_core.errors import MissingDependencyError

from .samples import FOREIGN, Python, Require, aligned

# ── imports ──────────────────────────────────────────────────────────────────────────────

IMPORTED = """
import sys
import numpy as np
from polystore_core import framework_of, is_array, to_framework, to_numpy
array = np.zeros(3)
is_array(array), framework_of(array), to_numpy(array), to_framework(array, "numpy")
to_framework([1] and array, "numpy", dtype="f4", device="cpu", copy="always")
print({name for name in ("torch", "jax", "tensorflow", "cupy") if name in sys.modules})
"""


def test_nothing_else_is_imported(python: Python) -> None:
    done = python(IMPORTED)
    assert (done.stderr, done.stdout) == ("", "set()\n")


@pytest.mark.parametrize("name", FOREIGN)
def test_missing_framework_is_reported(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=rf"pip install 'polystore\[{name}\]'"):
        to_framework(aligned(4), name)


BROKEN = """
import numpy as np
from polystore_core import to_framework
try:
    to_framework(np.zeros(3), "torch")
except ModuleNotFoundError as error:
    print(type(error).__name__, error.name)
"""


def test_broken_framework_raises_its_own_error(python: Python, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import nowhere")
    done = python(BROKEN, PYTHONPATH=str(tmp_path))
    assert done.stdout == "ModuleNotFoundError nowhere\n"


# ── data that could end the process ──────────────────────────────────────────────────────

TRAPS = """
import sys, warnings
warnings.simplefilter("ignore")
import numpy as np
from polystore_core import to_framework, to_numpy
from polystore_core.errors import PolystoreError

def refused(call):
    try:
        call()
    except PolystoreError:
        return True
"""
TORCH_TRAPS = (
    TRAPS
    + """
np.arange(64, dtype="f4").tofile(sys.argv[1])
mapped = np.memmap(sys.argv[1], "f4", "r")
to_framework(mapped, "torch").add_(1)  # shared memory would be a segmentation fault
assert mapped[1] == 1
assert refused(lambda: to_framework(mapped, "torch", copy="never"))
print("memory map", flush=True)

flipped = np.arange(12.0).reshape(3, 4)[::-1, ::-1]
assert to_framework(flipped, "torch").sum() == 66  # an abort in torch.from_dlpack
print("negative strides", flush=True)

odd = np.zeros(65, "u1")[1:].view("f8")
assert to_framework(odd, "torch").add_(1).sum() == 8
print("odd address", flush=True)

overlapping = np.lib.stride_tricks.as_strided(np.arange(4.0), (3, 2), (8, 8))
assert to_numpy(to_framework(overlapping, "torch")).tolist() == overlapping.tolist()
print("overlap", flush=True)

def lend():
    return to_framework(np.full(1000, 7.0), "torch"), to_numpy(to_framework(np.ones(9), "torch"))

lent, given = lend()
junk = [np.zeros(1000) for _ in range(1000)]
assert lent.sum() == 7000 and given.sum() == 9
print("lifetime", flush=True)
"""
)
TENSORFLOW_TRAPS = (
    TRAPS
    + """
import tensorflow as tf
assert refused(lambda: to_numpy(tf.constant(["text"])))  # an abort in DLPack
print("text", flush=True)

memory = np.zeros(4096 + 128, "u1")
begin = -memory.ctypes.data % 64
for offset in (4, 8, 16, 32, 64):
    array = memory[begin + offset :][:4096].view("f4")
    try:
        tensor = to_framework(array, "tensorflow", copy="never")
    except PolystoreError:
        continue
    assert offset == 64
    tf.reduce_sum(tf.nn.relu(tensor + tensor) * tensor)  # other addresses would abort
print("address", flush=True)

def lend():
    return to_numpy(tf.fill(1000, 7.0))

lent = lend()
junk = [tf.zeros(1000) for _ in range(1000)]
assert lent.sum() == 7000
print("lifetime", flush=True)
"""
)


@pytest.mark.parametrize(
    ("name", "code", "survived"),
    [
        ("torch", TORCH_TRAPS, "memory map, negative strides, odd address, overlap, lifetime"),
        ("tensorflow", TENSORFLOW_TRAPS, "text, address, lifetime"),
    ],
)
def test_process_survives_traps(
    require: Require, python: Python, tmp_path: Path, name: str, code: str, survived: str
) -> None:
    require(name)
    done = python(code, tmp_path / "mapped")
    assert ", ".join(done.stdout.splitlines()) == survived, done.stderr
    assert done.returncode == 0
