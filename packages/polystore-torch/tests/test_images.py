"""Items, labels, channels, metadata and errors of a dataset in one process."""

import pickle
from pathlib import Path

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager
from polystore_core.errors import (
    BatchError,
    InvalidOptionError,
    UnknownPluginError,
    UnsupportedDataError,
)

torch = pytest.importorskip("torch", reason="torch is not installed")
data = torch.utils.data
Images = pytest.importorskip("polystore_torch").Images
pytestmark = pytest.mark.frameworks
DATA = Path(__file__).parents[4] / "shared/data"
NAMES = "{well}_f{field}_w{channel}.tif"


@pytest.fixture
def plate(tmp_path):
    """Save two wells of eleven fields and two channels. Each image holds its own number."""
    fm, number = FileManager(), 0
    for well in ("B02", "B10"):
        for field in range(1, 12):
            for channel in (1, 2):
                image = np.full((6, 5), number, np.uint16)
                path = tmp_path / f"plate/{well}_f{field}_w{channel}.tif"
                fm.save(image, path, "disk", scale={"y": 0.5, "x": 0.25}, units="um")
                number += 1
    (tmp_path / "plate/notes.txt").write_text("not an image")
    return str(tmp_path / "plate")


def test_files_of_a_field_are_channels(plate):
    images = Images(plate, backend="disk", names=NAMES)
    assert len(images) == 22
    assert images.channels == ("1", "2")
    image, labels = images[9]
    assert image.shape == (2, 6, 5)
    assert image.dtype == torch.uint16
    assert image[:, 0, 0].tolist() == [18, 19]
    assert labels == {"well": "B02", "field": "10"}


def test_order_is_natural(plate):
    images = Images(plate, backend="disk", names=NAMES)
    found = [labels["field"] for _, labels in images]
    assert found == [str(field) for field in range(1, 12)] * 2
    assert [int(image[0, 0, 0]) for image, _ in images] == list(range(0, 44, 2))


def test_channels_select_and_order(plate):
    images = Images(plate, backend="disk", names=NAMES, channels=["2", "1"])
    assert images[0][0][:, 0, 0].tolist() == [1, 0]
    images = Images(plate, backend="disk", names=NAMES, channels=["2"])
    assert images[0][0][:, 0, 0].tolist() == [1]


def test_along_names_another_field(plate):
    images = Images(plate, backend="disk", names="{well}_f{z}_w{channel}.tif", along="z")
    assert len(images) == 4
    assert images.channels == tuple(str(z) for z in range(1, 12))
    assert images[1][1] == {"well": "B02", "channel": "2"}


def test_without_channels_a_file_is_an_item(plate):
    for options in ({"names": "{name}.tif"}, {"names": "*.tif"}, {"names": NAMES, "along": ""}):
        images = Images(plate, backend="disk", **options)
        assert len(images) == 44
        assert images[3][0].shape == (6, 5)
    assert images[3][1] == {"well": "B02", "field": "2", "channel": "2"}


def test_indices_are_those_of_a_sequence(plate):
    images = Images(plate, backend="disk", names=NAMES)
    assert images[-1][1] == images[21][1] == images[np.int64(21)][1]
    for index in (22, -23):
        with pytest.raises(IndexError, match="out of range"):
            images[index]


def test_folders_are_found_by_a_template_with_a_slash(tmp_path):
    for well in ("A1", "A2"):
        FileManager().save(np.zeros((3, 3)), tmp_path / well / "f1.npy", "disk")
    images = Images(tmp_path, backend="disk", names="{well}/f{field}.npy")
    assert [labels["well"] for _, labels in images] == ["A1", "A2"]


def test_options_convert_and_cut(plate):
    images = Images(plate, backend="disk", names=NAMES, dtype="float32", region=np.s_[:4, 1:4])
    assert images[0][0].dtype == torch.float32
    assert images[0][0].shape == (2, 4, 3)


def test_transform_replaces_the_image(plate):
    images = Images(plate, backend="disk", names=NAMES, transform=lambda image: image[:, 0])
    assert images[4][0].tolist() == [[8] * 5, [9] * 5]


def test_metadata_is_available(plate):
    images = Images(plate, backend="disk", names=NAMES)
    found = images.metadata(0)
    assert found.names == ("channel", "y", "x")
    assert found.scale == (None, 0.5, 0.25)
    assert found.units == (None, "micrometer", "micrometer")
    single = Images(plate, backend="disk", names="{name}.tif")
    assert single.metadata(-1).names == ("y", "x")


@pytest.mark.parametrize("names", [NAMES, "{name}.tif"])
def test_as_image_gives_metadata_to_the_transform(plate, names):
    seen = []

    def note(image):
        seen.append(image)
        return image

    images = Images(plate, backend="disk", names=names, as_="image", transform=note)
    tensor, _ = images[5]
    assert isinstance(tensor, torch.Tensor)
    assert seen[0].metadata.scale[-2:] == (0.5, 0.25)
    assert seen[0].metadata.names == images.metadata(5).names
    assert seen[0].data is tensor


def test_channels_of_the_files_stay(tmp_path):
    fm, image = FileManager(), np.zeros((2, 4, 4), np.uint16)
    for z in (1, 2):
        path = tmp_path / f"a_z{z}.ome.tif"
        fm.save(image, path, "disk", axes="cyx", channels=["DAPI", "GFP"])
    images = Images(tmp_path, backend="disk", names="{name}_z{z}.ome.tif", along="z")
    found = images.metadata(0)
    assert found.names == ("z", "c", "y", "x")
    assert [channel.name for channel in found.channels] == ["DAPI", "GFP"]
    assert images[0][0].shape == (2, 2, 4, 4)


def test_files_without_metadata_have_none(tmp_path):
    FileManager().save(np.zeros((3, 3)), tmp_path / "a_w1.npy", "disk")
    images = Images(tmp_path, backend="disk", names="{name}_w{channel}.npy")
    assert images.metadata(0) is None
    assert images[0][0].shape == (1, 3, 3)


def test_one_load_for_a_batch(plate):
    class Counting(FileManager):
        calls = []

        def load_batch(self, paths, backend, **options):
            self.calls.append(len(paths))
            return super().load_batch(paths, backend, **options)

    images = Images(plate, backend="disk", names=NAMES, files=Counting())
    for _ in data.DataLoader(images, batch_size=8):
        pass
    assert Counting.calls == [16, 16, 12]
    images.__getitems__([3, 3])  # samplers draw with replacement
    assert Counting.calls[-1] == 4


def test_repr_describes_the_dataset(plate):
    images = Images(plate, backend="disk", names=NAMES)
    assert repr(images) == (
        f"<Images: 22 items, names={NAMES!r}, backend='disk', channels=('1', '2')>"
    )


def test_pickles_without_open_files(plate, descriptors):
    before = descriptors()
    images = Images(plate, backend="disk", names=NAMES)
    images[0]
    again = pickle.loads(pickle.dumps(images))
    assert torch.equal(again[3][0], images[3][0])
    assert descriptors() == before


def test_template_without_a_match_is_an_error(plate, tmp_path):
    with pytest.raises(InvalidOptionError) as caught:
        Images(plate, backend="disk", names="{well}_s{site}.tif")
    assert "_s{site}.tif" in str(caught.value)
    assert "the first of 45 is" in str(caught.value)
    assert "B02_f1_w1.tif" in str(caught.value)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidOptionError, match="empty' fits; it is empty"):
        Images(tmp_path / "empty", backend="disk", names=NAMES)


def test_missing_channel_names_its_neighbour(plate):
    Path(plate, "B10_f3_w2.tif").unlink()
    with pytest.raises(InvalidOptionError, match=r"channel \{'2'\} next to .*B10_f3_w1.tif"):
        Images(plate, backend="disk", names=NAMES)
    assert len(Images(plate, backend="disk", names=NAMES, channels=["1"])) == 22


def test_two_files_with_the_same_fields_are_an_error(plate):
    with pytest.raises(InvalidOptionError, match="have the same fields"):
        Images(plate, backend="disk", names="{well}_*_w{channel}.tif")


@pytest.mark.parametrize("odd", [np.zeros((6, 4), np.uint16), np.zeros((6, 5), np.uint8)])
def test_uneven_channels_are_refused(plate, odd):
    FileManager().save(odd, f"{plate}/B02_f1_w2.tif", "disk")
    images = Images(plate, backend="disk", names=NAMES)
    with pytest.raises(UnsupportedDataError, match="one shape and dtype") as caught:
        images[0]
    assert "B02_f1_w1.tif" in str(caught.value)
    assert images[1][0].shape == (2, 6, 5)


def test_errors_name_the_backend_and_the_file(plate):
    with pytest.raises(InvalidOptionError, match="dtype='float23' is not valid"):
        Images(plate, backend="disk", names=NAMES, dtype="float23")[0]
    with pytest.raises(UnknownPluginError, match="'dsik'"):
        Images(plate, backend="dsik", names=NAMES)
    images = Images(plate, backend="disk", names=NAMES)
    Path(plate, "B02_f1_w2.tif").unlink()
    with pytest.raises(BatchError, match=r"B02_f1_w2\.tif"):
        images[0]


@pytest.mark.skipif(not DATA.is_dir(), reason=f"data: {DATA} is absent")
@pytest.mark.parametrize(
    ("folder", "names", "count", "shape"),
    [
        ("plate-cellomics", "*_{well}f{field}d{channel}.TIF", 72, (1, 512, 512)),
        ("fly-3channel", "01_POS{site}_{channel}.TIF", 3, (3, 1006, 1000)),
    ],
)
def test_real_images_load(folder, names, count, shape):
    fm = FileManager(BackendRegistry())
    images = Images(DATA / folder, backend="disk", names=names, files=fm, dtype="float32")
    assert len(images) == count
    for batch, labels in data.DataLoader(images, batch_size=3):
        assert batch.shape == (3, *shape)
        assert {len(texts) for texts in labels.values()} == {3}
