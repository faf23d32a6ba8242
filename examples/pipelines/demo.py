"""Load a folder of images, find the bright objects in memory, save masks and a table.

    python demo.py [FOLDER] [--output FOLDER] [--names TEMPLATE] [--view [napari | fiji]]

Without a folder it makes a small plate of synthetic fluorescence images first. Where the data
goes is one word in each call: "disk", "memory" or "zarr". The words of the images, such
as their pixel size, goes with them. A template for the names of the files, such as
"*_{well}f{field}d{channel}.TIF", makes an OME-Zarr plate of them as well.
``--view`` shows images and masks in napari or Fiji: a live viewer is one more backend.
"""

from __future__ import annotations

import argparse
import time
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from polystore import BackendRegistry, FileManager, Image, PolystoreError
from polystore_cli.synthetic import draw_plate, find_threshold
from polystore_zarr import save_plate

Pixels = NDArray[Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", nargs="?", help="images to process; made up if left out")
    parser.add_argument("--output", default="demo-output", help="default: %(default)s")
    parser.add_argument("--names", help="template of the file names, for a plate")
    parser.add_argument(
        "--view",
        nargs="?",
        const="napari",
        choices=("napari", "fiji"),
        help="show the results, in napari unless said otherwise",
    )
    parser.add_argument(
        "--pixel-size", type=float, help="in micrometres, if the files do not say"
    )
    arguments = parser.parse_args()
    output = Path(arguments.output)
    template = arguments.names
    fm = FileManager(BackendRegistry())
    if arguments.folder is None:
        folder = output / "plate"
        with Step("make a synthetic plate") as step:
            step.count(make_plate(fm, folder))
        template = "{well}_s{site}_w{channel}.tif"
    else:
        folder = Path(arguments.folder)

    paths = fm.list_image_files(folder, backend="disk", recursive=True)
    if not paths:
        raise SystemExit(f"found no TIFF, PNG or JPEG images in {folder}")

    with Step("load from disk, one batch") as step:
        images = step.count(fm.load_batch(paths, backend="disk", as_="image", progress=True))
    if arguments.pixel_size:
        size = dict.fromkeys("yx", arguments.pixel_size)
        images = [Image.of(image, scale=size, units="um") for image in images]
    with Step("keep in memory") as step:
        fm.save_batch(step.count(images), paths, backend="memory")
    with Step("find objects in memory") as step:
        kept = fm.load_batch(paths, backend="memory", as_="image")
        masks = step.count([objects_in(image) for image in kept])
    names = [PurePath(path).relative_to(folder).with_suffix(".tif") for path in paths]
    results = [output / "masks" / name for name in names]
    with Step("save masks to disk") as step:
        fm.save_batch(step.count(masks), results, backend="disk", compression="zlib")
    arrays = [output / "masks.zarr" / name for name in names]
    with Step("save masks to zarr") as step:
        fm.save_batch(step.count(masks), arrays, backend="zarr")
    if template:
        with Step("save images as an OME-Zarr plate") as step:
            fields = save_plate(
                fm,
                str(folder),
                str(output / "plate.ome.zarr"),
                names=template,
                source_backend="disk",
                backend="zarr",
            )
            step.count(images)
    if arguments.view:
        view(fm, arguments.view, images, paths, masks, results, output)
    pixels, bright = [image.data for image in images], [mask.data for mask in masks]
    table = measured(paths, pixels, bright)
    with Step("save table and overview to disk") as step:
        fm.save(table, output / "objects.csv", backend="disk")
        overview = contact_sheet(pixels, bright)
        fm.save(overview, output / "overview.png", backend="disk")
        step.count([table, overview])

    for saved, backend in ((results, "disk"), (arrays, "zarr")):
        again = fm.load_batch(saved, backend=backend)
        assert all(np.array_equal(a, b) for a, b in zip(again, masks, strict=True))
    shapes = sorted({f"{'x'.join(map(str, image.shape))} {image.dtype}" for image in images})
    print(f"\n{len(paths)} images ({', '.join(shapes)}) from {folder}")
    print(f"bright area: {table['area_percent'].mean():.1f} % on average")
    if template:
        info = fm.info(fields[0], backend="zarr")
        print(f"plate of {len(fields)} fields, each {info.shape} {info.metadata['axes']}")
    plate = ", plate.ome.zarr" if template else ""
    print(f"results in {output}: masks/, masks.zarr{plate}, objects.csv, overview.png")


def view(
    fm: FileManager,
    viewer: str,
    images: list[Image],
    paths: list[str],
    masks: list[Image],
    results: list[Path],
    output: Path,
) -> None:
    """Show the images with their masks; the viewer stays open, and its picture is kept."""
    backend = f"{viewer}_stream"
    with Step(f"show images in {viewer}") as step:
        # wait="shown", because the screenshot below needs the images on the screen.
        fm.save_batch(step.count(images), paths, backend=backend, wait="shown")
    with Step(f"show masks in {viewer}") as step:
        labels = step.count([mask.with_data(mask.data // 255) for mask in masks])
        fm.save_batch(labels, results, backend=backend, labels=True, wait="shown")
    with import_module(f"polystore_{viewer}").connect() as shown:
        window = shown.layers()[0]["window"]
        picture = shown.screenshot(window=window, canvas_only=False)
        fm.save(picture, output / "view.png", backend="disk")


class Step:
    """Time a step, and print how much data went through it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.items = self.nbytes = 0

    def count(self, arrays: list[Any]) -> list[Any]:
        self.items, self.nbytes = len(arrays), sum(array.nbytes for array in arrays)
        return arrays

    def __enter__(self) -> Self:
        self.start = time.perf_counter()
        return self

    def __exit__(self, *exception: object) -> None:
        seconds = time.perf_counter() - self.start
        if exception[0] is None:
            print(
                f"{self.title:34}{self.items:5} items{self.nbytes / 2**20:9.1f} MiB"
                f"{seconds * 1000:9.1f} ms"
            )


def make_plate(fm: FileManager, folder: Path) -> list[Pixels]:
    """Write 6 wells x 2 sites x 2 channels of cells on a noisy, uneven background."""
    images, paths = [], []
    for well, site, planes in draw_plate():
        for channel, plane in enumerate(planes, start=1):
            images.append(plane)
            paths.append(folder / f"{well}_s{site}_w{channel}.tif")
    fm.save_batch(images, paths, backend="disk")
    return images


def objects_in(image: Image) -> Image:
    """Return the mask of the bright pixels, as uint8: 255 is an object."""
    plane = image.sel(s=0) if "s" in image.axes else image
    gray = image.data.mean(axis=-1) if "s" in image.axes else image.data
    mask = gray > find_threshold(gray)
    # 255 and not 1, so that an ordinary program for pictures shows the objects.
    return plane.with_data(mask.astype(np.uint8) * 255)


def measured(paths: list[str], images: list[Pixels], masks: list[Pixels]) -> Pixels:
    """Return one row for each image."""
    rows = [
        (PurePath(path).name, image.mean(), image[mask > 0].mean(), 100 * (mask > 0).mean())
        for path, image, mask in zip(paths, images, masks, strict=True)
    ]
    width = max(len(name) for name, *_ in rows)
    return np.array(
        rows,
        [("image", f"U{width}"), ("mean", "f8"), ("bright_mean", "f8"), ("area_percent", "f8")],
    )


def contact_sheet(images: list[Pixels], masks: list[Pixels], columns: int = 6) -> Pixels:
    """Return the first images in a grid, each next to its mask, as an RGB picture."""
    tiles = []
    for image, mask in list(zip(images, masks, strict=True))[: columns * 4]:
        gray = image.mean(axis=-1) if image.ndim == 3 else image
        step = max(1, gray.shape[1] // 160)
        # Not the minimum and maximum: one hot pixel would make the rest of the tile black.
        low, high = np.percentile(gray, (1, 99.8))
        shade = ((gray - low) / max(high - low, 1e-9)).clip(0, 1)[::step, ::step] * 255
        tile = np.repeat(shade[..., None], 3, axis=-1)
        edge = mask[::step, ::step] > 0
        edge[1:-1, 1:-1] &= ~(
            edge[:-2, 1:-1] & edge[2:, 1:-1] & edge[1:-1, :-2] & edge[1:-1, 2:]
        )
        tile[edge] = (255, 160, 0)
        tiles.append(np.pad(tile, ((2, 2), (2, 2), (0, 0))))
    height, width = np.max([tile.shape[:2] for tile in tiles], axis=0)
    rows = -(-len(tiles) // columns)
    sheet = np.zeros((rows * height, columns * width, 3), np.uint8)
    for index, tile in enumerate(tiles):
        y, x = height * (index // columns), width * (index % columns)
        sheet[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


if __name__ == "__main__":
    try:
        main()
    except PolystoreError as error:
        raise SystemExit(f"error: {error}") from None
