from __future__ import annotations

import importlib
import io
import os
import pickle
import warnings
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core import formats
from polystore_core.errors import DamagedDataError, InvalidOptionError, UnsupportedFileError

if TYPE_CHECKING:
    from collections.abc import Callable

require = (
    importlib.import_module
    if os.environ.get("POLYSTORE_REQUIRE_ALL") == "1"
    else pytest.importorskip
)
torch = require("torch")
PT: Any = formats().of("x.pt")

pytestmark = pytest.mark.frameworks

DTYPES = [
    "bool",
    "uint8",
    "int8",
    "uint16",
    "int16",
    "uint32",
    "int32",
    "uint64",
    "int64",
    "float16",
    "bfloat16",
    "float32",
    "float64",
    "complex64",
    "complex128",
    "float8_e4m3fn",
]
SHAPES: list[tuple[int, ...]] = [(), (0,), (3, 0, 2), (5,), (2, 3, 4)]


def assert_same(found: Any, value: Any) -> None:
    assert type(found) is type(value)
    if isinstance(value, torch.Tensor):
        assert found.dtype == value.dtype
        assert found.shape == value.shape
        assert found.requires_grad == value.requires_grad
        bits = (
            tensor.detach().contiguous().flatten().view(torch.uint8)
            for tensor in (found, value)
        )
        assert torch.equal(*bits)
    elif isinstance(value, dict):
        assert list(found) == list(value)
        assert all(type(a) is type(b) for a, b in zip(found, value, strict=True))
        for key in value:
            assert_same(found[key], value[key])
    elif isinstance(value, list | tuple):
        assert len(found) == len(value)
        for pair in zip(found, value, strict=True):
            assert_same(*pair)
    else:
        assert found == value


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_tensors_come_back(
    dtype: str, shape: tuple[int, ...], encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    values = torch.arange(24)[: int(np.prod(shape))].reshape(shape)
    value = values.to(getattr(torch, dtype))
    assert_same(read(PT, encode(PT, value)), value)


@pytest.mark.parametrize(
    "value",
    [
        {
            "weights": torch.ones(3, 4),
            "step": 7,
            "nested": [1.5, ("text", None, True, b"bytes")],
        },
        OrderedDict(a=torch.zeros(2), b=OrderedDict(c=[])),
        torch.nn.Parameter(torch.ones(3)),
        torch.nn.Parameter(torch.ones(3), requires_grad=False),
        torch.ones(3, requires_grad=True),
        {1: "one", 2.5: None, False: "x", None: 1, torch.float32: 2},
        [torch.Size([1, 2]), torch.float16, 3 + 4j, 10**100, "ü\ud800", (), {}, []],
        "text",
        torch.tensor([float("nan"), float("inf"), -0.0]),
    ],
)
def test_values_come_back(
    value: Any, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    assert_same(read(PT, encode(PT, value)), value)


def test_state_dicts_come_back(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    found = read(PT, encode(PT, model.state_dict()))
    assert_same(found, model.state_dict())
    assert found._metadata == model.state_dict()._metadata
    torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4)).load_state_dict(found)


def test_optimizers_come_back(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    weights = torch.nn.Parameter(torch.ones(3))
    optimizer = torch.optim.Adam([weights])
    weights.sum().backward()
    optimizer.step()
    assert_same(read(PT, encode(PT, optimizer.state_dict())), optimizer.state_dict())


def test_torch_reads_our_files(encode: Callable[..., bytes]) -> None:
    value = {"a": torch.arange(5), "b": [1, "x"]}
    assert_same(torch.load(io.BytesIO(encode(PT, value)), weights_only=True), value)


def test_files_of_torch_load(read: Callable[..., Any], tmp_path: Path) -> None:
    value = {"a": torch.arange(5), "b": {1, 2}}
    torch.save(value, tmp_path / "named by its path.pt")
    assert_same(read(PT, (tmp_path / "named by its path.pt").read_bytes()), value)


def test_views_are_saved_alone(encode: Callable[..., bytes], read: Callable[..., Any]) -> None:
    batch = torch.arange(1_000_000.0).reshape(1000, 1000)
    views = [batch[7], batch[:, 7], batch[5:7].T, torch.nn.Parameter(batch[3])]
    data = encode(PT, views)
    assert len(data) < 40_000
    assert_same(read(PT, data), views)
    # The tensor that was passed is not changed.
    assert views[0].untyped_storage().nbytes() == 4_000_000


def test_expanded_tensors_stay_small(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    value = torch.ones(1).expand(1000, 1000)
    data = encode(PT, value)
    assert len(data) < 3_000
    assert_same(read(PT, data), value)


def test_shared_tensors_stay_shared(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    tied = torch.ones(3)
    found = read(PT, encode(PT, {"encoder": tied, "decoder": tied}))
    assert found["encoder"].data_ptr() == found["decoder"].data_ptr()


def test_bytes_are_repeatable(encode: Callable[..., bytes]) -> None:
    value = {"a": torch.arange(5), "b": [1, "x"]}
    assert encode(PT, value) == encode(PT, value)


class Tensor(torch.Tensor):  # type: ignore[misc, name-defined]
    pass


def _nest(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


def test_computed_values_are_saved(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    leaf = torch.tensor([1 + 2j, 3 - 4j], requires_grad=True)
    for computed in (leaf * 2, leaf.conj(), leaf.conj().imag, (leaf * 2)[1:]):
        found = read(PT, encode(PT, {"loss": computed}))["loss"]
        assert found.tolist() == computed.tolist()
        assert not found.requires_grad
        assert not found.is_conj()
        assert not found.is_neg()
    conjugated = leaf.conj().detach().requires_grad_()
    found = read(PT, encode(PT, conjugated))
    assert (found.tolist(), found.requires_grad) == (conjugated.tolist(), True)


def _with_attribute() -> Any:
    tensor = torch.ones(3)
    tensor.channel = "dapi"
    return tensor


@pytest.mark.parametrize(
    ("value", "advice"),
    [
        (torch.nn.Linear(2, 2), "save module.state_dict()"),
        (np.zeros(3), "save torch.asarray(value), or save it as .npy"),
        ({"loss": np.float64(0.5)}, "numpy.float64 is not a plain torch.Tensor"),
        (torch.eye(3).to_sparse(), "save tensor.to_dense()"),
        (torch.empty(3, device="meta"), "no data"),
        (torch.ones(3).as_subclass(Tensor), "test_torch.Tensor is not a plain torch.Tensor"),
        (_with_attribute(), "its own attributes"),
        ({"f": print}, "builtin_function_or_method is not supported"),
        ([object()], "object is not supported"),
        ({(1, 2): 3}, "the key (1, 2)"),
        ({torch.ones(1): 3}, "the key tensor"),
        (frozenset({1}), "frozenset is not supported"),
        (PurePosixPath("x"), "PurePosixPath is not supported"),
        (_nest(101), "nested more than 100 levels deep"),
        (_nest(100_000), "nested more than 100 levels deep"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_refusal_gives_advice(value: Any, advice: str, refusal: Callable[..., str]) -> None:
    assert advice in refusal(PT, value)


def test_circles_are_refused(refusal: Callable[..., str]) -> None:
    circle: list[Any] = []
    circle.append(circle)
    assert "nested" in refusal(PT, circle)


def test_deepest_nesting_comes_back(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    assert read(PT, encode(PT, _nest(100))) == _nest(100)


@pytest.mark.parametrize("device", ["nonsense", "cuda:99", 3])
def test_unknown_device_is_refused(
    device: Any, encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    with pytest.raises(InvalidOptionError, match="a device of this machine"):
        read(PT, encode(PT, torch.ones(3)), map_location=device)


class _FullDisk(io.BytesIO):
    def write(self, data: Any) -> int:
        if self.tell() > 2_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_full_disk_keeps_errno() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        PT.save(torch.ones(100_000), _FullDisk())
    assert caught.value.errno == 28


# ── damage ───────────────────────────────────────────────────────────────────────────────


def test_damaged_data_is_found(
    encode: Callable[..., bytes], survivors: Callable[..., list[Any]]
) -> None:
    """PyTorch does not check CRC-32, so it would load changed numbers."""
    value = {"a": torch.arange(1000), "b": [1, "x"]}
    loaded = survivors(PT, encode(PT, value))
    for found in loaded:
        assert_same(found, value)
    assert len(loaded) < 60


class _Attack:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("old", [False, True])
def test_nothing_is_executed(old: bool, read: Callable[..., Any], tmp_path: Path) -> None:
    file = io.BytesIO()
    attack = {"w": torch.ones(3), "x": _Attack(tmp_path / "executed")}
    torch.save(attack, file, _use_new_zipfile_serialization=not old)
    with pytest.raises(UnsupportedFileError) as caught:
        read(PT, file.getvalue())
    assert not (tmp_path / "executed").exists()
    # The error does not advise to switch the protection off.
    assert "weights_only" not in str(caught.value)
    assert "safe_globals" not in str(caught.value)
    with pytest.raises(UnsupportedFileError):
        read(PT, pickle.dumps(_Attack(tmp_path / "executed")))
    assert not (tmp_path / "executed").exists()


def test_modules_are_not_loaded(read: Callable[..., Any]) -> None:
    file = io.BytesIO()
    torch.save(torch.nn.Linear(2, 2), file)
    with pytest.raises(UnsupportedFileError, match=r"Unsupported global.*Linear"):
        read(PT, file.getvalue())


def test_programs_are_not_run(read: Callable[..., Any]) -> None:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), file)
    with pytest.raises(UnsupportedFileError, match="a TorchScript program"):
        read(PT, file.getvalue())


def _edit_archive(data: bytes, edit: Callable[[str, bytes], bytes], method: int = 0) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(file, "w", method) as new:
        for member in old.infolist():
            new.writestr(member.filename, edit(member.filename, old.read(member)))
    return file.getvalue()


def _pickle_edit(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    def edit(name: str, content: bytes) -> bytes:
        assert old in content or not name.endswith("data.pkl")
        return content.replace(old, new) if name.endswith("data.pkl") else content

    return edit


@pytest.mark.parametrize(
    "edit",
    [
        _pickle_edit(b"M\xe8\x03", b"J\xff\xff\xff\x7f"),  # storage and tensor of 8 GiB
        _pickle_edit(b"K\x00M\xe8\x03", b"K\x00M\xe9\x03"),  # a tensor beyond its storage
        _pickle_edit(b"K\x00M\xe8\x03", b"K\x01M\xe8\x03"),  # a tensor that starts late
        _pickle_edit(b"s.", b"s"),
        _pickle_edit(b"\x80\x02", b"\x80\xff"),
        lambda name, content: b"" if "/data/" in name else content,
        lambda name, content: b"huge" if name.endswith("byteorder") else content,
    ],
)
def test_contradictions_are_damage(
    edit: Callable[[str, bytes], bytes], encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    data = encode(PT, {"a": torch.arange(1000.0)})
    assert_same(
        read(PT, _edit_archive(data, lambda name, content: content)),
        {"a": torch.arange(1000.0)},
    )
    with pytest.raises(DamagedDataError):
        read(PT, _edit_archive(data, edit))


def test_checkpoints_of_other_classes_are_not_damage(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    file = io.BytesIO()
    torch.save({"loss": np.float64(1.5), "w": torch.ones(2)}, file)
    unknown = _edit_archive(
        encode(PT, torch.ones(2)), _pickle_edit(b"FloatStorage", b"NoSuchStorage")
    )
    for data in (file.getvalue(), unknown):
        with pytest.raises(UnsupportedFileError, match="save its tensors and plain values"):
            read(PT, data)


def test_packed_members_are_refused(
    encode: Callable[..., bytes], read: Callable[..., Any]
) -> None:
    data = encode(PT, torch.zeros(100_000))
    with pytest.raises(UnsupportedFileError, match="is compressed"):
        read(PT, _edit_archive(data, lambda name, content: content, zipfile.ZIP_DEFLATED))


@pytest.mark.parametrize("data", [b"", b"PK\3\4", b"junk"])
def test_other_files_are_damage(data: bytes, read: Callable[..., Any]) -> None:
    with pytest.raises(DamagedDataError):
        read(PT, data)
