"""Draw plate.png: a synthetic plate as it is read back from OME-Zarr, and one field's pyramid.

python plate.py OUTPUT.png        (needs matplotlib)
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import matplotlib.pyplot as plt
import numpy as np
from PIL import Image

from polystore import FileManager

ROWS, COLUMNS = "ABCDEF", range(1, 9)


def field(random: np.random.Generator, dose: float) -> np.ndarray:
    """Return nuclei and cytoplasm, shape (2, 512, 512): the higher the dose, the fewer cells."""
    y, x = np.mgrid[:512, :512]
    image = np.full((2, 512, 512), 150.0)
    for _ in range(random.poisson(4 + 60 * (1 - dose))):
        cy, cx = random.uniform(10, 500, 2)
        r = (y - cy) ** 2 + (x - cx) ** 2
        image[0] += 1400 * np.exp(-r / 90)
        image[1] += (700 + 900 * dose) * np.exp(-r / 500)
    return random.poisson(image).astype(np.uint16)


def shade(image: np.ndarray) -> np.ndarray:
    """Return both channels as one RGB picture: blue nuclei, green cytoplasm."""
    low, high = 120, 1900
    nuclei, cells = ((image - low) / (high - low)).clip(0, 1)
    return np.stack([0.2 * nuclei, cells + 0.2 * nuclei, nuclei], axis=-1).clip(0, 1)


def main(output: str) -> None:
    fm = FileManager()
    random = np.random.default_rng(3)
    with tempfile.TemporaryDirectory() as folder:
        plate = Path(folder, "plate.ome.zarr")
        for row in ROWS:
            for column in COLUMNS:
                fm.save(
                    field(random, (column - 1) / 8),
                    plate / row / f"{column:02}" / "0",
                    backend="zarr",
                    channels=["DNA", "actin"],
                    scale=[1, 0.65, 0.65],
                    units="um",
                    levels=4,
                )
        figure = plt.figure(figsize=(9.6, 4.4), dpi=110)
        grid = figure.add_gridspec(
            len(ROWS),
            len(COLUMNS),
            left=0.03,
            right=0.58,
            top=0.9,
            bottom=0.03,
            wspace=0.05,
            hspace=0.05,
        )
        for path in fm.list_files(plate, backend="zarr", recursive=True):
            row, column, _ = Path(path).parts[-3:]
            axes = figure.add_subplot(grid[ROWS.index(row), int(column) - 1])
            axes.imshow(shade(fm.load(path, backend="zarr", level=-1)))
            axes.set(xticks=[], yticks=[])
            if row == "A":
                axes.set_title(column, fontsize=8, pad=2)
            if column == "01":
                axes.set_ylabel(row, fontsize=8, rotation=0, labelpad=7, va="center")
        path = plate / "C" / "03" / "0"
        left = 0.62
        for level, shape in enumerate(fm.info(path, backend="zarr").metadata["levels"]):
            size = 0.155 / 2**level * 4.4 / 9.6 * 2.4
            axes = figure.add_axes((left, 0.5 - size * 9.6 / 4.4 / 2, size, size * 9.6 / 4.4))
            axes.imshow(
                shade(fm.load(path, backend="zarr", level=level)), interpolation="nearest"
            )
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{shape[-2]}²", fontsize=8, pad=3)
            left += size + 0.012
        figure.text(
            0.3, 0.95, "plate.ome.zarr: level 3 of every field", ha="center", fontsize=9
        )
        figure.text(
            0.8, 0.95, "plate.ome.zarr/C/03/0: its levels 0 to 3", ha="center", fontsize=9
        )
        figure.savefig(output)
        Image.open(output).convert("RGB").quantize(96).save(output, optimize=True)


if __name__ == "__main__":
    main(sys.argv[1])
