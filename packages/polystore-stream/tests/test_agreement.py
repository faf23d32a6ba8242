"""Images of one layer that say different things are refused, with both values."""

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
    """Nobody listens: what is refused for its words is refused before that."""
    monkeypatch.setenv("POLYSTORE_RUNTIME_DIR", str(tmp_path))
    return FileManager(BackendRegistry())


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"scale": (0.5, 0.25)}, r"scale \(0\.5, 0\.25\), but 'a_1' has \(0\.5, 0\.5\)"),
        ({"units": "nm"}, r"units \('nanometer', 'nanometer'\), but 'a_1' has \('micro"),
        ({"channels": ["DAPI"]}, r"channels \[\('DAPI', None\)\], but 'a_1' has \[\('GFP'"),
    ],
)
def test_disagreement_is_refused(files: FileManager, other: dict[str, Any], told: str) -> None:
    values = [image(), PLANE, image(**other)]
    with pytest.raises(InvalidOptionError, match=f"'a_3' has {told}") as caught:
        files.save_batch(values, ["a_1", "a_2", "a_3"], "streaming")
    assert f"pass {next(iter(other))}= for all images" in str(caught.value)
    with pytest.raises(BatchError, match="has no receiver"):  # what is given holds for all
        files.save_batch(values, ["a_1", "a_2", "a_3"], "streaming", **other)


def test_layers_may_differ(files: FileManager) -> None:
    """Each is a layer of its own, or has other display limits."""
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


def test_nothing_is_loaded_ahead(files: FileManager) -> None:
    """A sequence that loads what is indexed is compared when its turn comes."""

    class Loaded(Sequence[Any]):
        def __len__(self) -> int:
            return 2

        def __getitem__(self, index: Any) -> Any:
            assert index == 0, "the first has failed, as nobody listens"
            return image()

    with pytest.raises(BatchError):
        files.save_batch(Loaded(), ["a_1", "a_2"], "streaming")
