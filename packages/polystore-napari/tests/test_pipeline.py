"""The paper's research pipeline, word for word, on real images and a real napari."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest

import polystore_napari
from polystore_core import BackendRegistry, FileManager

DATA = Path(__file__).parents[4] / "shared/data"


def pipeline(images):
    """Return masks of the brightest pixels. RGB is averaged over its samples first."""
    gray = [image.mean(axis=-1) if image.ndim == 3 else image for image in images]
    return [(g > np.percentile(g, 95)).astype(np.uint8) * 255 for g in gray]


@pytest.mark.parametrize(
    ("folder", "count", "title", "last"),
    [
        ("plate-cellomics", 72, "AS_09047_050428030001", "O24f02d2"),
        ("timelapse", 21, "DrosophilaEmbryo_GFPHistone", "0020"),
    ],
)
@pytest.mark.smoke
def test_paper_pipeline_shows_images(
    desktop, tmp_path, monkeypatch, folder, count, title, last
):
    if not DATA.is_dir():
        pytest.skip(f"data: {DATA} is absent")
    monkeypatch.chdir(tmp_path)
    shutil.copytree(DATA / folder, folder)  # Zarr writes next to the files
    with BackendRegistry() as registry:
        fm = FileManager(registry)
        paths = fm.list_image_files(folder, backend="disk")

        # Load → process → save → stream: same API
        images = fm.load_batch(paths, backend="disk")
        processed = pipeline(images)
        fm.save_batch(processed, paths, backend="zarr")
        fm.save_batch(processed, paths, backend="napari_stream")

        with polystore_napari.connect() as viewer:
            (layer,) = viewer.layers()
            assert (layer["name"], layer["shape"]) == (title, [count, *processed[0].shape])
            assert layer["coordinates"][0][-1] == last
            for path, mask in list(zip(paths, processed, strict=True))[:: count // 3]:
                np.testing.assert_array_equal(viewer.pixels(path), mask)
            picture = viewer.screenshot(canvas_only=False)
            fm.save(picture, pictures(tmp_path) / f"pipeline-{folder}.png", backend="disk")
            canvas = viewer.screenshot()
            assert (canvas[..., :3].min(axis=-1) > 200).mean() > 0.01  # the bright pixels
            viewer.quit()


def pictures(folder: Path) -> Path:
    """Return the folder that keeps pictures for people to look at."""
    return Path(os.environ.get("POLYSTORE_PICTURES", folder))
