"""The rows of the table of growth about core: names, plugins, texts, and large values."""

from __future__ import annotations

import importlib.metadata  # noqa: F401 - not while a round is timed: it takes as long as many lookups
import pickle
import random
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pluggy  # noqa: F401 - for the same reason
from workloads_growth import VALUE, Growth, Site, scale_sizes

from polystore import BackendRegistry, NameTemplate
from polystore.errors import BatchError, InvalidOptionError, NotFoundError
from polystore.rois import ROI, Ellipse
from polystore_core import natural_order, survey

__all__ = ["CORE_GROWTHS"]

CORE = {"core": 125}
PLUGINS = {"core": 50}
TEXTS = {"core": 500}
PARTS = {"disk": 500}

# ── the registry ────────────────────────────────────────────────────────────────────────────────


def add_each(on: Site, names: Sequence[str]) -> None:
    for name in names:
        on.registry.add(name, "memory")


def add_instances(on: Site, names: Sequence[str]) -> None:
    backend = on.store
    for name in names:
        on.registry.add(name, backend)


def look_up_each(on: Site, names: Sequence[str]) -> None:
    for name in names:
        on.registry[name]


def added_and_others(on: Site, count: int) -> list[str]:
    """Return 100 names that are not in use, in a registry with ``count`` others."""
    on.added(count)
    return [f"new{i}" for i in range(100)]


def configuration(on: Site, count: int) -> str:
    """Write a TOML file with ``count`` backends."""
    path = Path(on.directory, "backends.toml")
    tables = (f'[backends.{name}]\nbackend = "memory"\n' for name in on.names(count))
    path.write_text("".join(tables))
    return str(path)


def classes(on: Site, count: int) -> list[str]:
    """Define ``count`` backends in this process."""
    base = type(on.store)
    on.kept += [type(name, (base,), {"_backend_type": name}) for name in on.names(count)]
    return on.names(count)


def plugins(on: Site, count: int) -> list[str]:
    """Install ``count`` distributions, each with a plugin."""
    names = [f"shelf{i}" for i in range(count)]
    for name in names:
        record = Path(on.directory, f"acme_{name}-1.0.dist-info")
        record.mkdir()
        (record / "METADATA").write_text(f"Name: acme-{name}\nVersion: 1.0\n")
        (record / "entry_points.txt").write_text(
            f"[polystore.backends]\n{name} = acme_{name}\n"
        )
        Path(on.directory, f"acme_{name}.py").write_text(
            "from polystore import BackendSpec, hookimpl\n"
            "@hookimpl\n"
            "def polystore_backend(name):\n"
            "    target = 'polystore_memory.backend:MemoryBackend'\n"
            f"    return BackendSpec(name={name!r}, target=target, api=1)\n"
        )
    # Distributions of this environment would be most of a small N.
    others = (path for path in sys.path if not path.endswith("-packages"))
    sys.path[:] = [on.directory, *others]
    return names


def look_up_plugins(_: Site, names: Sequence[str]) -> None:
    registry = BackendRegistry()
    for name in names:
        registry[name]


def survey_plugins(_: Site, names: Sequence[str]) -> None:
    assert len(list(survey())) >= len(names)


REGISTRY = (
    Growth("registry.add of N names", Site.names, add_each, CORE, fresh=True),
    Growth("registry.add of N instances", Site.names, add_instances, CORE, fresh=True),
    Growth(
        "registry.add of 100 names among N others",
        added_and_others,
        add_each,
        CORE,
        fresh=True,
        at_most=0.25,
    ),
    Growth("registry[name] for each of N names", Site.added, look_up_each, CORE, fresh=True),
    Growth(
        "name in registry for each of N names",
        Site.added,
        lambda on, names: [name in on.registry for name in names],
        CORE,
    ),
    Growth("registry.names() of N", Site.added, lambda on, _: on.registry.names(), TEXTS),
    Growth(
        "BackendRegistry.from_file with N backends",
        configuration,
        lambda _, path: BackendRegistry.from_file(path),
        CORE,
    ),
    Growth(
        "pickle a registry of N names",
        Site.added,
        lambda on, _: pickle.dumps(on.registry),
        scale_sizes(2, CORE),
    ),
    Growth("define N backends in this process", lambda _, n: n, classes, CORE, fresh=True),
    Growth(
        "registry[name] for each of N classes of this process",
        classes,
        look_up_each,
        CORE,
        fresh=True,
    ),
    Growth(
        "registry[name] for each of N plugins", plugins, look_up_plugins, PLUGINS, alone=True
    ),
    Growth("survey of N plugins", plugins, survey_plugins, PLUGINS, alone=True),
)


# ── texts ────────────────────────────────────────────────────────────────────────────────

TEMPLATE = NameTemplate("*_{well}f{field}d{channel}.tif")


def microscope_names(_: Site, count: int) -> list[str]:
    """Return names of images in an order that is not theirs."""
    names = [f"plate/AS_0904_B{i % 24:02}f{i}d{i % 3}.tif" for i in range(count)]
    random.Random(0).shuffle(names)
    return names


def long_names(_: Site, count: int) -> list[str]:
    """Return two names of ``count`` numbers each."""
    return ["z1_" * count + "2", "z1_" * count + "10"]


def parse_each(_: Site, names: Sequence[str]) -> None:
    for name in names:
        TEMPLATE.parse(name)


def refuse_each(_: Site, names: Sequence[str]) -> None:
    for name in names:
        with suppress(InvalidOptionError):
            TEMPLATE.parse(name)
            raise AssertionError(f"{name!r} has a well")


def read_error(_: Site, paths: Sequence[str]) -> None:
    failed = {i: (path, NotFoundError("disk", path, "load")) for i, path in enumerate(paths)}
    str(BatchError("disk", "load_batch", dict(failed)))


NAMES = (
    Growth(
        "natural_order of N names",
        microscope_names,
        lambda _, names: natural_order(names),
        TEXTS,
        peak=True,
    ),
    Growth(
        "natural_order of two names of N numbers",
        long_names,
        lambda _, names: natural_order(names),
        scale_sizes(4, TEXTS),
    ),
    Growth("NameTemplate.parse of N names", microscope_names, parse_each, TEXTS),
    Growth(
        "NameTemplate.matches of N names",
        microscope_names,
        lambda _, names: all(map(TEMPLATE.matches, names)),
        TEXTS,
    ),
    Growth(
        "NameTemplate.parse of N names that do not fit",
        lambda _, n: [f"plate/AS_0904_{i}.tif" for i in range(n)],
        refuse_each,
        TEXTS,
    ),
    Growth(
        "NameTemplate.parse of a name of 4 N characters",
        lambda _, n: ["B0f_" * n + "_B03f2d1.tif"],
        parse_each,
        scale_sizes(4, TEXTS),
    ),
    Growth("text of a BatchError of N items", Site.paths, read_error, TEXTS, peak=True),
)


# ── values of many parts ─────────────────────────────────────────────────────────────────


def value_in(suffix: str, on: dict[str, int], value: Callable[[int], object]) -> Growth:
    """A row that saves and loads one value of N parts."""

    def work(on: Site, value: Any) -> None:
        path = f"{on.folder}/value{suffix}"
        on.store.save(value, path)
        on.store.load(path)

    return Growth(f"save and load {suffix} of N parts", lambda _, n: value(n), work, on)


def table(count: int) -> Any:
    return np.array([(i, i / 2) for i in range(count)], [("a", "i8"), ("b", "f8")])


def rois(count: int) -> list[ROI]:
    return [ROI(Ellipse((i, i), (9, 12)), name=f"cell {i}") for i in range(count)]


PARTS_OF = (
    value_in(".json", PARTS, lambda n: {f"key{i}": [i] for i in range(n)}),
    value_in(".csv", PARTS, table),
    value_in(".tif", PARTS, lambda n: np.zeros((n, 16, 16), np.uint16)),
    value_in(".npz", scale_sizes(1 / 5, PARTS), lambda n: {f"key{i}": VALUE for i in range(n)}),
    value_in(".roi.zip", scale_sizes(1 / 5, PARTS), rois),
)

CORE_GROWTHS = (*REGISTRY, *NAMES, *PARTS_OF)
