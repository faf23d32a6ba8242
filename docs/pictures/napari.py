"""Draw napari.png: a synthetic plate in a live napari, with the outlines of its nuclei.

python docs/pictures/napari.py        needs a screen: xvfb-run python …
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import polystore_napari
from polystore import BackendRegistry, FileManager
from polystore.rois import ROI, Ellipse

HERE = Path(__file__).parent
WELLS = ("A01", "A02", "A03", "B01", "B02", "B03")


def main() -> None:
    random = np.random.default_rng(7)
    y, x = np.mgrid[:256, :256]
    images, paths = [], []
    for well in WELLS:
        centres = random.integers(20, 236, size=(18, 2))
        radii = random.uniform(6, 11, size=(18, 2))
        for channel in (1, 2):
            image = 200 + 0.3 * (x + y) + random.normal(0, 12, y.shape)
            for (cy, cx), (ry, rx) in zip(centres, radii * channel**0.6, strict=True):
                image += 1500 * np.exp(-(((y - cy) / ry) ** 2 + ((x - cx) / rx) ** 2))
            images.append(image.clip(0, 65535).astype(np.uint16))
            paths.append(f"{well}_w{channel}.tif")
    nuclei = [
        ROI(Ellipse(centre, 2.4 * radius), name=f"nucleus {number}")
        for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), 1)
    ]
    with BackendRegistry() as registry:
        registry.add("picture", "napari_stream", viewer="picture")
        fm = FileManager(registry)
        fm.save_batch(
            images,
            paths,
            backend="picture",
            names="{well}_w{channel}.tif",
            scale=[0.65, 0.65],
            units="um",
            wait="shown",
        )
        fm.save(nuclei, "nuclei.json", backend="picture", wait="shown")
        with polystore_napari.connect("picture") as viewer:
            fm.save(
                viewer.screenshot(canvas_only=False)[..., :3],
                HERE / "napari.png",
                backend="disk",
            )
            viewer.quit()


if __name__ == "__main__":
    main()
