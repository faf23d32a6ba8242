"""The rows of the table of growth: an operation on N things, and its backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from cases_growth_core import CORE_GROWTHS
from workloads_growth import (
    BACKENDS,
    FILES,
    ON_DISK,
    VALUE,
    Growth,
    Site,
    Work,
    between,
    each,
    scale_sizes,
    target_of,
)

from polystore import FileManager
from polystore.errors import BatchError

__all__ = ["GROWTHS"]


LISTED = scale_sizes(4, BACKENDS)
FOLDERS = scale_sizes(1 / 4, FILES) | {"zarr": 4}
DEPTHS = {"memory": 50, "disk": 50, "disk, root=": 50, "zarr": 16}

# ── files ────────────────────────────────────────────────────────────────────────────────


def save_batch(on: Site, paths: Sequence[str], **options: Any) -> None:
    on.store.save_batch([VALUE] * len(paths), paths, **options)


def save_each(on: Site, paths: Sequence[str]) -> None:
    for path in paths:
        on.store.save(VALUE, path)


def load_missing(on: Site, paths: Sequence[str]) -> None:
    """Load files that do not exist, and read the error."""
    try:
        on.store.load_batch(paths)
    except BatchError as error:
        str(error)
    else:
        raise AssertionError("load_batch found files that were not saved")


def save_none(on: Site, paths: Sequence[str]) -> None:
    """Save a batch that fails at its first value, and read the error."""
    try:
        on.store.save_batch([VALUE] * len(paths), paths, if_exists="error")
    except BatchError as error:
        str(error)
    else:
        raise AssertionError("save_batch replaced a file")


def transfer(on: Site, paths: Sequence[str]) -> None:
    manager = FileManager(on.registry)
    for path in paths:
        manager.transfer(path, "copies", source_backend=on.store.name, target_backend="memory")


def find_last(on: Site, paths: Sequence[str]) -> None:
    for path in paths:
        assert on.store.find_file_recursive(path, "no such file") is None


def move_there_and_back(on: Site, paths: Sequence[str]) -> None:
    for path in paths:
        on.store.move(path, target_of(path))
        on.store.move(target_of(path), path)


def copy_and_delete(on: Site, paths: Sequence[str]) -> None:
    for path in paths:
        on.store.copy(path, target_of(path))
        on.store.delete_all(target_of(path))


VALUES = (
    Growth("save each of N files", Site.paths, save_each, BACKENDS, fresh=True),
    Growth("save each of N files again", Site.files, save_each, FILES),
    Growth("load each of N files", Site.files, each("load"), BACKENDS),
    Growth("save_batch of N files", Site.paths, save_batch, BACKENDS, fresh=True),
    Growth(
        "save_batch of N files, durable=True",
        Site.paths,
        lambda on, paths: save_batch(on, paths, durable=True),
        ON_DISK | {"zarr": 8},
        fresh=True,
        flushed=True,
    ),
    Growth(
        "load_batch of N files",
        Site.files,
        lambda on, paths: on.store.load_batch(paths),
        scale_sizes(2, FILES) | {"zarr": 10},
    ),
    Growth(
        "load_batch of N missing files, and its error",
        Site.paths,
        load_missing,
        scale_sizes(2, FILES) | {"zarr": 40},
        peak=True,
    ),
    Growth(
        "save_batch of N that fails at the first, and its error",
        Site.files,
        save_none,
        scale_sizes(2, FILES) | {"zarr": 40},
        peak=True,
    ),
    Growth("transfer a folder of N files to memory", Site.box, transfer, BACKENDS),
)

LOOKING = (
    Growth("exists for each of N files", Site.files, each("exists"), BACKENDS),
    Growth("info for each of N files", Site.files, each("info"), BACKENDS),
    Growth("list_dir of N files", Site.box, each("list_dir"), LISTED),
    Growth("list_files of N files", Site.box, each("list_files"), LISTED),
    Growth(
        "list_files, recursive, of N folders of 3 files",
        Site.tree,
        each("list_files", recursive=True),
        BACKENDS,
    ),
    Growth(
        "collect_dirs_and_files of N folders of 3 files",
        Site.tree,
        each("collect_dirs_and_files"),
        BACKENDS,
    ),
    Growth("find_file_recursive in N folders of 3 files", Site.tree, find_last, BACKENDS),
)


# ── folders ──────────────────────────────────────────────────────────────────────────────


def deep(
    title: str, setup: Callable[[Site, int], Any], work: Work, *, fresh: bool = False
) -> Growth:
    """A row about N folders in each other. Their paths have N² characters together."""
    return Growth(f"{title}, N deep", setup, work, DEPTHS, at_most=2.0, fresh=fresh)


CHANGING = (
    Growth("copy each of N files", Site.files, between("copy"), BACKENDS, fresh=True),
    Growth("move each of N files", Site.files, between("move"), BACKENDS, fresh=True),
    Growth("delete each of N files", Site.files, each("delete"), BACKENDS, fresh=True),
    Growth("copy a folder of N files", Site.box, between("copy"), BACKENDS, fresh=True),
    Growth("move a folder of N files", Site.box, between("move"), BACKENDS, fresh=True),
    Growth("delete a folder of N files", Site.box, each("delete_all"), BACKENDS, fresh=True),
    Growth(
        "copy each of N folders of 3 files", Site.boxes, between("copy"), FOLDERS, fresh=True
    ),
    Growth(
        "move each of N folders of 3 files", Site.boxes, between("move"), FOLDERS, fresh=True
    ),
    Growth(
        "delete each of N folders of 3 files",
        Site.boxes,
        each("delete_all"),
        FOLDERS,
        fresh=True,
    ),
    Growth(
        "ensure_directory of N folders",
        Site.paths,
        each("ensure_directory"),
        BACKENDS,
        fresh=True,
    ),
    deep("ensure_directory", Site.deep, each("ensure_directory"), fresh=True),
    deep("list_files, recursive", Site.deep_box, each("list_files", recursive=True)),
    deep("copy a folder", Site.deep_box, between("copy"), fresh=True),
    deep("move a folder", Site.deep_box, between("move"), fresh=True),
    deep("delete a folder", Site.deep_box, each("delete_all"), fresh=True),
    Growth(
        "create_symlink to each of N files",
        Site.files,
        between("create_symlink"),
        FILES,
        fresh=True,
    ),
    Growth(
        "mirror_directory_with_symlinks of N files",
        Site.box,
        between("mirror_directory_with_symlinks"),
        FILES,
        fresh=True,
    ),
)


def among(title: str, setup: Callable[[Site, int], Any], work: Work) -> Growth:
    """A row whose work stays the same while N other files are added next to it."""
    return Growth(f"{title} among N others", setup, work, BACKENDS, at_most=0.25)


AMONG = (
    among("save each of 100 files", Site.few, save_each),
    among("load each of 100 files", Site.few, each("load")),
    among("list_files of a folder of 100", Site.among, each("list_files")),
    among("copy a folder of 100, and delete the copy", Site.among, copy_and_delete),
    among("move a folder of 100 there and back", Site.among, move_there_and_back),
)


GROWTHS = (*VALUES, *LOOKING, *CHANGING, *AMONG, *CORE_GROWTHS)
