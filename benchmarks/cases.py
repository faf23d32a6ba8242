"""The table, row by row: the workload, the libraries next to polystore, and the aim."""

from __future__ import annotations

from statistics import median

from case import Aim, Case, Figure
from cases_zarr import chunked_cases
from metadata import PROCESSES, Merge
from workloads import (
    Import,
    List,
    Load,
    LoadBatch,
    MemoryLoad,
    MemorySave,
    Save,
    SaveBatch,
)

__all__ = ["cases"]


def milliseconds(*, at_most: float | None = None) -> tuple[Figure, ...]:
    """One duration; the aim is a factor of the reference's."""
    return (Figure(aims=(Aim(of="reference", at_most=at_most),) if at_most else ()),)


def microseconds(*, at_most: float | None = None) -> tuple[Figure, ...]:
    """One duration; the aim is absolute."""
    return (Figure(unit="µs", scale=1e6, aims=(Aim(at_most=at_most),) if at_most else ()),)


LARGE = (2048, 4096)  # 16 MiB of uint16
SMALL = (64, 64)
TINY = (8, 8)  # larger ones at new paths would time the allocator's page faults
TILE = (512, 512)
FLUSHED = (
    ("4 KiB", (32, 64), 2.2),
    ("1 MiB", (512, 1024), 1.5),
    ("16 MiB", LARGE, 1.3),
)


def merge_figures(
    total: int, *, longest: tuple[Aim, ...] = (), rate: tuple[Aim, ...] = ()
) -> tuple[Figure, ...]:
    """The figures that ``Merge`` returns, in its order."""
    return (
        Figure(
            label=f"survivors of {total:,}",
            unit="",
            scale=1,
            first=min,
            aims=(Aim(at_least=total),),
        ),
        Figure(label="rate", unit="/s", scale=1, first=max, aims=rate),
        Figure(label="99th percentile of the waits", first=max),
        Figure(label="longest wait", first=max, aims=longest),
    )


def flushed(
    size: str, shape: tuple[int, ...], contender: str, *, replacing: bool, at_most: float | None
) -> Case:
    """The time that a flush adds to a save: by default to one that replaces a file, or to any."""
    level = {"polystore": "durable=None", "durable": "durable=True"}[contender]
    return Case(
        title=f"flushed save {size} npy, {'replacing' if replacing else 'new file'}, {level}",
        workload=Save(".npy", shape, replacing=replacing),
        reference="durable=False",
        reference_contender="unflushed",
        contender=contender,
        incumbent=None,
        on_disk=True,
        rounds=31,
        figures=milliseconds(at_most=at_most),
    )


def cases(*, quick: bool = False) -> tuple[Case, ...]:
    """Return all cases; ``quick`` makes the metadata ones ten times shorter."""
    saturated, working = (25, 10) if quick else (250, 100)
    return (
        Case(
            title="save 16 MiB npy",
            workload=Save(".npy", LARGE),
            reference="np.save",
            figures=milliseconds(at_most=1.05),
        ),
        Case(
            title="load 16 MiB npy",
            workload=Load(".npy", LARGE),
            reference="np.load",
            figures=milliseconds(at_most=1.05),
        ),
        Case(
            title="save 16 MiB tif",
            workload=Save(".tif", LARGE),
            reference="tifffile.imwrite",
            figures=milliseconds(at_most=1.05),
        ),
        Case(
            title="load 16 MiB tif",
            workload=Load(".tif", LARGE),
            reference="tifffile.imread",
            figures=milliseconds(at_most=1.05),
        ),
        Case(
            title="save_batch 1,000 npy 64×64",
            workload=SaveBatch(".npy", SMALL, 1000),
            reference="loop of np.save",
        ),
        Case(
            title="load_batch 1,000 npy 64×64",
            workload=LoadBatch(".npy", SMALL, 1000),
            reference="loop of np.load",
            figures=milliseconds(at_most=1 / 3),
        ),
        Case(
            title="save_batch 32 tif 512×512",
            workload=SaveBatch(".tif", TILE, 32),
            reference="loop of imwrite",
        ),
        Case(
            title="load_batch 32 tif 512×512",
            workload=LoadBatch(".tif", TILE, 32),
            reference="loop of imread",
            figures=milliseconds(at_most=1 / 2),
        ),
        Case(
            title="memory save 8×8, new paths",
            workload=MemorySave(TINY, 1000, new_paths=True),
            reference="dict, copy",
            figures=microseconds(at_most=2),
        ),
        Case(
            title="memory save 64×64, again",
            workload=MemorySave(SMALL, 10_000),
            reference="dict, copy",
            figures=microseconds(at_most=2),
        ),
        Case(
            title="memory load 64×64",
            workload=MemoryLoad(SMALL, 10_000),
            reference="dict, copy",
            figures=microseconds(at_most=2),
        ),
        Case(
            title='memory save 16 MiB, copy="never"',
            workload=MemorySave(LARGE, 1000, copy=False, new_paths=True),
            reference="dict",
            figures=microseconds(),
        ),
        Case(
            title='memory load 16 MiB, copy="never"',
            workload=MemoryLoad(LARGE, 10_000, copy=False),
            reference="dict",
            figures=microseconds(),
        ),
        Case(
            title="import polystore, over bare Python",
            workload=Import("package"),
            figures=(Figure(first=median),),
            rounds=7,
        ),
        Case(
            title="import FileManager and BackendRegistry, over bare Python",
            workload=Import("names"),
            figures=(Figure(first=median),),
            reference="import numpy",
            rounds=7,
        ),
        Case(
            title="the same and a first save to disk, over bare Python",
            workload=Import("save"),
            figures=(Figure(first=median),),
            reference="the same with np.save",
            rounds=7,
        ),
        Case(
            title="list 10,000 files",
            workload=List(10_000),
            reference="sorted(os.listdir)",
        ),
        Case(
            title=f"{PROCESSES} processes merge metadata",
            workload=Merge(saturated),
            figures=merge_figures(PROCESSES * saturated, longest=(Aim(at_most=500),)),
            on_disk=True,
            rounds=7,
        ),
        Case(
            title=f"{PROCESSES} processes merge metadata, 20 ms of work between",
            workload=Merge(working, work=0.02),
            figures=merge_figures(PROCESSES * working, rate=(Aim(at_least=2, of="incumbent"),)),
            on_disk=True,
            rounds=7,
        ),
        *(
            flushed(size, shape, contender, replacing=replacing, at_most=bound)
            for contender, replacing in (
                ("polystore", True),
                ("durable", True),
                ("polystore", False),
                ("durable", False),
            )
            for size, shape, bound in (
                (size, shape, bound if (contender, replacing) == ("polystore", True) else None)
                for size, shape, bound in FLUSHED
            )
        ),
        *chunked_cases(quick=quick),
    )
