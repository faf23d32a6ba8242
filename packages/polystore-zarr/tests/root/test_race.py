"""An attacker swaps folders for links to the outside, at each depth, during our calls."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import BatchError, PolystoreError

from .trees import (
    IMAGE,
    NEW,
    OURS,
    PLAIN,
    SHAPE,
    check_no_secret,
    make_backend,
    needs_dir_fd,
    snapshot,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from polystore_zarr.backend import ZarrBackend

pytestmark = [
    needs_dir_fd,
    pytest.mark.faults,
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs to exchange two names"),
]
SECONDS = 1.5

# Names that are exchanged with links to the same names outside, and a path below them.
DEPTHS = {
    "folder": (["f"], "f/a.zarr"),
    "folder with its store": (["f"], "f/a.tif"),
    "store of a folder": (["f/images.zarr"], "f/a.tif"),
    "store": (["g.zarr"], "g.zarr/h/a"),
    "group": (["g.zarr/h"], "g.zarr/h/a"),
    "array": (["g.zarr/h/a"], "g.zarr/h/a"),
    "chunks": (["g.zarr/h/a/c"], "g.zarr/h/a"),
    "chunk": (["g.zarr/h/a/c/0/0"], "g.zarr/h/a"),
    "shards": (["g.zarr/h/sharded/c"], "g.zarr/h/sharded"),
    "document": (["g.zarr/h/a/zarr.json"], "g.zarr/h/a"),
    "group of Zarr 2": (["old.zarr/h"], "old.zarr/h/a"),
    "chunks of Zarr 2": (["old.zarr/h/a/0"], "old.zarr/h/a"),
    "image": (["i.ome.zarr/0", "i.ome.zarr/labels"], "i.ome.zarr"),
    "label": (["i.ome.zarr/labels", "i.ome.zarr/zarr.json"], "i.ome.zarr/labels/n"),
    "row": (["p.ome.zarr/B"], "p.ome.zarr/B/03/0"),
    "well": (["p.ome.zarr/B/03", "p.ome.zarr/zarr.json"], "p.ome.zarr/B/03/0"),
}


@contextmanager
def swap_names(root: Path, outside: Path, names: list[str]) -> Iterator[None]:
    """Let another process exchange each name with a link, again and again.

    No name may be below another one. Otherwise the process would exchange names outside.
    """
    links = [f"swapped{number}" for number in range(len(names))]
    for name, link in zip(names, links, strict=True):
        (root / link).symlink_to(outside / name)
    script = str(Path(__file__).with_name("swapper.py"))
    pairs = [text for pair in zip(names, links, strict=True) for text in pair]
    command = [sys.executable, script, str(root), *pairs]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield
        finally:
            process.kill()


def attempts_at(backend: ZarrBackend, path: str) -> list[Callable[[], Any]]:
    """Return the calls that could change or read files outside."""
    around = path.rpartition("/")[0]
    options = IMAGE if ".ome." in path else PLAIN
    below = f"{around}/new" if around else "new.zarr"
    region = np.s_[:16, :16]

    def fill() -> None:
        below_that = f"{below}-parts"
        handle = backend.create(
            below_that, shape=SHAPE, dtype="u2", chunks=16, if_exists="replace"
        )
        handle[...] = NEW
        check_no_secret(handle[...])

    return [
        partial(backend.load, path),
        partial(backend.load, path, region=region),
        lambda: backend.open(path)[...],
        partial(backend.load_batch, [path] * 3),
        partial(backend.load_batch, [path] * 3, threads=2),
        partial(backend.info, path),
        partial(backend.list_files, ".", recursive=True),
        partial(backend.save, NEW, path, **options),
        partial(backend.save, NEW[:16, :16], path, region=region),
        partial(backend.save, NEW[:5, :5], path, region=np.s_[:5, :5], unaligned="lock"),
        partial(backend.save, NEW, below, if_exists="error", **options),
        partial(backend.save, NEW, below, durable=True),
        fill,
        partial(backend.copy, path, f"{below}-copied"),
        partial(backend.load, f"{below}-copied"),
        partial(backend.move, f"{below}-copied", f"{below}-moved"),
        partial(backend.load, f"{below}-moved"),
        partial(backend.delete, f"{below}-moved"),
        partial(backend.delete, below),
        partial(backend.save_batch, [NEW] * 3, [path, below, f"{below}-3"]),
        partial(backend.delete, f"{below}-3"),
        partial(backend.ensure_directory, f"{around}/folder.zarr/g" if around else "folder"),
        partial(backend.copy, "inside.zarr", path),
        partial(
            backend.copy, "apart.zarr", f"{around}/apart.zarr" if around else "apart2.zarr"
        ),
        partial(backend.delete_all, f"{around}/apart.zarr" if around else "apart2.zarr"),
    ]


def try_calls(backend: ZarrBackend, path: str, *, seconds: float) -> tuple[int, int]:
    """Make each call in turn. Return how many calls were done, and how many were refused."""
    attempts = attempts_at(backend, path)
    counts = [0, 0]
    end = time.monotonic() + seconds
    while time.monotonic() < end or not all(counts):
        for attempt in attempts:
            try:
                found = attempt()
            except (PolystoreError, BatchError):
                counts[1] += 1
            else:
                counts[0] += 1
                for value in found if isinstance(found, list) else [found]:
                    check_no_secret(value)
    return counts[0], counts[1]


@pytest.mark.parametrize("depth", DEPTHS)
def test_attacker_gets_nothing(root: Path, outside: Path, depth: str) -> None:
    names, path = DEPTHS[depth]
    backend = make_backend(root)
    with swap_names(root, outside, names):
        done, refused = try_calls(backend, path, seconds=SECONDS)
    assert done
    assert refused, "no call met the link, so nothing is proved"
    np.testing.assert_array_equal(backend.load("inside.zarr"), OURS)


def test_saves_never_land_outside(root: Path, outside: Path) -> None:
    """Only new names are saved, at full speed. Each of them is inside, or was refused."""
    backend = make_backend(root)
    before = snapshot(outside)
    small = np.ones((2, 2), np.uint8)
    done: list[str] = []
    end = time.monotonic() + SECONDS
    with swap_names(root, outside, ["f"]):
        for number in range(1_000_000):
            for path in (f"f/r{number}.zarr", f"f/r{number}", f"f/s.zarr/r{number}"):
                try:
                    backend.save(small, path)
                except PolystoreError:
                    continue
                done.append(path)
            if time.monotonic() > end and done:
                break
    assert snapshot(outside) == before
    folder = next(place for place in (root / "f", root / "swapped0") if not place.is_symlink())
    if folder.name != "f":
        (root / "f").unlink()
        folder.rename(root / "f")
    for path in done:
        np.testing.assert_array_equal(backend.load(path), small)
