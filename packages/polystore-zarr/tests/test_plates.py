from itertools import product
from pathlib import Path

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import InvalidOptionError, NotFoundError, UnsupportedDataError
from polystore_zarr import save_plate

CELLOMICS = Path(__file__).parents[4] / "shared" / "data" / "plate-cellomics"


@pytest.fixture
def fm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FileManager:
    monkeypatch.chdir(tmp_path)
    return FileManager(BackendRegistry())


def plane(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (30, 40), dtype="u1")


def fill(fm: FileManager, names: list[str]) -> dict[str, np.ndarray]:
    planes = {name: plane(seed) for seed, name in enumerate(names)}
    fm.save_batch(list(planes.values()), [f"scan/{name}" for name in planes], backend="disk")
    return planes


def save(fm: FileManager, names: str, **options) -> list[str]:
    return save_plate(
        fm, "scan", "p.ome.zarr", names=names, source_backend="disk", backend="zarr", **options
    )


def test_names_become_axes(fm: FileManager) -> None:
    numbers = product((1, 2), (1, 2), (9, 10), (1, 2))
    planes = fill(fm, [f"x_B03_s{s}_w{w}_z{z}_t{t}.tif" for s, w, z, t in numbers])
    paths = save(fm, "*_{well}_s{site}_w{channel}_z{z}_t{t}.tif", channels={"2": "GFP"})
    assert paths == ["p.ome.zarr/B/03/1", "p.ome.zarr/B/03/2"]
    info = fm.info(paths[1], backend="zarr")
    assert info.metadata["axes"] == ["t", "c", "z", "y", "x"]
    assert info.metadata["channels"] == ["1", "GFP"]
    found = fm.load(paths[1], backend="zarr")
    np.testing.assert_array_equal(found[0, 1, 1], planes["x_B03_s2_w2_z10_t1.tif"])
    np.testing.assert_array_equal(found[1, 0, 0], planes["x_B03_s2_w1_z9_t2.tif"])


def test_row_and_column_suffice(fm: FileManager) -> None:
    fill(fm, ["A1.tif", "B12.tif"])
    assert save(fm, "{row}{column}.tif") == ["p.ome.zarr/A/1/0", "p.ome.zarr/B/12/0"]
    assert fm.info("p.ome.zarr/A/1/0", backend="zarr").shape == (30, 40)


def test_thumbnails_are_left_out(fm: FileManager) -> None:
    """A MetaXpress folder has a small copy of each image, and its name also fits the pattern."""
    guids = [f"{n:08X}-34C4-416E-A9D3-51B90AB53728" for n in range(8)]
    fill(fm, [f"x_A0{well}_s1_w{w}{guids.pop()}.tif" for well in "12" for w in "12"])
    fill(fm, [f"x_A0{well}_s1_w{w}_thumb{guids.pop()}.tif" for well in "12" for w in "12"])
    names = "*_{well}_s{site}_w{w}*.tif"
    with pytest.raises(InvalidOptionError, match="or exclude="):
        save(fm, names)
    paths = save(fm, names, exclude="*_thumb*")
    assert paths == ["p.ome.zarr/A/01/1", "p.ome.zarr/A/02/1"]
    assert fm.info(paths[0], backend="zarr").metadata["channels"] == ["1", "2"]


@pytest.mark.parametrize(
    ("names", "template", "match"),
    [
        (["A1_s1.tif", "other.tif"], "{well}_s{site}.tif", "other"),
        (["A1_z1.tif"], "{plate}_z{z}.tif", "well"),
        (["A1_c1_q.tif"], "{well}_c{channel}_{q}.tif", "well"),
        (["A1_z1.tif", "A1_z2.tif", "A1_z3.tif"], "{well}_*.tif", "tell"),
        (["A1_w1_z1.tif", "A1_w1_z2.tif", "A1_w2_z1.tif"], "{well}_w{w}_z{z}.tif", "c=2, z=2"),
    ],
)
def test_names_must_fit(fm: FileManager, names: list[str], template: str, match: str) -> None:
    fill(fm, names)
    with pytest.raises(InvalidOptionError, match=match):
        save(fm, template)
    assert not Path("p.ome.zarr").exists()


def test_planes_must_stack(fm: FileManager) -> None:
    fill(fm, ["A1_z1.tif"])
    fm.save(np.zeros((9, 9), "u1"), "scan/A1_z2.tif", backend="disk")
    with pytest.raises(UnsupportedDataError, match="the same shape"):
        save(fm, "{well}_z{z}.tif")


def test_empty_folder_is_named(fm: FileManager) -> None:
    fm.ensure_directory("scan", backend="disk")
    with pytest.raises(InvalidOptionError, match=r"folder='scan'.*a folder with image files"):
        save(fm, "{well}.tif")
    fm.delete("scan", backend="disk")
    with pytest.raises(NotFoundError, match="does not exist"):
        save(fm, "{well}.tif")


def test_real_plate_is_valid(fm: FileManager) -> None:
    if not CELLOMICS.is_dir():
        pytest.skip("data: no images of a real plate next to the repository")
    models = pytest.importorskip(
        "ome_zarr_models.v05", reason="ome-zarr-models is not installed"
    )
    import zarr

    seen: list[tuple[int, int]] = []
    paths = save_plate(
        fm,
        str(CELLOMICS),
        "plate.ome.zarr",
        names="*_{well}f{field}d{channel}.TIF",
        source_backend="disk",
        backend="zarr",
        channels={"2": {"label": "DNA", "color": "blue"}},
        progress=lambda done, total: seen.append((done, total)),
    )
    assert len(paths) == 24 * 3
    assert seen[-1] == (72, 72)
    plate = models.HCS.from_zarr(zarr.open_group("plate.ome.zarr", mode="r"))
    assert len(plate.attributes.ome.plate.wells) == 24
    first = fm.load(paths[0], backend="zarr")[0]
    source = CELLOMICS / "AS_09047_050428030001_O01f00d2.TIF"
    np.testing.assert_array_equal(first, fm.load(source, backend="disk"))
