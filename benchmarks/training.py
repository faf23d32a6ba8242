"""A DataLoader over polystore_torch.Images, next to a dataset by hand with tifffile.

$ python benchmarks/training.py FOLDER

The files are made once, in the folder: 256 fields of two channels of 512 x 512 uint16. Both
datasets give tensors of float32 of the shape (2, 512, 512) and the labels, in batches of 16. They
take turns, and each round reads all fields.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import tifffile
import torch

from polystore_core import FileManager
from polystore_torch import Images

NAMES = "{well}_f{field}_w{channel}.tif"
FIELDS, ROUNDS = 256, 5
SETUPS: Sequence[tuple[int, str | None]] = ((0, None), (2, "fork"), (2, "spawn"))


class ByHand:
    """A dataset as a script for one plate would write it."""

    def __init__(self, folder: Path) -> None:
        self.paths = sorted(folder.glob("*_w1.tif"))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Any, dict[str, str]]:
        path = self.paths[index]
        well, field, _ = path.stem.split("_")
        other = path.with_name(path.name.replace("_w1", "_w2"))
        pixels = np.stack([tifffile.imread(path), tifffile.imread(other)])
        labels = {"well": well, "field": field[1:]}
        return torch.from_numpy(pixels.astype(np.float32)), labels


def make_files(folder: Path) -> None:
    random = np.random.default_rng(1)
    fm = FileManager()
    for number in range(0 if folder.exists() else FIELDS * 2):
        image = random.integers(0, 4096, (512, 512), np.uint16)
        name = f"B{number // 32 + 1:02}_f{number // 2 % 16}_w{number % 2 + 1}.tif"
        fm.save(image, folder / name, "disk")


def speed(loader: Any) -> float:
    """Return items per second in the second epoch, when the workers have imported all."""
    for epoch in range(2):
        began = time.perf_counter()
        total = sum(len(batch) for batch, _ in loader)
        assert total == FIELDS, epoch
    return FIELDS / (time.perf_counter() - began)


def main(folder: Path) -> None:
    make_files(folder)
    ours = Images(folder, backend="disk", names=NAMES, dtype="float32")
    hand = ByHand(folder)
    for index in (0, FIELDS - 1):
        labels = ours[index][1]
        same = next(
            item for item in (hand[number] for number in range(FIELDS)) if item[1] == labels
        )
        assert torch.equal(ours[index][0], same[0])
    print("| workers | polystore, items/s | by hand, items/s | ratio |")
    print("| --- | --: | --: | --: |")
    for workers, context in SETUPS:
        rates: dict[str, list[float]] = {"ours": [], "hand": []}
        for _ in range(ROUNDS):
            for name, dataset in (("ours", ours), ("hand", hand)):
                loader = torch.utils.data.DataLoader(
                    dataset,
                    batch_size=16,
                    num_workers=workers,
                    multiprocessing_context=context,
                    persistent_workers=workers > 0,
                )
                rates[name].append(speed(loader))
        best = {name: max(found) for name, found in rates.items()}
        half = {name: median(found) for name, found in rates.items()}
        label = f"{workers}, {context}" if context else "none"
        cells = [f"{best[name]:,.0f} ({half[name]:,.0f})" for name in ("ours", "hand")]
        ratio = f"{best['ours'] / best['hand']:.2f} ({half['ours'] / half['hand']:.2f})"
        print(f"| {label} | {' | '.join(cells)} | {ratio} |", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
