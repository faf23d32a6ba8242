"""Images of one layer whose metadata differs are rejected, and the error has both values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from polystore_core import BackendRegistry, FileManager, Image
from polystore_core.errors import BatchError, InvalidOptionError

PLANE = np.zeros((4, 5), "u2")


def image(**words: Any) -> Image:
    return Image.of(PLANE, **{"scale": (0.5, 0.5), "units": "um", "channels": ["GFP"], **words})


@pytest.fixture
def files(tmp_path, monkeypatch) -> FileManager:
    """Give a file manager without a receiver, because metadata is compared before one is needed."""
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path))
    return FileManager(BackendRegistry())


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"scale": (0.5, 0.25)}, r"scale \(0\.5, 0\.25\), but 'a_1' has \(0\.5, 0\.5\)"),
        ({"units": "nm"}, r"units \('nanometer', 'nanometer'\), but 'a_1' has \('micro"),
        ({"channels": ["DAPI"]}, r"channels \[\('DAPI', None\)\], but 'a_1' has \[\('GFP'"),
    ],
)
def test_disagreement_is_refused(
    files: FileManager, other: dict[str, Any], message: str
) -> None:
    values = [image(), PLANE, image(**other)]
    with pytest.raises(InvalidOptionError, match=f"'a_3' has {message}") as caught:
        files.save_batch(values, ["a_1", "a_2", "a_3"], "streaming")
    assert f"pass {next(iter(other))}= for all images" in str(caught.value)
    # The option holds for all images.
    with pytest.raises(BatchError, match="has no receiver"):
        files.save_batch(values, ["a_1", "a_2", "a_3"], "streaming", **other)


def test_layers_may_differ(files: FileManager) -> None:
    """Images of other layers, or with other display limits, need not agree."""
    values = [image(), image(channels=["DAPI"])]
    with pytest.raises(BatchError):
        files.save_batch(values, ["a_w1", "a_w2"], "streaming", names="a_{channel}")
    values = [image(), image(channels=[{"name": "GFP", "limits": (1, 9)}])]
    with pytest.raises(BatchError):
        files.save_batch(values, ["a_1", "a_2"], "streaming")


def test_axes_must_agree(files: FileManager) -> None:
    stacks = [Image.of(np.zeros((2, 4, 5)), axes=axes) for axes in ("tyx", "zyx")]
    with pytest.raises(InvalidOptionError, match="axes 'zyx', but 'a_1' has 'tyx'"):
        files.save_batch(stacks, ["a_1", "a_2"], "streaming")


def test_later_items_are_not_loaded_early(files: FileManager) -> None:
    """A sequence that loads an item when it is indexed is compared item by item."""

    class LazyItems(Sequence[Any]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            assert index == 0, "the first item has failed, because no receiver runs"
            return image()

    with pytest.raises(BatchError):
        files.save_batch(LazyItems(), ["a_1", "a_2"], "streaming")
