"""Messages that would keep ImageJ busy or fill its memory: refused before that, by itself.

The pipeline's side has the same limits, and they are tested in test_encoding.py. Here producers
send what it would not.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import RejectedError
from polystore_core.rois import ROI, Composite, Ellipse, Mask, Polygon, Position
from polystore_formats.imagej.roi import encode_roi
from polystore_stream.wire.messages import Rois

from .echo import greeted, like_image

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_core.rois import Shape
    from polystore_fiji.remote import RemoteFiji

GROWTH_LIMIT = 64  # MiB


def peak(pid: int) -> int:
    """Return the most memory that a process has had, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    raise AssertionError("the kernel tells no VmHWM")


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("shape", "axes", "reason"),
    [
        ((3_000_000, 2, 2), "zyx", "3000000 planes"),
        ((2048, 2048, 8, 8), "czyx", "4194304 planes"),
        ((2048, 2048, 8, 8), "tzyx", "4194304 planes"),
        ((1 << 30, 1 << 30, 1, 1), "tzyx", "1152921504606846976 planes"),
        ((1 << 30, 1, 1), "cyx", "1073741824 channels"),
        ((250_000, 1, 1), "cyx", "250000 channels"),
    ],
)
def test_planes_are_counted_first(
    hidden: RemoteFiji, shape: tuple[int, ...], axes: str, reason: str
) -> None:
    """Too many planes are refused before any is listed; other producers go on."""
    before = peak(hidden.endpoint.pid)
    with greeted(hidden.endpoint) as many, greeted(hidden.endpoint) as other:
        image = like_image(shape, axes)
        reply = many(image, bytes(min(image.nbytes, 1 << 21)))
        assert reply.stage == "rejected"
        assert reason in reply.reason
        assert other(like_image((2, 2), "yx"), bytes(4)).stage == "received"
        assert many(like_image((2, 2), "yx"), bytes(4)).stage == "received"
    assert peak(hidden.endpoint.pid) - before < GROWTH_LIMIT


@pytest.mark.timeout(120)
def test_names_are_shortened(hidden: RemoteFiji) -> None:
    """The name of a file is the label of each slice: it may be long, or they many."""
    before = peak(hidden.endpoint.pid)
    with greeted(hidden.endpoint) as ask:
        image = like_image((250, 1, 1), "zyx", path="p" * 3_000_000, title="t" * 3_000_000)
        assert ask(image, bytes(250)).stage == "received"
    found = hidden.layers()[-1]
    assert {len(label) for label in found["labels"]} == {255}
    assert len(found["name"]) == 255
    assert peak(hidden.endpoint.pid) - before < 2 * GROWTH_LIMIT


@pytest.mark.timeout(120)
def test_labels_have_many_channels(there: FileManager, hidden: RemoteFiji) -> None:
    """All channels of labels share one lookup table, which is set once."""
    labels = np.zeros((5000, 50, 1, 2), "u2")
    labels[-1, -1, 0, 1] = 700
    there.save(labels, "labels.npy", backend="screen", labels=True, wait="shown")
    (found,) = hidden.layers()
    assert {tuple(channel["window"]) for channel in found["channels"]} == {(0, 255)}


def star(corners: int) -> Polygon:
    return Polygon(np.random.default_rng(0).random((corners, 2)) * 1000)


CROSSING: dict[str, list[Shape]] = {
    "one": [star(10_000)],
    "several": [star(1000)] * 3,
    "composite": [Composite([star(2000)] * 2)],
    "mask": [Mask(np.indices((1024, 1024))[1] % 2 > 0)],
}


def rois_of(shapes: list[Shape], **changes: Any) -> tuple[Rois, bytes]:
    files = [encode_roi(ROI(shape)) for shape in shapes]
    content = b"".join(struct.pack("<I", len(file)) + file for file in files)
    fields: dict[str, Any] = {
        "number": 7,
        "path": "rois",
        "nbytes": len(content),
        "count": len(files),
    }
    fields |= {"encoding": "imagej", "wait": "shown"}
    return Rois(**(fields | changes)), content


@pytest.mark.timeout(120)
@pytest.mark.parametrize("labels", [False, True])
@pytest.mark.parametrize("name", CROSSING)
def test_crossing_outlines_are_refused(
    there: FileManager, hidden: RemoteFiji, name: str, labels: bool
) -> None:
    """Outlines that take minutes to fill are refused before ImageJ has them."""
    there.save(np.zeros((16, 16), "u1"), "image.npy", backend="screen")
    message, content = rois_of(CROSSING[name], labels=labels)
    with greeted(hidden.endpoint) as ask:
        reply = ask(message, content)
    assert reply.stage == "rejected"
    assert "simplify them, or save a label image" in reply.reason
    assert hidden.rois() == []


def test_rois_are_counted_first(hidden: RemoteFiji) -> None:
    """A message that claims more ROIs than it has bytes for is refused at once."""
    message, content = rois_of([Ellipse((5, 5), (2, 2))], count=2**31 - 1)
    with greeted(hidden.endpoint) as ask:
        assert "2147483647 ROIs in" in ask(message, content).reason


def test_fills_are_counted_first(there: FileManager, hidden: RemoteFiji) -> None:
    """ROIs in every slice of a long stack are not painted one by one."""
    there.save(np.zeros((125_000, 1, 1), "u1"), "image.npy", backend="screen", axes="zyx")
    rois = [ROI(Ellipse((5, 5), (2, 2)))] * 9
    rois.append(ROI(Ellipse((5, 5), (2, 2)), position=Position(z=3)))
    with pytest.raises(RejectedError, match="polystore fills at most 1000000"):
        there.save(rois, "image.npy", backend="screen", labels=True, wait="shown")
