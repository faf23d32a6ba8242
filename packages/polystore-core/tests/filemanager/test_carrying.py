"""A transfer keeps the metadata of an image, and reports the part that is lost."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from polystore_core import (
    DataSink,
    DataSource,
    FileManager,
    Image,
    ImageMetadata,
    array_and_words,
    carrying,
)
from polystore_core.errors import (
    InvalidOptionError,
    UnsupportedDataError,
    UnsupportedMetadataError,
)

from .samples import Require

PIXELS = np.arange(24, dtype="u2").reshape(2, 3, 4)
ROUTES: Any = {"source_backend": "one", "target_backend": "two"}
TO_FEW: Any = {"source_backend": "one", "target_backend": "test-few-words"}
TO_DISK: Any = {"source_backend": "one", "target_backend": "disk"}


@pytest.fixture
def image() -> Image:
    return Image.of(
        PIXELS, axes="cyx", scale=(None, 0.5, 0.5), units="micrometer", channels=["a", "b"]
    )


class FewWords(DataSink):
    """Stores axes and scale only."""

    _backend_type = "test-few-words"

    def __init__(self) -> None:
        self.saved: list[tuple[Any, Any]] = []

    def save(self, data: Any, path: Any, /, *, axes: str | None = None) -> None:
        _, words = array_and_words(data)
        if words is not None and "unit" in words.words():
            raise UnsupportedMetadataError("no units", words=("unit",))
        if words is not None and "channels.name" in words.words():
            raise UnsupportedMetadataError("no names", words=("channels.name",))
        if path == "picky":
            raise UnsupportedDataError("axes= is needed")
        self.saved.append((data, axes))


class Viewer(DataSink, DataSource):
    """Returns the shown values, but does not describe them."""

    _backend_type = "test-window"

    def __init__(self) -> None:
        self.shown: dict[Any, Any] = {}

    def save(self, data: Any, path: Any, /) -> None:
        self.shown[path] = data

    def load(self, path: Any, /) -> Any:
        return array_and_words(self.shown[path])[0]

    def load_image(self, path: Any, /, **options: Any) -> Image:
        if not isinstance(self.shown[path], Image):
            raise UnsupportedDataError("no words")
        return self.shown[path]


def test_transfer_keeps_metadata(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    done = memory.transfer("a", "b", **ROUTES)
    assert (done, done.lost, done.skipped) == (["b"], {}, {})
    found = memory.load("b", "two", as_="image")
    assert found.metadata == image.metadata
    np.testing.assert_array_equal(found.data, PIXELS)


@pytest.mark.parametrize("words", [True, False])
def test_viewer_as_source_and_target(memory: FileManager, image: Image, words: bool) -> None:
    """Images keep their metadata even if the backend does not describe them."""
    memory.save(image if words else PIXELS, "a", "one")
    for one, two in (("one", "test-window"), ("test-window", "two")):
        routes: Any = {"source_backend": one, "target_backend": two}
        assert memory.transfer("a", "a", **routes, verify="values") == ["a"]
    found = memory.info("a", "two").image
    assert found == (image.metadata if words else None)
    np.testing.assert_array_equal(memory.load("a", "two"), PIXELS)


def test_folder_of_images_and_other_values(memory: FileManager, image: Image) -> None:
    memory.save_batch([image, "text", PIXELS], ["f/a", "f/b", "f/c"], "one")
    assert memory.transfer("f", "g", **ROUTES) == ["g/a", "g/b", "g/c"]
    assert memory.load("g/a", "two", as_="image").metadata == image.metadata
    assert memory.load("g/b", "two") == "text"
    assert memory.info("g/c", "two").image is None


def test_lost_metadata_is_reported(memory: FileManager, image: Image) -> None:
    memory.save(image, "f/a", "one")
    done = memory.transfer("f", "g", **TO_FEW)
    assert done == ["g/a"]
    assert done.lost == {"g/a": ("unit", "channels.name")}
    ((saved, _),) = memory.registry["test-few-words"].saved  # type: ignore[union-attr]
    assert saved.metadata == Image.of(PIXELS, axes="cyx", scale=(None, 0.5, 0.5)).metadata
    assert repr(done) == "Transferred(['g/a'], lost={'g/a': ('unit', 'channels.name')})"


def test_all_metadata_is_lost(
    memory: FileManager, image: Image, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    memory.save(image, "a", "one")
    target = str(tmp_path / "a.npy")
    done = memory.transfer("a", target, **TO_DISK)
    assert done.lost == {target: ("axes", "channels.name", "scale", "unit")}
    np.testing.assert_array_equal(np.load(target), PIXELS)


def test_error_of_target_is_raised(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    with pytest.raises(UnsupportedDataError, match="axes= is needed"):
        memory.transfer("a", "picky", **TO_FEW)
    assert memory.registry["test-few-words"].saved == []  # type: ignore[union-attr]


def test_explicit_metadata_reaches_save(memory: FileManager, image: Image) -> None:
    memory.save(image, "a", "one")
    memory.transfer("a", "b", **TO_FEW, axes="zyx")
    ((_, axes),) = memory.registry["test-few-words"].saved  # type: ignore[union-attr]
    assert axes == "zyx"


def test_copy_makes_a_tiff_an_ome_tiff(
    fm: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    tifffile = pytest.importorskip("tifffile", reason="tifffile is not installed")
    plain, ome, back = (str(tmp_path / name) for name in ("a.tif", "a.ome.tif", "b.tif"))
    fm.save(PIXELS, plain, "disk", axes="cyx")
    fm.copy(plain, ome, "disk")
    with tifffile.TiffFile(ome) as file:
        assert file.is_ome
    fm.copy(ome, back, "disk")
    assert Path(back).read_bytes() == Path(ome).read_bytes()
    with pytest.raises(InvalidOptionError, match="another format"):
        fm.transfer(plain, ome, source_backend="disk", target_backend="disk", verify="bytes")


# ── large arrays ─────────────────────────────────────────────────────────────────────────


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every array count as large."""
    monkeypatch.setattr(carrying, "_LARGE", 0)


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("words", [True, False])
def test_large_array_is_passed_as_handle(
    memory: FileManager, image: Image, words: bool
) -> None:
    memory.save(image if words else PIXELS, "a", "one")
    memory.transfer("a", "b", **ROUTES, verify="values")
    np.testing.assert_array_equal(memory.load("b", "two"), PIXELS)
    assert isinstance(memory.load("b", "two", copy="never"), np.ndarray)
    found = memory.info("b", "two").image
    assert found == (image.metadata if words else None)


@pytest.mark.usefixtures("small_parts")
def test_large_array_without_handles_is_loaded(
    memory: FileManager, require: Require, tmp_path: Path
) -> None:
    require("polystore_disk")
    np.savez(tmp_path / "a.npz", a=PIXELS)
    memory.transfer(tmp_path / "a.npz", "a", source_backend="disk", target_backend="one")
    assert np.array_equal(memory.load("a", "one")["a"], PIXELS)


class Closing(DataSink):
    """Keeps the last saved value."""

    _backend_type = "test-closing"
    given: Any = None

    def save(self, data: Any, path: Any, /) -> None:
        self.given = data


@pytest.mark.usefixtures("small_parts")
def test_handles_are_closed(memory: FileManager, require: Require, tmp_path: Path) -> None:
    require("polystore_disk")
    np.save(tmp_path / "a.npy", PIXELS)
    memory.transfer(
        tmp_path / "a.npy", "a", source_backend="disk", target_backend="test-closing"
    )
    handle = memory.registry["test-closing"].given  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="closed"):
        handle[0]


def test_unknown_metadata_stays_unknown(memory: FileManager) -> None:
    metadata = ImageMetadata(axes=Image.of(PIXELS).metadata.axes, name="x")
    memory.save(Image(PIXELS, metadata), "a", "one")
    memory.transfer("a", "b", **ROUTES)
    assert memory.load("b", "two", as_="image").metadata == metadata
