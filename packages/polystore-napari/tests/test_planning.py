"""Which layers a value goes to. No test needs napari."""

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

pytestmark = pytest.mark.screen  # no window, but pint, which comes with napari

PLANE = np.zeros((4, 5), "u2")
TEMPLATE = "{well}_z{z}.npy"


def plan_all(planner: Planner, *messages: Message, kind: str = "image") -> list[Plan]:
    return [planner.plan(item, kind) for item, _ in messages]


def keys(plan: Plan) -> list[Any]:
    return [target.key for target in plan.targets]


def series(count: int, value: Any = PLANE, **options: Any) -> list[Message]:
    return batch([value] * count, [f"cells_{n}.npy" for n in range(count)], **options)


def test_each_path_has_own_layer() -> None:
    """Images that are saved alone have layers of their own, named after their files."""
    planner = Planner()
    first, second, again = plan_all(
        planner, one(PLANE, "f/a.npy"), one(PLANE, "g/a.npy"), one(PLANE, "f/a.npy")
    )
    assert keys(first) == keys(again) != keys(second)
    assert (first.title, second.title) == ("a", "a")
    assert first.sliders == ()
    assert first.axes == "yx"
    assert not again.targets[0].restarts


def test_kinds_have_own_layers() -> None:
    """An image, a label image and ROIs of one path are three layers."""
    planner = Planner()
    (image,) = plan_all(planner, one(PLANE))
    (labels,) = plan_all(planner, one(PLANE, labels=True), kind="labels")
    (rois,) = plan_all(planner, one([ROI(Points([(1, 2)]))]), kind="rois")
    assert len({*keys(image), *keys(labels), *keys(rois)}) == 3


def test_series_shares_one_layer() -> None:
    """A series is one layer, and each of its values has a coordinate of its own."""
    plans = plan_all(Planner(), *series(3))
    assert len({key for plan in plans for key in keys(plan)}) == 1
    assert [plan.targets[0].at for plan in plans] == [("0",), ("1",), ("2",)]
    assert plans[0].sliders == ("image",)


def test_windows_have_own_layers() -> None:
    """The same layer in two windows is two layers."""
    layout = Layout(window=("well",))
    first, second = plan_all(
        Planner(),
        *(one(PLANE, p, names=TEMPLATE, layout=layout) for p in ("A01_z1.npy", "A02_z1.npy")),
    )
    assert keys(first)[0][0] == "A01"
    assert keys(second)[0][0] == "A02"


def test_channels_get_layers() -> None:
    """Each channel of an array is a layer, whose block does not have an axis of channels."""
    (plan,) = plan_all(Planner(), one(np.zeros((2, 3, 4, 5), "u1"), axes="czyx"))
    assert [key[3] for key in keys(plan)] == [0, 1]
    assert plan.axes == "zyx"


def test_channels_may_be_sliders() -> None:
    """If a layout does not make channels layers, the array stays whole."""
    layout = Layout(layer=())
    (plan,) = plan_all(Planner(), one(np.zeros((2, 3, 4, 5), "u1"), axes="czyx", layout=layout))
    assert len(plan.targets) == 1
    assert plan.axes == "czyx"


@pytest.mark.parametrize(
    "other", [np.zeros((4, 6), "u2"), np.zeros((4, 5), "u1"), np.zeros((2, 4, 5), "u2")]
)
def test_single_value_restarts(other: Any) -> None:
    """A layer of one value accepts another shape or type."""
    planner = Planner()
    _, changed, again = plan_all(planner, one(PLANE), one(other), one(other))
    assert changed.targets[0].restarts
    assert not again.targets[0].restarts


@pytest.mark.parametrize(
    "other", [np.zeros((4, 6), "u2"), np.zeros((4, 5), "u1"), np.zeros((2, 4, 5), "u2")]
)
def test_misfit_is_refused(other: Any) -> None:
    """A slice that differs is refused. The error says what the layer holds and what to do."""
    planner = Planner()
    plan_all(planner, *series(3))
    with pytest.raises(UnsupportedDataError) as caught:
        plan_all(planner, one(other, "cells_1.npy"))
    text = caught.value.reason
    assert text.startswith(f"it is {other.dtype} of shape {other.shape}")
    assert "layer 'cells' holds 3 of uint16 of shape (4, 5), axes yx" in text
    assert "another name or with labels=True" in text
    assert "all 3 as one batch" in text


def test_refusal_changes_nothing() -> None:
    """A refused value leaves the layer as it was."""
    planner = Planner()
    before = plan_all(planner, *series(3))
    with pytest.raises(UnsupportedDataError):
        plan_all(planner, one(np.zeros((9, 9)), "cells_1.npy"))
    place = planner.place("", "cells_1.npy", "image")
    assert place is not None
    assert (place[0], place[1].axes) == (before[1], "yx")
    (again,) = plan_all(planner, one(PLANE, "cells_1.npy"))
    assert again == before[1]


def test_refused_channel_changes_none() -> None:
    """If one channel of an array does not fit, no layer starts again."""
    planner = Planner()
    two, three = np.zeros((2, 4, 5), "u2"), np.zeros((3, 6, 7), "u2")
    plan_all(planner, *series(2, two, axes="cyx"))
    with pytest.raises(UnsupportedDataError):
        plan_all(planner, one(three, "cells_1.npy", axes="cyx"))
    (again,) = plan_all(planner, one(two, "cells_1.npy", axes="cyx"))
    assert not any(target.restarts for target in again.targets)


def test_whole_batch_restarts() -> None:
    """A batch with as many values as the layer holds replaces all of them."""
    planner = Planner()
    plan_all(planner, *series(3))
    plans = plan_all(planner, *series(3, np.zeros((6, 7), "f4")))
    assert [plan.targets[0].restarts for plan in plans] == [True, False, False]


def test_partial_batch_is_refused() -> None:
    """A batch with fewer values than the layer holds cannot replace them."""
    planner = Planner()
    plan_all(planner, *series(3))
    with pytest.raises(UnsupportedDataError, match="holds 3 of"):
        plan_all(planner, *series(2, np.zeros((6, 7), "f4")))


def test_misfit_within_batch_is_refused() -> None:
    """A value of a batch that differs from earlier ones does not replace them."""
    planner = Planner()
    good, bad = batch([PLANE, np.zeros((9, 9))], ["cells_0.npy", "cells_1.npy"])
    plan_all(planner, good)
    with pytest.raises(UnsupportedDataError, match="holds 1 of"):
        plan_all(planner, bad)


def test_single_slice_finds_its_place() -> None:
    """A path of a series that is saved alone is updated in its place."""
    planner = Planner()
    before = plan_all(planner, *series(3))
    (after,) = plan_all(planner, one(PLANE, "cells_1.npy"))
    assert after == before[1]
    (other,) = plan_all(planner, one(PLANE, "cells_7.npy"))
    assert keys(other) != keys(before[0])


def test_templated_path_finds_place() -> None:
    """A path with a place from a template keeps it without the template."""
    planner = Planner()
    placed, after = plan_all(
        planner, one(PLANE, "A01_z2.npy", names=TEMPLATE), one(PLANE, "A01_z2.npy")
    )
    assert placed.sliders == ("well", "z")
    assert after == placed


def test_removed_layer_restarts() -> None:
    """After the user removed a layer, another shape starts a new one."""
    planner = Planner()
    plans = plan_all(planner, *series(3))
    planner.forget(keys(plans[0])[0])
    (plan,) = plan_all(planner, one(np.zeros((9, 9)), "cells_1.npy"))
    assert keys(plan) == keys(plans[1])
    assert not plan.targets[0].restarts


def test_closed_window_is_forgotten() -> None:
    """A closed window holds no outlines, and other windows keep theirs."""
    planner, layout = Planner(), Layout(window=("well",))
    paths = [f"A0{well}_z{z}.npy" for well in (1, 2) for z in (1, 2)]
    plan_all(planner, *(one(PLANE, path, names=TEMPLATE, layout=layout) for path in paths))
    planner.forget_window("A01")
    other = np.zeros((9, 9))
    plan_all(planner, one(other, "A01_z1.npy", names=TEMPLATE, layout=layout))
    with pytest.raises(UnsupportedDataError):
        plan_all(planner, one(other, "A02_z1.npy", names=TEMPLATE, layout=layout))


def test_place_is_found() -> None:
    """The last place of a path is found by its window, path and kind."""
    planner = Planner()
    message = one(np.zeros((2, 4, 5), "u1"), axes="cyx")
    (plan,) = plan_all(planner, message)
    assert planner.place("", "a.npy", "image") == (plan, message[0])
    for question in (
        ("A01", "a.npy", "image"),
        ("", "b.npy", "image"),
        ("", "a.npy", "labels"),
    ):
        assert planner.place(*question) is None


def test_threads_count_all_values() -> None:
    """Values of many threads for one layer are all counted."""
    planner = Planner()

    def plan(thread: int) -> None:
        for z in range(50):
            plan_all(planner, one(PLANE, "a.npy", at={"z": z, "t": thread}))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(plan, range(4)))
    with pytest.raises(UnsupportedDataError, match="holds 200 of"):
        plan_all(planner, one(np.zeros((9, 9)), "a.npy", at={"z": 0, "t": 0}))


def test_needs_no_napari() -> None:
    """Planning runs without a viewer, in the receiver's thread and in tests."""
    code = (
        "import sys, polystore_stream.viewers.planning\n"
        "print(*{m.partition('.')[0] for m in sys.modules} & {'napari', 'qtpy', 'PyQt6'})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")


METRES = {"scale": (3.25e-7, 3.25e-7), "units": "m"}


def test_unfit_pixel_size_is_refused() -> None:
    """A pixel size that a window cannot count is refused and not remembered."""
    planner, large = Planner(check_new), np.zeros((2048, 2048), "u1")
    plan_all(planner, one(large, **METRES))
    for _ in range(2):
        with pytest.raises(UnsupportedDataError, match=r"1 pixel on axis -1.*scale="):
            plan_all(planner, one(large, "b.npy"))
    plan_all(planner, one(large, "c.npy", scale=(325, 325), units="nm"))
    planner.forget_window("")
    plan_all(planner, one(large, "b.npy"))


def test_pixel_size_may_change() -> None:
    """A layer is compared by its last pixel size, and keeps it until another one is given."""
    planner, large = Planner(check_new), np.zeros((2048, 2048), "u1")
    plan_all(planner, one(large, **METRES), one(large), one(large[1:]))
    with pytest.raises(UnsupportedDataError):
        plan_all(planner, one(large, "b.npy"))
    plan_all(planner, one(large, scale=(1, 1)))
    plan_all(planner, one(large, "b.npy"))
    with pytest.raises(UnsupportedDataError):
        plan_all(planner, one(large, **METRES))


def test_pixel_sizes_are_per_window() -> None:
    """Images in two windows are not compared, nor are the channels of one image."""
    planner, layout = Planner(check_new), Layout(window=("well",))
    value = np.zeros((2, 2048, 2048), "u1")
    looks: dict[str, Any] = {"A01": {"scale": (1, 3e-7, 3e-7), "units": "m"}, "A02": {}}
    for well, look in looks.items():
        path = f"{well}_z1.npy"
        plan_all(planner, one(value, path, names=TEMPLATE, layout=layout, axes="cyx", **look))
