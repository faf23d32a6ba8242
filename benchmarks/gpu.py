"""Load a batch of .npy files onto a GPU, next to a pinned pipeline that is written by hand.

python benchmarks/gpu.py [--files 64] [--mib 16]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from polystore_core import FileManager

THREADS, BUFFERS, ROUNDS = 4, 8, 7


def by_hand(torch: Any, paths: list[str], shape: tuple[int, ...]) -> Any:
    """Read in threads into pinned buffers, and copy each on a stream of its own."""
    stream = torch.cuda.Stream()
    stack = torch.empty((len(paths), *shape), dtype=torch.float32, device="cuda:0")
    stream.wait_stream(torch.cuda.current_stream())
    buffers = [torch.empty(shape, dtype=torch.float32, pin_memory=True) for _ in range(BUFFERS)]
    events = [torch.cuda.Event() for _ in range(BUFFERS)]

    def read(index: int) -> None:
        with open(paths[index], "rb", buffering=0) as file:
            np.lib.format.read_magic(file)
            np.lib.format.read_array_header_1_0(file)
            rest = memoryview(buffers[index % BUFFERS].numpy()).cast("B")
            while rest:
                rest = rest[file.readinto(rest) :]

    with ThreadPoolExecutor(THREADS) as pool:
        for start in range(0, len(paths), BUFFERS):
            for index in range(start, min(start + BUFFERS, len(paths))):
                events[index % BUFFERS].synchronize()
            window = range(start, min(start + BUFFERS, len(paths)))
            for index, _ in zip(window, pool.map(read, window), strict=True):
                with torch.cuda.stream(stream):
                    stack[index].copy_(buffers[index % BUFFERS], non_blocking=True)
                    events[index % BUFFERS].record(stream)
    stream.synchronize()
    return stack


def seconds(torch: Any, work: Callable[[], Any]) -> float:
    torch.cuda.synchronize()
    start = time.perf_counter()
    work()
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=64)
    parser.add_argument("--mib", type=int, default=16)
    options = parser.parse_args()
    import torch

    if not torch.cuda.is_available():
        raise SystemExit("no NVIDIA GPU was found: this measures transfers to one")
    name, version = torch.cuda.get_device_name(0), torch.__version__
    print(f"{name}, PyTorch {version}, CUDA {torch.version.cuda}, NumPy {np.__version__}")
    fm = FileManager()
    shape = (options.mib << 18,)
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder, f"{n}.npy")) for n in range(options.files)]
        for number, path in enumerate(paths):
            fm.save(np.full(shape, number, "f4"), path, "disk")

        def ours(stack: bool = True) -> Any:
            return fm.load_batch(paths, "disk", framework="torch", device="cuda:0", stack=stack)

        def plain() -> Any:
            return torch.stack([torch.from_numpy(np.load(p)).to("cuda:0") for p in paths])

        ways: dict[str, Callable[[], Any]] = {
            "by hand, pinned": lambda: by_hand(torch, paths, shape),
            "load_batch(stack=True)": ours,
            "load_batch": lambda: ours(False),
            "np.load and .to, stacked": plain,
        }
        expected = plain()
        assert torch.equal(ours(), expected)
        del expected
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, work in ways.items():
                times[name].append(seconds(torch, work))
    nbytes = options.files * options.mib / 1024
    hand = statistics.median(times["by hand, pinned"])
    print(f"\n{options.files} files of {options.mib} MiB, medians of {ROUNDS} rounds\n")
    print("| way | seconds | GiB/s | speed to by hand |\n|---|---|---|---|")
    for name, found in times.items():
        median = statistics.median(found)
        print(f"| {name} | {median:.3f} | {nbytes / median:.2f} | {hand / median:.2f} |")


if __name__ == "__main__":
    main()
