"""Messages that would keep ImageJ busy or fill its memory are refused by ImageJ itself.

The pipeline has the same limits, which test_encoding.py tests. Here producers send messages that
the pipeline would refuse.
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

from .echo import greet, make_header

if TYPE_CHECKING:
    from polystore_core import FileManager
    from polystore_core.rois import Shape
    from polystore_fiji.remote import RemoteFiji

GROWTH_LIMIT = 64  # MiB


def read_peak_memory(pid: int) -> int:
    """Return the most memory that a process has used, in MiB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    raise AssertionError("the kernel does not report VmHWM")


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
    headless: RemoteFiji, shape: tuple[int, ...], axes: str, reason: str
) -> None:
    """Too many planes are refused before they are listed, and other producers go on."""
    before = read_peak_memory(headless.endpoint.pid)
    with greet(headless.endpoint) as many, greet(headless.endpoint) as other:
        image = make_header(shape, axes)
        reply = many(image, bytes(min(image.nbytes, 1 << 21)))
        assert reply.stage == "rejected"
        assert reason in reply.reason
        assert other(make_header((2, 2), "yx"), bytes(4)).stage == "received"
        assert many(make_header((2, 2), "yx"), bytes(4)).stage == "received"
    assert read_peak_memory(headless.endpoint.pid) - before < GROWTH_LIMIT


@pytest.mark.timeout(120)
def test_names_are_shortened(headless: RemoteFiji) -> None:
    """Each slice has the name of its file as label, so long names are cut."""
    before = read_peak_memory(headless.endpoint.pid)
    with greet(headless.endpoint) as ask:
        image = make_header((250, 1, 1), "zyx", path="p" * 3_000_000, title="t" * 3_000_000)
        assert ask(image, bytes(250)).stage == "received"
    found = headless.layers()[-1]
    assert {len(label) for label in found["labels"]} == {255}
    assert len(found["name"]) == 255
    assert read_peak_memory(headless.endpoint.pid) - before < 2 * GROWTH_LIMIT


@pytest.mark.timeout(120)
def test_labels_have_many_channels(headless_files: FileManager, headless: RemoteFiji) -> None:
    """All channels of labels share one lookup table, which is set once."""
    labels = np.zeros((5000, 50, 1, 2), "u2")
    labels[-1, -1, 0, 1] = 700
    headless_files.save(labels, "labels.npy", backend="screen", labels=True, wait="shown")
    (found,) = headless.layers()
    assert {tuple(channel["window"]) for channel in found["channels"]} == {(0, 255)}


def star(corners: int) -> Polygon:
    return Polygon(np.random.default_rng(0).random((corners, 2)) * 1000)


CROSSING: dict[str, list[Shape]] = {
    "one": [star(10_000)],
    "several": [star(1000)] * 3,
    "composite": [Composite([star(2000)] * 2)],
    "mask": [Mask(np.indices((1024, 1024))[1] % 2 > 0)],
}


def encode_rois(shapes: list[Shape], **changes: Any) -> tuple[Rois, bytes]:
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
    headless_files: FileManager, headless: RemoteFiji, name: str, labels: bool
) -> None:
    """Outlines that take minutes to fill are refused before ImageJ gets them."""
    headless_files.save(np.zeros((16, 16), "u1"), "image.npy", backend="screen")
    message, content = encode_rois(CROSSING[name], labels=labels)
    with greet(headless.endpoint) as ask:
        reply = ask(message, content)
    assert reply.stage == "rejected"
    assert "simplify them, or save a label image" in reply.reason
    assert headless.rois() == []


def test_rois_are_counted_first(headless: RemoteFiji) -> None:
    """A message that claims more ROIs than its bytes can hold is refused."""
    message, content = encode_rois([Ellipse((5, 5), (2, 2))], count=2**31 - 1)
    with greet(headless.endpoint) as ask:
        assert "2147483647 ROIs in" in ask(message, content).reason


def test_fills_are_counted_first(headless_files: FileManager, headless: RemoteFiji) -> None:
    """ROIs in every slice of a long stack are refused before they are painted."""
    headless_files.save(
        np.zeros((125_000, 1, 1), "u1"), "image.npy", backend="screen", axes="zyx"
    )
    rois = [ROI(Ellipse((5, 5), (2, 2)))] * 9
    rois.append(ROI(Ellipse((5, 5), (2, 2)), position=Position(z=3)))
    with pytest.raises(RejectedError, match="polystore fills at most 1000000"):
        headless_files.save(rois, "image.npy", backend="screen", labels=True, wait="shown")
