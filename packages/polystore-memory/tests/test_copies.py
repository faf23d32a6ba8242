"""``copy="never"`` returns the memory of the stored value, or raises."""

from itertools import product

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager, to_framework, to_numpy
from polystore_core.errors import (
    BatchError,
    CopyRequiredError,
    InvalidOptionError,
    UnknownOptionError,
    UnsupportedDataError,
)

FRAMEWORKS = ["numpy", "torch", "jax"]
REGIONS = [None, np.s_[1:3], np.s_[..., ::2], np.s_[::-1], np.s_[1], np.s_[1, 2], np.s_[...]]


@pytest.fixture
def fm():
    return FileManager(BackendRegistry())


def make_array(kind):
    """Return an array of 4 × 16 float32, aligned to 64 bytes."""
    memory = np.zeros(4 * 16 * 4 + 64, np.uint8)
    array = memory[-memory.ctypes.data % 64 :][:256].view("f4").reshape(4, 16)
    array[:] = np.arange(64).reshape(4, 16)
    if kind == "fortran":
        return np.asfortranarray(array)
    if kind == "matrix":
        return array.view(np.matrix)
    return array if kind == "numpy" else to_framework(array, kind)


@pytest.mark.frameworks
@pytest.mark.parametrize("kind", [*FRAMEWORKS, "fortran", "matrix"])
@pytest.mark.parametrize("framework", [None, *FRAMEWORKS])
def test_never_option_shares_memory_or_raises(fm, kind, framework):
    for module in {kind, framework} & {"torch", "jax"}:
        pytest.importorskip(module, reason=f"{module} is not installed")
    value = make_array(kind)
    fm.save(value, "a", backend="memory", copy="never")
    shared = 0
    for dtype, region, device in product([None, "f4", ">f4", "f8"], REGIONS, [None, "cpu"]):
        asked = {"framework": framework, "dtype": dtype, "region": region, "device": device}
        for found in (load_or_none(fm, **asked), load_from_batch_or_none(fm, **asked)):
            assert found is None or np.shares_memory(to_numpy(found), to_numpy(value)), asked
            shared += found is not None
    assert shared or kind != framework


def load_or_none(fm, **asked):
    try:
        return fm.load("a", backend="memory", copy="never", **asked)
    except (CopyRequiredError, UnsupportedDataError):
        return None


def load_from_batch_or_none(fm, **asked):
    try:
        return fm.load_batch(["a"], backend="memory", copy="never", **asked)[0]
    except BatchError as error:
        _, cause = error.failed[0]
        if isinstance(cause, CopyRequiredError | UnsupportedDataError):
            return None
        raise


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["torch", "jax"])
def test_conversion_raises_with_copy_never(fm, framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    fm.save(make_array("numpy"), "a.npy", backend="memory")
    with pytest.raises(CopyRequiredError, match=r"backend 'memory': 'a\.npy' needs a copy"):
        fm.load("a.npy", backend="memory", copy="never", framework=framework)
    assert fm.load("a.npy", backend="memory", framework=framework)[1, 2] == 18


def test_other_dtype_is_a_copy(fm):
    fm.save(make_array("numpy"), "a.npy", backend="memory")
    with pytest.raises(CopyRequiredError, match="converting float32 to float64"):
        fm.load("a.npy", backend="memory", copy="never", dtype="f8")


def test_element_is_a_copy(fm):
    fm.save(make_array("numpy"), "a.npy", backend="memory")
    assert fm.load("a.npy", backend="memory", region=(1, 2)) == 18
    with pytest.raises(CopyRequiredError, match="is one element"):
        fm.load("a.npy", backend="memory", region=(1, 2), copy="never")
    view = fm.load("a.npy", backend="memory", region=(1, 2, ...), copy="never")
    assert (view.shape, view) == ((), 18)


@pytest.mark.parametrize("region", [[0, 1], np.array([True] * 4), (slice(2), [0])])
@pytest.mark.parametrize("copy", ["always", "never"])
def test_regions_are_basic(fm, region, copy):
    fm.save(make_array("numpy"), "a.npy", backend="memory")
    with pytest.raises(InvalidOptionError, match="integers, slices"):
        fm.load("a.npy", backend="memory", region=region, copy=copy)


@pytest.mark.parametrize("value", [7, {"a": 1}, None])
@pytest.mark.parametrize("copy", ["always", "never"])
def test_region_needs_parts(fm, value, copy):
    fm.save(value, "a", backend="memory")
    with pytest.raises(
        UnsupportedDataError, match=r"'a' cannot be loaded: region=0 does not fit"
    ):
        fm.load("a", backend="memory", region=0, copy=copy)


@pytest.mark.parametrize("backend", ["disk", "zarr"])
@pytest.mark.parametrize("options", [{}, {"framework": "numpy"}, {"dtype": "f8"}])
def test_files_return_new_memory(fm, tmp_path, backend, options):
    pytest.importorskip(f"polystore_{backend}", reason=f"polystore-{backend} is not installed")
    path = tmp_path / "a.zarr" / "b.npy"
    fm.save(make_array("numpy"), path, backend=backend)
    for copy in ("auto", "always", "never"):
        if copy == "never" and "dtype" in options:
            with pytest.raises(CopyRequiredError, match=r"converting .* makes a new array"):
                fm.load(path, backend=backend, copy=copy, **options)
        else:
            found = fm.load(path, backend=backend, copy=copy, **options)
            assert found.flags.writeable
            assert found.tolist() == make_array("numpy").tolist()


@pytest.mark.parametrize("value", ["text", b"bytes", 7, (1, "a")])
def test_immutable_values_are_shared(fm, value):
    fm.save(value, "a", backend="memory")
    assert fm.load("a", backend="memory") is value


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", ["jax", "tensorflow"])
def test_immutable_arrays_are_shared(fm, framework):
    pytest.importorskip(framework, reason=f"{framework} is not installed")
    value = make_array(framework)
    for saved in (value, {"a": value}):
        fm.save(saved, "a", backend="memory")
        for copy, shared in [("auto", True), ("never", True), ("always", False)]:
            found = fm.load("a", backend="memory", copy=copy)
            found = found["a"] if isinstance(found, dict) else found
            assert type(found) is type(value)
            assert np.shares_memory(to_numpy(found), to_numpy(value)) == shared
            assert np.array_equal(to_numpy(found), to_numpy(value))
    numpy = fm.load("a", backend="memory", copy="always", framework="numpy")["a"]
    assert numpy.flags.writeable
    assert not np.shares_memory(numpy, to_numpy(value))


@pytest.mark.frameworks
def test_save_copies_array_on_request(fm):
    pytest.importorskip("jax", reason="jax is not installed")
    value = make_array("jax")
    fm.save(value, "a", backend="memory", copy="always")
    assert fm.load("a", backend="memory") is not value
    value.delete()  # A compiled function also deletes its donated arguments.
    assert fm.load("a", backend="memory")[1, 2] == 18


@pytest.mark.frameworks
def test_tensors_with_gradients_are_copied(fm):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    leaf = torch.arange(4.0, requires_grad=True)
    values = {
        "leaf": leaf,
        "computed": leaf * 2,
        "parameter": torch.nn.Parameter(leaf.detach()),
    }
    for name, value in values.items():
        fm.save(value, name, backend="memory")
    fm.save({"all": [*values.values()]}, "dict", backend="memory")
    with torch.no_grad():
        leaf[:] = 0
    expected = {"leaf": [0, 1, 2, 3], "computed": [0, 2, 4, 6], "parameter": [0, 1, 2, 3]}
    inside = fm.load("dict", backend="memory")["all"]
    for number, (name, numbers) in enumerate(expected.items()):
        for found in (fm.load(name, backend="memory"), inside[number]):
            assert found.tolist() == numbers
            assert type(found) is type(values[name])
            assert found.requires_grad == (name != "computed")
            assert found.is_leaf


@pytest.mark.frameworks
def test_views_are_stored_without_their_base(fm):
    torch = pytest.importorskip("torch", reason="torch is not installed")
    value = torch.tensor([[1 + 2j, 3 - 1j]] * 100)
    for view in (value[0], value[0].conj(), value[0].conj().imag, value[:1].expand(3, 2)):
        fm.save(view, "a", backend="memory")
        found = fm.load("a", backend="memory")
        assert torch.equal(found, view)
        assert found.untyped_storage().nbytes() < value.untyped_storage().nbytes()


@pytest.mark.frameworks
def test_variable_keeps_its_value(fm):
    tensorflow = pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    value = tensorflow.Variable([1.0, 2.0])
    fm.save(value, "a", backend="memory")
    value.assign_add([5.0, 5.0])
    fm.load("a", backend="memory").assign([7.0, 7.0])
    assert fm.load("a", backend="memory").numpy().tolist() == [1.0, 2.0]


def test_elements_of_structures_are_copied(fm):
    value = np.zeros(3, [("area", "f4"), ("label", "u2")])
    fm.save(value, "a.npy", backend="memory")
    fm.load("a.npy", backend="memory", region=1)["area"] = 5
    fm.save(value[2], "b", backend="memory")
    value[2]["area"] = 5
    assert fm.load("a.npy", backend="memory")["area"].tolist() == [0, 0, 0]
    assert fm.load("b", backend="memory")["area"] == 0


@pytest.mark.parametrize("value", [np.zeros(3), np.array([{}]), "text", {"a": [1]}])
@pytest.mark.parametrize("copy", ["maybe", None, True])
def test_invalid_copy_saves_nothing(fm, value, copy):
    with pytest.raises(InvalidOptionError, match="auto, always, never"):
        fm.save(value, "a", backend="memory", copy=copy)
    assert not fm.exists("a", backend="memory")


@pytest.mark.parametrize("backend", ["disk", "zarr"])
def test_files_refuse_copy_option(fm, tmp_path, backend):
    pytest.importorskip(f"polystore_{backend}", reason=f"polystore-{backend} is not installed")
    path = tmp_path / "a.zarr" / "b.npy"
    with pytest.raises(UnknownOptionError, match="'copy'"):
        fm.save(make_array("numpy"), path, backend=backend, copy="never")
    assert not path.parent.exists()


def test_handle_returns_view_or_copy(fm):
    value = make_array("numpy")
    fm.save(value, "a.npy", backend="memory", copy="never")
    handle = fm.open("a.npy", backend="memory")
    for array, region in [
        (handle, np.s_[1:, ::-1]),
        (handle.transpose((1, 0)), np.s_[::-2, 1]),
    ]:
        view = array.load(region=region, copy="never")
        assert np.shares_memory(view, value)
        assert not view.flags.writeable
        for copy in ("auto", "always"):
            own = array.load(region=region, copy=copy)
            assert not np.shares_memory(own, value)
            assert own.flags.writeable
            assert np.array_equal(own, view)


def test_workspace_passes_copy_on(fm, tmp_path):
    workspace = pytest.importorskip("polystore_workspace", reason="not installed")
    value = make_array("numpy")
    fm.save(value, "stack.npy", backend="memory", copy="never")
    entries = {f"{n}.npy": workspace.Reference("memory", "stack.npy", (n,)) for n in range(4)}
    workspace.Workspace(entries).save(tmp_path / "ws.json")
    fm.registry.add("ws", "virtual_workspace", file=tmp_path / "ws.json")
    for copy, shared in [("auto", False), ("never", True), ("always", False)]:
        found = [
            fm.load("1.npy", "ws", copy=copy),
            fm.load("1.npy", "ws", region=np.s_[2:], copy=copy),
            *fm.load_batch(list(entries), "ws", copy=copy),
            *fm.load_batch(["2.npy"], "ws", copy=copy),
            fm.open("1.npy", "ws").load(copy=copy),
        ]
        for part in found:
            assert np.shares_memory(part, value) == shared
            assert part.flags.writeable == (not shared)
