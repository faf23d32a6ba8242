"""Worker processes load images from every backend, forked or spawned."""

import ast
from pathlib import Path

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager

torch = pytest.importorskip("torch", reason="torch is not installed")
data = torch.utils.data
polystore_torch = pytest.importorskip("polystore_torch")
pytestmark = [pytest.mark.frameworks, pytest.mark.timeout(120)]
NAMES = "{well}_f{field}_w{channel}.npy"


def make_images(backend, tmp_path, **options):
    """Return a dataset of five images of two channels. Each plane holds its number."""
    registry = BackendRegistry()
    registry.add("archive", "zip", file=str(tmp_path / "plate.zip"))
    fm = FileManager(registry)
    # A folder of files has an absolute path. A folder of an archive has a path inside it.
    folder = "plate" if backend == "archive" else str(tmp_path / "plate")
    paths = [f"{folder}/B02_f{n}_w{c}.npy" for n in range(5) for c in (1, 2)]
    values = [np.full((4, 3), n, np.uint16) for n in range(10)]
    fm.save_batch(values, paths, backend)
    return polystore_torch.Images(folder, backend=backend, names=NAMES, files=fm, **options)


def load(images, context, workers=2):
    """Return the first pixel of each channel of each image, and the fields."""
    loader = data.DataLoader(
        images, batch_size=2, num_workers=workers, multiprocessing_context=context
    )
    batches = list(loader)
    assert [batch.shape for batch, _ in batches[:2]] == [(2, 2, 4, 3)] * 2
    pixels = [pixel for batch, _ in batches for pixel in batch[:, :, 0, 0].tolist()]
    return pixels, [field for _, labels in batches for field in labels["field"]]


@pytest.mark.parametrize("context", ["fork", "spawn"])
@pytest.mark.parametrize("backend", ["disk", "zarr", "archive"])
def test_workers_load_every_image(tmp_path, backend, context):
    images = make_images(backend, tmp_path)
    images[0]  # an open file must not confuse a worker
    pixels, fields = load(images, context)
    assert pixels == [[n, n + 1] for n in range(0, 10, 2)]
    assert fields == ["0", "1", "2", "3", "4"]


def test_forked_workers_see_memory(tmp_path):
    pixels, _ = load(make_images("memory", tmp_path), "fork")
    assert pixels == [[n, n + 1] for n in range(0, 10, 2)]


def test_spawned_workers_explain_missing_memory(tmp_path):
    images = make_images("memory", tmp_path)
    with pytest.raises(RuntimeError, match="values in memory belong to one process"):
        load(images, "spawn", workers=1)


def test_persistent_workers_load_each_epoch(tmp_path):
    images = make_images("disk", tmp_path, dtype="float32")
    loader = data.DataLoader(images, shuffle=True, num_workers=1, persistent_workers=True)
    for _ in range(3):
        found = sorted(int(batch[0, 0, 0, 0]) for batch, _ in loader)
        assert found == [0, 2, 4, 6, 8]


def test_subsets_load(tmp_path):
    images = make_images("disk", tmp_path)
    parts = data.random_split(images, [3, 2], torch.Generator().manual_seed(1))
    found = [int(image[0, 0, 0]) for part in parts for image, _ in part]
    assert sorted(found) == [0, 2, 4, 6, 8]
    pixels, fields = load(data.Subset(images, [4, 0, 4, 1]), "fork")
    assert pixels == [[8, 9], [0, 1], [8, 9], [2, 3]]
    assert fields == ["4", "0", "4", "1"]


def test_source_is_short():
    """A dataset needs little code, at most 80 lines."""
    source = Path(polystore_torch.__file__).read_text("utf-8")
    lines = {
        number
        for number, line in enumerate(source.splitlines(), 1)
        if line.strip() and not line.strip().startswith("#")
    }
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                lines -= set(range(first.lineno, first.end_lineno + 1))
    assert len(lines) <= 80
