"""Which layers a value goes to; without napari."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from polystore_core.errors import UnsupportedDataError
from polystore_core.rois import ROI, Points
from polystore_napari.reach import check_new
from polystore_stream import Layout
from polystore_stream.viewers.planning import Plan, Planner

from .sending import Message, batch, one

pytestmark = pytest.mark.screen  # no window, but pint, which napari brings

PLANE = np.zeros((4, 5), "u2")
TEMPLATE = "{well}_z{z}.npy"


def planned(planner: Planner, *messages: Message, kind: str = "image") -> list[Plan]:
    return [planner.plan(item, kind) for item, _ in messages]


def keys(plan: Plan) -> list[Any]:
    return [target.key for target in plan.targets]


def series(count: int, value: Any = PLANE, **options: Any) -> list[Message]:
    return batch([value] * count, [f"cells_{n}.npy" for n in range(count)], **options)


def test_each_path_has_own_layer() -> None:
    """Images that are saved alone are layers of their own, titled after their files."""
    planner = Planner()
    first, second, again = planned(
        planner, one(PLANE, "f/a.npy"), one(PLANE, "g/a.npy"), one(PLANE, "f/a.npy")
    )
    assert keys(first) == keys(again) != keys(second)
    assert (first.title, second.title) == ("a", "a")
    assert first.sliders == ()
    assert first.axes == "yx"
    assert not again.targets[0].restarts


def test_kinds_are_apart() -> None:
    """An image, a label image and ROIs of one path are three layers."""
    planner = Planner()
    (image,) = planned(planner, one(PLANE))
    (labels,) = planned(planner, one(PLANE, labels=True), kind="labels")
    (rois,) = planned(planner, one([ROI(Points([(1, 2)]))]), kind="rois")
    assert len({*keys(image), *keys(labels), *keys(rois)}) == 3


def test_series_shares_one_layer() -> None:
    """A series is one layer; each of its values stands at a coordinate of its own."""
    plans = planned(Planner(), *series(3))
    assert len({key for plan in plans for key in keys(plan)}) == 1
    assert [plan.targets[0].at for plan in plans] == [("0",), ("1",), ("2",)]
    assert plans[0].sliders == ("image",)


def test_windows_are_apart() -> None:
    """The same layer in two windows is two layers."""
    layout = Layout(window=("well",))
    first, second = planned(
        Planner(),
        *(one(PLANE, p, names=TEMPLATE, layout=layout) for p in ("A01_z1.npy", "A02_z1.npy")),
    )
    assert keys(first)[0][0] == "A01"
    assert keys(second)[0][0] == "A02"


def test_channels_get_layers() -> None:
    """Each channel of an array is a layer, whose block has no axis of channels."""
    (plan,) = planned(Planner(), one(np.zeros((2, 3, 4, 5), "u1"), axes="czyx"))
    assert [key[3] for key in keys(plan)] == [0, 1]
    assert plan.axes == "zyx"


def test_channels_may_be_sliders() -> None:
    """A layout without layers by channel leaves the array whole."""
    layout = Layout(layer=())
    (plan,) = planned(Planner(), one(np.zeros((2, 3, 4, 5), "u1"), axes="czyx", layout=layout))
    assert len(plan.targets) == 1
    assert plan.axes == "czyx"


@pytest.mark.parametrize(
    "other", [np.zeros((4, 6), "u2"), np.zeros((4, 5), "u1"), np.zeros((2, 4, 5), "u2")]
)
def test_lone_value_restarts(other: Any) -> None:
    """A layer of one value takes one of another shape or type."""
    planner = Planner()
    _, changed, again = planned(planner, one(PLANE), one(other), one(other))
    assert changed.targets[0].restarts
    assert not again.targets[0].restarts


@pytest.mark.parametrize(
    "other", [np.zeros((4, 6), "u2"), np.zeros((4, 5), "u1"), np.zeros((2, 4, 5), "u2")]
)
def test_misfit_is_refused(other: Any) -> None:
    """One slice that differs is refused; it is told what the layer holds, and what to do."""
    planner = Planner()
    planned(planner, *series(3))
    with pytest.raises(UnsupportedDataError) as caught:
        planned(planner, one(other, "cells_1.npy"))
    text = caught.value.reason
    assert text.startswith(f"it is {other.dtype} of shape {other.shape}")
    assert "layer 'cells' holds 3 of uint16 of shape (4, 5), axes yx" in text
    assert "another name or with labels=True" in text
    assert "all 3 as one batch" in text


def test_refusal_changes_nothing() -> None:
    """What was refused leaves the layer as it was."""
    planner = Planner()
    before = planned(planner, *series(3))
    with pytest.raises(UnsupportedDataError):
        planned(planner, one(np.zeros((9, 9)), "cells_1.npy"))
    place = planner.place("", "cells_1.npy", "image")
    assert place is not None
    assert (place[0], place[1].axes) == (before[1], "yx")
    (again,) = planned(planner, one(PLANE, "cells_1.npy"))
    assert again == before[1]


def test_refused_channel_changes_none() -> None:
    """Where one channel of an array does not fit, no layer begins anew."""
    planner = Planner()
    two, three = np.zeros((2, 4, 5), "u2"), np.zeros((3, 6, 7), "u2")
    planned(planner, *series(2, two, axes="cyx"))
    with pytest.raises(UnsupportedDataError):
        planned(planner, one(three, "cells_1.npy", axes="cyx"))
    (again,) = planned(planner, one(two, "cells_1.npy", axes="cyx"))
    assert not any(target.restarts for target in again.targets)


def test_whole_batch_restarts() -> None:
    """As many values as the layer holds, sent together, replace all of them."""
    planner = Planner()
    planned(planner, *series(3))
    plans = planned(planner, *series(3, np.zeros((6, 7), "f4")))
    assert [plan.targets[0].restarts for plan in plans] == [True, False, False]


def test_partial_batch_is_refused() -> None:
    """Fewer values than the layer holds cannot replace them."""
    planner = Planner()
    planned(planner, *series(3))
    with pytest.raises(UnsupportedDataError, match="holds 3 of"):
        planned(planner, *series(2, np.zeros((6, 7), "f4")))


def test_misfit_amid_batch_is_refused() -> None:
    """One value of a batch that differs from those before it does not replace them."""
    planner = Planner()
    good, bad = batch([PLANE, np.zeros((9, 9))], ["cells_0.npy", "cells_1.npy"])
    planned(planner, good)
    with pytest.raises(UnsupportedDataError, match="holds 1 of"):
        planned(planner, bad)


def test_slice_alone_finds_place() -> None:
    """A path that came with a series, and is saved alone, is updated where it stands."""
    planner = Planner()
    before = planned(planner, *series(3))
    (after,) = planned(planner, one(PLANE, "cells_1.npy"))
    assert after == before[1]
    (other,) = planned(planner, one(PLANE, "cells_7.npy"))
    assert keys(other) != keys(before[0])


def test_templated_path_finds_place() -> None:
    """What a template placed stays there when it is saved without the template."""
    planner = Planner()
    placed, after = planned(
        planner, one(PLANE, "A01_z2.npy", names=TEMPLATE), one(PLANE, "A01_z2.npy")
    )
    assert placed.sliders == ("well", "z")
    assert after == placed


def test_removed_layer_is_new() -> None:
    """Where the user has removed a layer, another shape begins a new one."""
    planner = Planner()
    plans = planned(planner, *series(3))
    planner.forget(keys(plans[0])[0])
    (plan,) = planned(planner, one(np.zeros((9, 9)), "cells_1.npy"))
    assert keys(plan) == keys(plans[1])
    assert not plan.targets[0].restarts


def test_closed_window_is_forgotten() -> None:
    """A window that is gone holds no outlines; others keep theirs."""
    planner, layout = Planner(), Layout(window=("well",))
    paths = [f"A0{well}_z{z}.npy" for well in (1, 2) for z in (1, 2)]
    planned(planner, *(one(PLANE, path, names=TEMPLATE, layout=layout) for path in paths))
    planner.forget_window("A01")
    other = np.zeros((9, 9))
    planned(planner, one(other, "A01_z1.npy", names=TEMPLATE, layout=layout))
    with pytest.raises(UnsupportedDataError):
        planned(planner, one(other, "A02_z1.npy", names=TEMPLATE, layout=layout))


def test_place_is_told() -> None:
    """Where a path went last is known by its window, path and kind, and only so."""
    planner = Planner()
    message = one(np.zeros((2, 4, 5), "u1"), axes="cyx")
    (plan,) = planned(planner, message)
    assert planner.place("", "a.npy", "image") == (plan, message[0])
    for question in (
        ("A01", "a.npy", "image"),
        ("", "b.npy", "image"),
        ("", "a.npy", "labels"),
    ):
        assert planner.place(*question) is None


def test_threads_plan_apart() -> None:
    """Values of many threads for one layer are all counted."""
    planner = Planner()

    def plan(thread: int) -> None:
        for z in range(50):
            planned(planner, one(PLANE, "a.npy", at={"z": z, "t": thread}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(plan, range(4)))
    with pytest.raises(UnsupportedDataError, match="holds 200 of"):
        planned(planner, one(np.zeros((9, 9)), "a.npy", at={"z": 0, "t": 0}))


def test_needs_no_napari() -> None:
    """Planning runs in the receiver's thread, and in tests, without a viewer."""
    code = (
        "import sys, polystore_stream.viewers.planning\n"
        "print(*{m.partition('.')[0] for m in sys.modules} & {'napari', 'qtpy', 'PyQt6'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


METRES = {"scale": (3.25e-7, 3.25e-7), "units": "m"}


def test_pixel_size_that_does_not_fit_is_refused() -> None:
    """A pixel size that a window cannot count is refused, and is not remembered."""
    planner, large = Planner(check_new), np.zeros((2048, 2048), "u1")
    planned(planner, one(large, **METRES))
    for _ in range(2):
        with pytest.raises(UnsupportedDataError, match=r"1 pixel on axis -1.*scale="):
            planned(planner, one(large, "b.npy"))
    planned(planner, one(large, "c.npy", scale=(325, 325), units="nm"))
    planner.forget_window("")
    planned(planner, one(large, "b.npy"))


def test_pixel_size_may_change() -> None:
    """A layer that gets another pixel size is compared by that, and keeps it until then."""
    planner, large = Planner(check_new), np.zeros((2048, 2048), "u1")
    planned(planner, one(large, **METRES), one(large), one(large[1:]))
    with pytest.raises(UnsupportedDataError):
        planned(planner, one(large, "b.npy"))
    planned(planner, one(large, scale=(1, 1)))
    planned(planner, one(large, "b.npy"))
    with pytest.raises(UnsupportedDataError):
        planned(planner, one(large, **METRES))


def test_pixel_sizes_are_of_a_window() -> None:
    """Images of two windows have nothing to do with each other; nor have an image's channels."""
    planner, layout = Planner(check_new), Layout(window=("well",))
    value = np.zeros((2, 2048, 2048), "u1")
    looks: dict[str, Any] = {"A01": {"scale": (1, 3e-7, 3e-7), "units": "m"}, "A02": {}}
    for well, look in looks.items():
        path = f"{well}_z1.npy"
        planned(planner, one(value, path, names=TEMPLATE, layout=layout, axes="cyx", **look))
