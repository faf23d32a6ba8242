"""Run a pipeline on a cluster: a workspace, Dask workers, and a viewer that follows.

    python cluster.py [FOLDER --names TEMPLATE] [--output FOLDER] [--view [napari | fiji]]

1. A workspace gives the images of a plate tidy names, such as ``O01/f00.tif``.
2. ``polystore.stack`` makes one lazy array of them.
3. Two workers load the images, find the bright pixels in memory, and write the masks to an
   OME-Zarr plate with shards.
4. The masks of each well that is finished are appended to an array that grows. Another process
   follows that array, and shows each well in a viewer while the workers go on.

Without a folder it makes a plate first. Without ``--view`` the viewer is a script that receives.
On a cluster with SLURM only ``LocalCluster`` changes: docs/clusters.md says how.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from multiprocessing import get_context
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from distributed import Client, LocalCluster
from numpy.typing import NDArray

import polystore
from polystore import AtomicMetadataWriter, BackendRegistry, FileManager, PolystoreError
from polystore_stream import receive
from polystore_workspace import Workspace

if TYPE_CHECKING:
    import xarray

Pixels = NDArray[Any]

NAMES = "*_{well}f{field}d{channel}.TIF"  # as a Cellomics reader writes them
TIDY = "{well}/f{field}.tif"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", help="images to process; made up if left out")
    parser.add_argument("--output", default="cluster-output", help="default: %(default)s")
    parser.add_argument(
        "--names", default=NAMES, help="template of the file names: %(default)s"
    )
    parser.add_argument(
        "--view",
        nargs="?",
        const="napari",
        choices=("napari", "fiji"),
        help="show the results in a viewer, in napari unless said otherwise",
    )
    arguments = parser.parse_args()
    output = Path(arguments.output).resolve()  # workers may run in another folder
    fm = FileManager(BackendRegistry())
    folder = arguments.folder
    if folder is None:
        folder = str(output / "scan")
        make_plate(fm, folder)

    workspace = Workspace.build(folder, names=arguments.names, paths=TIDY)
    workspace.save(output / "ws.json")
    fm.registry.add("plate", "virtual_workspace", file=str(output / "ws.json"))
    paths = fm.list_files(".", backend="plate", recursive=True)
    print(f"{len(paths)} images in {workspace}")

    images = polystore.stack(paths, backend="plate", names=TIDY, files=fm)
    print(f"one array: {dict(images.sizes)}, {images.dtype}, {images.nbytes / 2**20:.1f} MiB")
    masks = images.copy(data=images.data.map_blocks(bright, dtype=np.uint8))
    growing = str(output / "wells.zarr/masks")
    viewer = f"{arguments.view}_stream" if arguments.view else "streaming"
    wells = len(masks.well)
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster,
        Client(cluster),
        following(growing, viewer, wells),
    ):
        saved = save_masks(fm, masks, output, growing)

    for path, mask in zip(paths, saved, strict=True):
        expected = bright(fm.load(path, backend="plate"))
        assert np.array_equal(fm.load(mask, backend="zarr"), expected), mask
    print(f"{wells} wells, {len(saved)} masks: each is as one process makes it")
    print(f"results in {output}: masks.ome.zarr, wells.zarr, metadata.json, ws.json")


def bright(image: Pixels) -> Pixels:
    """Return the mask of the pixels that are much brighter than the image is on average."""
    return np.where(image > image.mean() + 2 * image.std(), 255, 0).astype(np.uint8)


def save_masks(
    fm: FileManager, masks: xarray.DataArray, output: Path, growing: str
) -> list[str]:
    """Let the workers write the masks, and append each well that is finished to an array."""
    writer = AtomicMetadataWriter()

    def save_well(well: str) -> list[str]:
        place = f"{output}/masks.ome.zarr/{well[0]}/{well[1:]}"
        paths = [f"{place}/{field}" for field in masks.field.values]
        for path, field in zip(paths, masks.field.values, strict=True):
            mask = masks.sel(well=well, field=field)
            # A shard is one file. Its chunks can still be read one by one, so a viewer loads
            # only a part.
            fm.save(mask, path, backend="zarr", chunks=128, shards=512)
        # Two threads change one document: the writer locks it, so that no well is lost.
        writer.merge_subdirectory_metadata(
            output / "metadata.json", {well: {"available_backends": {"zarr": True}}}
        )
        return paths

    height, width = masks.sizes["y"], masks.sizes["x"] * len(masks.field)
    shape = (None, height, width)
    saved: list[str] = []
    with (
        fm.create(
            growing, shape=shape, dtype="uint8", backend="zarr", if_exists="replace"
        ) as frames,
        ThreadPoolExecutor(2) as pool,  # a well for each worker
    ):
        # map() keeps the order of the wells, which is the order of the frames.
        for paths in pool.map(save_well, masks.well.values):
            frames.append(np.hstack(fm.load_batch(paths, backend="zarr")))
            saved += paths
    return saved


# ── the viewer ───────────────────────────────────────────────────────────────────────────


@contextmanager
def following(growing: str, viewer: str, wells: int) -> Iterator[None]:
    """Show the frames of ``growing`` in another process while the body runs."""
    # A forked process would share the sockets and threads of the Dask client.
    processes = get_context("spawn")
    listens, stop = processes.Event(), processes.Event()
    started = [processes.Process(target=follow, args=(growing, viewer, stop))]
    if viewer == "streaming":
        script = processes.Process(target=listen, args=(wells, listens))
        script.start()
        # An image that is sent before the script listens has no receiver, and is an error.
        listens.wait(60)
        started.append(script)
    started[0].start()
    try:
        yield
        stop.set()
        for process in started:
            process.join()
            if process.exitcode:
                raise SystemExit("error: the viewer did not get all wells")
    finally:
        for process in started:
            # After an error the follower would wait for frames that never come.
            process.terminate()


def follow(growing: str, viewer: str, stop: Event) -> None:
    """Show each frame of an array as it is appended. This can run on another machine."""
    fm = FileManager(BackendRegistry())
    for item in fm.watch(growing, backend="zarr", stop=stop.is_set):
        path = f"masks/{item.index}"
        fm.save(item.load(), path, backend=viewer, names="{number}", wait="shown")


def listen(wells: int, listens: Event) -> None:
    """Receive the images that are saved to "streaming", as a viewer does."""
    with receive(timeout=120) as items:
        listens.set()
        for item in islice(items, wells):
            print(f"a script received {item.path}", flush=True)


# ── a plate ──────────────────────────────────────────────────────────────────────────────


def make_plate(fm: FileManager, folder: str) -> None:
    """Write 6 wells x 3 fields of round nuclei, each well in a folder of its own."""
    random = np.random.default_rng(7)
    y, x = np.mgrid[-15:16, -15:16]
    nucleus = 150 * np.exp(-(y**2 + x**2) / 40)
    for well in range(1, 7):
        for field in range(3):
            image = random.normal(30, 4, (512, 512))
            for cy, cx in random.integers(15, 497, size=(random.integers(30, 120), 2)):
                image[cy - 15 : cy + 16, cx - 15 : cx + 16] += nucleus
            path = f"{folder}/O{well:02}/AS_09047_050428030001_O{well:02}f{field:02}d2.TIF"
            fm.save(image.clip(0, 255).astype(np.uint8), path, backend="disk")


if __name__ == "__main__":
    try:
        main()
    except PolystoreError as error:
        raise SystemExit(f"error: {error}") from None
