"""Hypothesis strategies for image metadata and for arbitrary JSON documents."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import strategies as st

from polystore_core.image import AXIS_TYPES, Axis, Channel, ImageMetadata, Position

NUMBERS = st.floats(-1e6, 1e6, allow_subnormal=False)
SIZES = st.sampled_from((0.1, 0.325, 1 / 3, 2.0, 1.25e-7, 40.0))
NAMES = st.sampled_from(("", "DAPI", "488 nm", "µ/é"))


def maybe(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.none() | values


@st.composite
def axes(draw: st.DrawFn, name: str, length: int) -> Axis:
    kind = AXIS_TYPES[name]
    if kind not in ("space", "time"):
        return Axis(name, kind)
    unit = draw(maybe(st.just("second" if kind == "time" else "micrometer")))
    if draw(st.booleans()):
        return Axis(name, kind, unit, draw(maybe(SIZES)), draw(maybe(NUMBERS)))
    places = st.lists(NUMBERS, min_size=length, max_size=length)
    return Axis(name, kind, unit, coords=tuple(draw(places)))


CHANNELS = st.builds(
    Channel,
    name=NAMES,
    color=maybe(st.sampled_from(("FF0000", "00A0FF"))),
    limits=maybe(st.just((0.0, 4095.0))),
    data_range=maybe(st.just((10.0, 99.5))),
    visible=st.booleans(),
    gamma=st.sampled_from((1.0, 0.5)),
    inverted=st.booleans(),
    excitation_nm=maybe(st.just(488.0)),
    emission_nm=maybe(st.just(509.5)),
    fluorophore=maybe(st.just("EGFP")),
)
POSITIONS = st.builds(
    Position,
    name=NAMES,
    x=maybe(NUMBERS),
    y=maybe(NUMBERS),
    unit=maybe(st.just("micrometer")),
    row=maybe(st.just("A")),
    field=maybe(st.just("3")),
)


@st.composite
def images(draw: st.DrawFn) -> tuple[tuple[int, ...], ImageMetadata]:
    """Return the shape of an array, and metadata that it can have."""
    names = [name for name in "tcz" if draw(st.booleans())] + ["y", "x"]
    shape = tuple(draw(st.integers(1, 5)) for _ in names)
    count = shape[names.index("c")] if "c" in names else 1
    return shape, ImageMetadata(
        axes=tuple(draw(axes(name, length)) for name, length in zip(names, shape, strict=True)),
        channels=tuple(draw(st.just([]) | st.lists(CHANNELS, min_size=count, max_size=count))),
        name=draw(NAMES),
        kind=draw(st.sampled_from(("intensity", "labels"))),
        bits=draw(maybe(st.just(12))),
        position=draw(maybe(POSITIONS)),
        acquired=draw(maybe(st.just(datetime(2026, 3, 1, 12, 30, tzinfo=UTC)))),
    )


@st.composite
def regions(draw: st.DrawFn, length: int, *, ascends: bool = False) -> slice | int:
    """Return an index for one axis."""
    if draw(st.booleans()) and not ascends:
        return draw(st.integers(-length, length - 1)) if length else slice(None)
    ends = maybe(st.integers(-length - 1, length + 1))
    step = st.integers(1, 3) if ascends else st.sampled_from((-2, -1, 1, 2, 3))
    return slice(draw(ends), draw(ends), draw(maybe(step)))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda values: (
        st.lists(values, max_size=3)
        | st.dictionaries(
            st.sampled_from(("name", "unit", "scale", "coords", "color", "limits", "q")),
            values,
            max_size=4,
        )
    ),
    max_leaves=8,
)
