"""Draw fiji.png: a synthetic stack of two channels in a live ImageJ, with the outlines of nuclei.

python docs/pictures/fiji.py        needs a screen: xvfb-run python …
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import polystore_fiji
from polystore import BackendRegistry, FileManager
from polystore.rois import ROI, Ellipse

HERE = Path(__file__).parent
SLICES, SIDE = 12, 384


def main() -> None:
    random = np.random.default_rng(5)
    y, x = np.mgrid[:SIDE, :SIDE]
    centres = random.uniform(40, SIDE - 40, size=(16, 2))
    radii = random.uniform(14, 24, size=(16, 2))
    depths = random.uniform(2, 10, size=16)
    images, paths = [], []
    for z in range(SLICES):
        nuclei, walls = random.normal(300, 30, (2, SIDE, SIDE))
        for (cy, cx), (ry, rx), depth in zip(centres, radii, depths, strict=True):
            focus = np.exp(-(((z - depth) / 3) ** 2))
            distance = np.hypot((y - cy) / ry, (x - cx) / rx)
            nuclei += 2200 * focus * np.exp(-(distance**6))
            walls += 1500 * focus * np.exp(-(((distance - 1.7) / 0.4) ** 2))
        images += [np.clip(image, 0, 65535).astype(np.uint16) for image in (nuclei, walls)]
        paths += [f"cells_{channel}_z{z}.tif" for channel in ("DAPI", "Actin")]
    outlines = [
        ROI(Ellipse(centre, 2 * radius), name=f"nucleus {number}")
        for number, (centre, radius) in enumerate(zip(centres, radii, strict=True), 1)
    ]
    with BackendRegistry() as registry:
        registry.add("picture", "fiji_stream", viewer="picture")
        fm = FileManager(registry)
        fm.save_batch(
            images,
            paths,
            backend="picture",
            names="cells_{channel}_z{z}.tif",
            scale=[0.325, 0.325],
            units="um",
            wait="shown",
        )
        fm.save(outlines, "nuclei.roi.zip", backend="picture", wait="shown")
        middle = paths.index("cells_DAPI_z6.tif")
        fm.save(images[middle], paths[middle], backend="picture", wait="shown")
        with polystore_fiji.connect("picture") as viewer:
            fm.save(
                viewer.screenshot(canvas_only=False)[..., :3], HERE / "fiji.png", backend="disk"
            )
            viewer.quit()


if __name__ == "__main__":
    main()
