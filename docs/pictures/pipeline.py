"""Draw pipeline.gif: one script, three backends, and a live napari in which a mouse draws.

python docs/pictures/pipeline.py [OUTPUT.gif]   needs Pillow, xdotool and a screen: xvfb-run …

The code on the left is the code that runs. The window on the right is a screenshot of napari after
each save.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

import polystore_napari
from polystore import BackendRegistry, FileManager, Image

if TYPE_CHECKING:
    from polystore_stream import RemoteViewer

SETTINGS = """
appearance:
  theme: dark
application:
  window_size: [1089, 630]
  window_position: [0, 0]
  confirm_close_window: false
"""
"""The mouse finds the buttons where this window has them."""
CODE = """\
for channel in "DNA", "actin", "ER":
    image = acquire(channel)
    fm.save(
        image,
        f"plate/{channel}.ome.tif",
        backend="disk",
    )

cells = viewer.rois()
print(len(cells), "cells outlined")
"""
COLORS = {"DNA": "4080FF", "actin": "30D060", "ER": "FF5050"}
CAPTIONS = {
    "disk": "on disk: files",
    "zarr": "in Zarr: chunked arrays",
    "napari_stream": "in napari: live. Your outlines come back",
}
SIZE = (1000, 380)
LEFT, TOP, STEP = 20, 36, 21
RIGHT, WIDTH = 430, 560
FONTS = "/usr/share/fonts/truetype/dejavu/DejaVuSans"
MONO = ImageFont.truetype(f"{FONTS}Mono.ttf", 14)
BOLD = ImageFont.truetype(f"{FONTS}Mono-Bold.ttf", 14)
PLAIN = ImageFont.truetype(f"{FONTS}.ttf", 14)
ROWS = [
    [(38, 60), (46, 128), (40, 205)],
    [(92, 36), (96, 104), (104, 168), (98, 226)],
    [(160, 52), (166, 122), (164, 200)],
    [(216, 42), (222, 104), (218, 168), (214, 226)],
]
CENTRES = np.concatenate(ROWS)
OUTLINED = (1, 5, 8)
CANVAS = (433, 38, 552 / 256)  # of the first pixel, and the size of a pixel, on the screen


def acquire(channel: str) -> Image:
    """Return one channel of synthetic cells, shape (1, 256, 256), with its name and color."""
    random = np.random.default_rng(len(channel))
    y, x = np.mgrid[:256, :256]
    image = np.full(y.shape, 150.0)
    for cy, cx in CENTRES:
        distance = np.hypot(y - cy, x - cx)
        if channel == "DNA":
            image += 1500 * np.exp(-((distance / 7) ** 4))
        elif channel == "actin":
            image += 900 * np.exp(-(((distance - 15) / 2.5) ** 2))
        else:
            image += (
                700 * np.exp(-(((distance - 10) / 3) ** 2)) * random.uniform(0.2, 1, y.shape)
            )
    return Image.of(
        random.poisson(image).astype(np.uint16)[None],
        axes="cyx",
        scale=(1, 0.65, 0.65),
        units="um",
        channels=[{"name": channel, "color": COLORS[channel]}],
    )


Look = Callable[[], list[str] | Picture.Image]
"""Returns the right half as it is now: names of files, or the window of napari."""


class Film:
    """The frames, and how long each is shown."""

    def __init__(self) -> None:
        self.frames: list[Picture.Image] = []
        self.durations: list[int] = []
        self.backend = "disk"
        self.line = 0
        self.printed = ""

    def add(self, right: list[str] | Picture.Image, duration: int) -> None:
        """Add a frame: the code, the line that runs, and the files or the window."""
        frame = Picture.new("RGB", SIZE, "#ffffff")
        draw = ImageDraw.Draw(frame)
        draw.rounded_rectangle((8, 12, 412, SIZE[1] - 12), 8, fill="#e6e9ef")
        for number, text in enumerate(CODE.splitlines()):
            y = TOP + number * STEP
            if number == self.line:
                draw.rectangle((12, y - 2, 408, y + STEP - 3), fill="#cfdcff")
            before, word, after = text.partition('"disk"')
            draw.text((LEFT, y), before, "#24292f", MONO)
            if word:
                x = LEFT + MONO.getlength(before)
                draw.text((x, y), f'"{self.backend}"', "#c2255c", BOLD)
                x += BOLD.getlength(f'"{self.backend}"')
                draw.text((x, y), after, "#24292f", MONO)
        draw.text((LEFT, TOP + 12 * STEP), self.printed, "#2b8a3e", BOLD)
        draw.text((RIGHT, 14), CAPTIONS[self.backend], "#57606a", PLAIN)
        if isinstance(right, list):
            for number, text in enumerate(right):
                draw.text((RIGHT, TOP + 4 + number * STEP), text, "#24292f", MONO)
        else:
            size = (WIDTH, WIDTH * right.height // right.width)
            frame.paste(right.resize(size, Picture.Resampling.LANCZOS), (RIGHT, TOP + 4))
        self.frames.append(frame)
        self.durations.append(duration)

    def write(self, path: Path) -> None:
        """Write the frames with one palette for all, so that no color changes between them."""
        plain = Picture.Dither.NONE
        palette = self.frames[-1].quantize(256, Picture.Quantize.FASTOCTREE, dither=plain)
        first, *others = [
            frame.quantize(palette=palette, dither=plain) for frame in self.frames
        ]
        first.save(
            path,
            save_all=True,
            append_images=others,
            duration=self.durations,
            loop=0,
            optimize=True,
        )


def list_tree(folder: Path) -> list[str]:
    """Return the files below ``folder`` as a tree, each file of chunks in one line."""
    lines = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.name == "c" or "c" not in parts:
            lines.append("  " * (len(parts) - 1) + path.name + ("/" if path.is_dir() else ""))
    return lines


def press(*words: object) -> None:
    """Move the mouse or press keys, as a person does."""
    subprocess.run(["xdotool", *map(str, words)], check=True)


def run_saves(film: Film, fm: FileManager, look: Look) -> None:
    """Run the loop of the code for one backend, with a frame before and after each save."""

    def acquire_and_show(channel: str) -> Image:
        film.line = 1
        film.add(look(), 120)
        film.line = 5
        return acquire(channel)

    loop = CODE.partition("\ncells")[0].replace('"disk"', repr(film.backend))
    film.line = 5
    film.add(look(), 500)  # time to read the new word
    exec(loop, {"fm": fm, "acquire": acquire_and_show})
    film.add(look(), 700)


def wait_until(holds: Callable[[], bool]) -> None:
    """Return when napari has done what the mouse asked for."""
    deadline = time.monotonic() + 60
    while not holds():
        if time.monotonic() > deadline:
            raise SystemExit("napari did not do what the mouse asked for")
        time.sleep(0.05)


def has_outlines(viewer: RemoteViewer, count: int) -> bool:
    """Whether that many outlines are drawn."""
    return len(viewer.rois()) == count


def draw_outlines(film: Film, viewer: RemoteViewer, look: Look) -> None:
    """Draw around three cells with the mouse, in a new layer of shapes."""
    press("mousemove", 61, 373, "click", 1)  # the button "New shapes layer"
    wait_until(lambda: any(layer["type"] == "shapes" for layer in viewer.layers()))
    for y, color in ((191, "transparent"), (219, "#ffe000")):  # the fields of the two colors
        press("mousemove", 220, y, "click", "--repeat", 3, 1, "type", f"{color}\n")
    press("mousemove", 500, 300, "click", 1, "key", "shift+p")  # the lasso
    film.line = 8
    film.add(look(), 300)
    left, top, pixel = CANVAS
    for number, (cy, cx) in enumerate(CENTRES[list(OUTLINED)], 1):
        for step in range(25):
            angle = 2 * math.pi * step / 24
            radius = 24 + 2 * math.sin(3 * angle)  # a hand draws no circle
            x = left + pixel * (cx + radius * math.cos(angle))
            y = top + pixel * (cy + radius * math.sin(angle))
            press("mousemove", round(x), round(y), *(["mousedown", 1] if step == 0 else []))
            time.sleep(0.03)
            viewer.layers()  # napari answers after it has seen the mouse
            if step % 8 == 7:
                film.add(look(), 90)
        press("mouseup", 1)
        wait_until(partial(has_outlines, viewer, number))
        film.add(look(), 150)


def main(output: Path) -> None:
    film = Film()
    with tempfile.TemporaryDirectory(prefix="ps") as home, BackendRegistry() as registry:
        settings = Path(home, "napari.yaml")
        settings.write_text(SETTINGS)
        os.environ["NAPARI_CONFIG"] = str(settings)
        os.environ["POLYSTORE_RUNTIME_DIR"] = home  # a napari of its own, even if you have one
        fm = FileManager(registry)
        for film.backend in ("disk", "zarr"):
            with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
                run_saves(film, fm, lambda: list_tree(Path()))
        film.backend = "napari_stream"
        polystore_napari.launch()
        with polystore_napari.connect() as viewer:

            def look() -> Picture.Image:
                return Picture.fromarray(viewer.screenshot(canvas_only=False)[..., :3])

            try:
                run_saves(film, fm, look)
                draw_outlines(film, viewer, look)
                with contextlib.redirect_stdout(io.StringIO()) as printed:
                    exec(CODE[CODE.index("cells =") :], {"viewer": viewer})
                film.line, film.printed = 9, printed.getvalue().strip()
                film.add(look(), 1800)
            finally:
                viewer.quit()
    film.write(output)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".gif"))
