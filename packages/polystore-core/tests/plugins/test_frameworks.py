"""A framework of another author: a small complete plugin, as docs/frameworks.md describes it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import FileManager, framework_of, is_array, to_framework, to_numpy
from polystore_core.errors import (
    CopyRequiredError,
    InvalidOptionError,
    PluginConflictError,
    PolystoreError,
)
from polystore_core.frameworks import framework_names
from polystore_core.plugins import discovery

from .samples import Install

GROUP = "polystore.frameworks"
# Its arrays have neither __dlpack__ nor __array_interface__, so only the row recognises them.
CODE = """
import numpy as np
from polystore_core import Framework
from polystore_core.errors import CopyRequiredError

class Arrays:
    def __init__(self, inside):
        self.inside = inside
        self.dtype, self.shape = inside.dtype, inside.shape

class Provided(Framework):
    name = "{package}"

    def is_array(self, value, /):
        return isinstance(value, Arrays)

    def to_numpy(self, value, /, *, copy):
        return value.inside

    def from_numpy(self, array, /, *, device, copy, donate):
        if device not in (None, "cpu"):
            raise self.no_such_device(device)
        return Arrays(self.shareable(array, copy, needs_writable=True))
"""


@pytest.fixture
def acme(install: Install) -> str:
    install("acme-arrays", "acme_arrays", group=GROUP, code=CODE)
    return "acme_arrays"


def test_arrays_convert_both_ways(acme: str) -> None:
    array = np.arange(6, dtype="u2")
    value = to_framework(array, acme, copy="never")
    assert is_array(value)
    assert framework_of(value) == acme
    assert np.shares_memory(to_numpy(value, copy="never"), array)
    assert not np.shares_memory(to_numpy(to_framework(array, acme, copy="always")), array)
    with pytest.raises(CopyRequiredError, match="negative strides"):
        to_framework(array[::-1], acme, copy="never")


@pytest.mark.frameworks
def test_other_frameworks_convert_to_it(acme: str, require: Any) -> None:
    tensor = require("torch").arange(3)
    assert to_numpy(to_framework(tensor, acme)).tolist() == [0, 1, 2]
    assert to_framework(to_framework(tensor, acme), "torch").tolist() == [0, 1, 2]


@pytest.mark.parametrize(("backend", "name"), [("disk", "a.npy"), ("zarr", "a.zarr")])
def test_backends_store_its_arrays(acme: str, tmp_path: Path, backend: str, name: str) -> None:
    fm, path = FileManager(), tmp_path / name
    fm.save(to_framework(np.arange(6, dtype="u2"), acme), path, backend)
    assert fm.load(path, backend).tolist() == [*range(6)]
    value = fm.load(path, backend, framework=acme)
    assert framework_of(value) == acme
    assert to_numpy(value).tolist() == [*range(6)]
    batch = fm.load_batch([path, path], backend, framework=acme, stack=True)
    assert batch.shape == (2, 6)
    with pytest.raises(InvalidOptionError, match="one of cpu, for acme_arrays"):
        fm.load(path, backend, framework=acme, device="cuda:0")


def test_framework_is_listed(acme: str) -> None:
    assert acme in framework_names()
    states = {one.name: (one.kind, one.state) for one in discovery.survey()}
    assert states[acme] == ("framework", "ok")


def test_disabled_framework_is_refused(acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(discovery.DENY, "acme-arrays")
    discovery.rescan()
    assert acme not in framework_names()
    with pytest.raises(PolystoreError, match="acme_arrays"):
        to_framework(np.zeros(3), acme)


def test_two_providers_conflict(acme: str, install: Install) -> None:
    install("other-arrays", "acme_arrays", group=GROUP, code=CODE)
    with pytest.raises(PluginConflictError, match=r"acme-arrays.*other-arrays"):
        to_framework(np.zeros(3), acme)
