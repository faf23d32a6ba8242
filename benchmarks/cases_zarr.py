"""The rows about Zarr: polystore, zarr-python by hand, tensorstore and polystore 0.6.3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from case import Aim, Case, Figure, Role
from workloads_zarr import (
    ListArrays,
    LoadArray,
    LoadArrays,
    LoadOne,
    LoadPlane,
    Pyramid,
    SaveArray,
    SaveArrays,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workloads import Workload

__all__ = ["chunked_cases"]

BY_HAND = Aim(of="reference", at_most=1.1)
ON_VOLUMES = Aim(of="tensorstore", at_most=1.3)
OTHERS: Mapping[Role, str] = {
    "zarr-python, its defaults": "zarr-defaults",
    "zarr-python with zarrs": "zarr-zarrs",
    "tensorstore": "tensorstore",
    "polystore with zarrs": "polystore-zarrs",
}


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _case(
    title: str,
    workload: Workload,
    *aims: Aim,
    others: Mapping[Role, str] = OTHERS,
    incumbent: str | None = "incumbent-zarr",
    **options: Any,
) -> Case:
    return Case(
        title=f"zarr: {title}",
        workload=workload,
        table="zarr",
        reference="zarr-python",
        reference_contender="zarr",
        contender="polystore-zarr",
        others=others,
        incumbent=incumbent,
        **{"figures": (Figure(aims=aims),), "rounds": 15, **options},
    )


def chunked_cases(*, quick: bool = False) -> tuple[Case, ...]:
    """Return the cases; ``quick`` makes the large arrays sixteen times smaller."""
    tile, count = (512, 512), 32
    volume = (16, 1024, 1024) if quick else (256, 1024, 1024)
    image = (2, 4096, 4096) if quick else (2, 16384, 16384)
    many = 1000 if quick else 10_000
    volume_bytes = "32 MiB" if quick else "512 MiB"
    image_bytes = "64 MiB" if quick else "1 GiB"
    eightfold = Aim(of="incumbent", at_most=1 / 8)
    streaming = {role: name for role, name in OTHERS.items() if name != "zarr-defaults"}
    return (
        _case(
            f"save_batch {count} of {_shape(tile)}",
            SaveArrays(tile, count),
            BY_HAND,
            eightfold,
        ),
        _case(
            f"load_batch {count} of {_shape(tile)}",
            LoadArrays(tile, count),
            BY_HAND,
            eightfold,
        ),
        _case(
            f"load one of a batch of {count}",
            LoadOne(tile, count),
            BY_HAND,
            Aim(of="incumbent", at_most=1 / 50),
        ),
        _case(
            f"load one plane of a stack of {_shape((count, *tile))}",
            LoadPlane((count, *tile)),
            BY_HAND,
            incumbent=None,
        ),
        _case(
            f"save {volume_bytes}, {_shape(volume)}",
            SaveArray(volume),
            BY_HAND,
            ON_VOLUMES,
            rounds=3,
        ),
        _case(
            f"load {volume_bytes}, {_shape(volume)}",
            LoadArray(volume),
            BY_HAND,
            ON_VOLUMES,
            rounds=5,
        ),
        _case(
            f"open and list {many:,} arrays",
            ListArrays((8, 8), many=many),
            BY_HAND,
            rounds=5,
            others={"tensorstore, all keys": "tensorstore"},
        ),
        _case(
            f"pyramid of {image_bytes}, {_shape(image)}",
            Pyramid(image),
            others=streaming,
            incumbent=None,
            rounds=3,
            warm_ups=0,
            figures=(
                Figure(label="time", aims=(BY_HAND,)),
                Figure(
                    label="memory",
                    unit="MiB",
                    scale=1 / (1 << 20),
                    first=max,
                    aims=(Aim(at_most=256),),
                ),
            ),
        ),
    )
