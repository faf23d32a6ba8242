"""A viewer on this machine opens a large array itself. Others get a level of screen size."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from msgspec.structs import replace

from polystore_core import Axis, Image, ImageMetadata, LazyArray, Source, StorageBackend
from polystore_core.errors import BatchError, RejectedError, UnsupportedDataError
from polystore_stream import Receiver, Viewer, receive
from polystore_stream.viewers.planning import Planner, blocks_of
from polystore_stream.wire import messages
from polystore_stream.wire.messages import encode, read_reply

from .processes import connect_to, hello_to, raw, sending

if TYPE_CHECKING:
    from collections.abc import Iterator

    from polystore_core import FileManager
    from polystore_stream import Delivery, Endpoint

pytestmark = pytest.mark.timeout(120)

LARGE = np.arange(2 * 2200 * 2100, dtype="u2").reshape(2, 2200, 2100)


class OpeningViewer(Viewer):
    """A viewer without a window, which opens the files that producers name."""

    kind = "toy"
    opens_sources = True

    def __init__(self, **options: Any) -> None:
        self.came = threading.Event()
        self.receiver = Receiver(self, **options)

    def wake(self) -> None:
        self.came.set()

    def item(self) -> Delivery:
        """Return the next delivery."""
        while not (found := self.receiver.take(most=1)):
            assert self.came.wait(30)
            self.came.clear()
        return found[0]


@pytest.fixture
def viewer() -> Iterator[OpeningViewer]:
    viewer = OpeningViewer()
    with viewer.receiver:
        yield viewer


@contextmanager
def send_to(viewer: OpeningViewer) -> Iterator[FileManager]:
    with sending(connection=viewer.receiver.connection_file) as files:
        yield files


@pytest.fixture
def large(tmp_path: Path) -> Path:
    np.save(tmp_path / "large.npy", LARGE)
    return tmp_path / "large.npy"


class Pyramid(LazyArray):
    """An array in memory with levels. Each level halves y and x."""

    def __init__(self, array: Any, count: int, source: Source | None = None) -> None:
        self._array, self._count = array, count
        self.shape, self.dtype, self.source = array.shape, array.dtype, source

    @property
    def levels(self) -> tuple[LazyArray, ...]:
        factors = [2**n for n in range(self._count)]
        return (self, *(Pyramid(self._array[..., ::f, ::f], 1) for f in factors[1:]))

    def __getitem__(self, region: Any) -> Any:
        return self._array[region]


# ── opened by the receiver ───────────────────────────────────────────────────────────────


def test_name_replaces_pixels(viewer: OpeningViewer, large: Path) -> None:
    with send_to(viewer) as files:
        files.save(files.open(large, "disk"), "large", "out")
        assert files.registry["out"].counters.nbytes == 0
        delivery = viewer.item()
        item, data = delivery.item, delivery.data
        assert isinstance(item, messages.Image)
        assert (item.path, item.nbytes, item.shape, item.axes) == (
            "large",
            0,
            LARGE.shape,
            "zyx",
        )
        assert item.source == messages.Source(backend="disk", path=str(large))
        assert isinstance(data, LazyArray)
        assert np.array_equal(data, LARGE)


@pytest.mark.parametrize("wait", ["received", None])
def test_small_arrays_travel(viewer: OpeningViewer, tmp_path: Path, wait: Any) -> None:
    small = LARGE[0, :50, :60]
    np.save(tmp_path / "small.npy", small)
    with send_to(viewer) as files:
        files.save(files.open(tmp_path / "small.npy", "disk"), "small", "out", wait=wait)
        files.save(small, "array", "out", wait=wait)
        for _ in range(2):
            assert isinstance(data := viewer.item().data, np.ndarray)
            assert np.array_equal(data, small)


def test_axes_become_those_of_viewers(viewer: OpeningViewer, tmp_path: Path) -> None:
    """Unknown axes become sliders, and the others get the order of viewers."""
    stored = np.arange(2 * 3 * 4 * 900 * 500, dtype=">u2").reshape(3, 2, 4, 900, 500)
    np.save(tmp_path / "plate.npy", stored)
    axes = [Axis("z", scale=2.0), Axis("c"), Axis("field"), Axis("y"), Axis("x", scale=0.5)]
    with send_to(viewer) as files:
        handle = files.open(tmp_path / "plate.npy", "disk")
        files.save(Image(handle, ImageMetadata(axes=tuple(axes))), "plate", "out")
    delivery = viewer.item()
    item, data = delivery.item, delivery.data
    assert isinstance(item, messages.Image)
    assert isinstance(data, LazyArray)
    assert (item.sliders, item.axes, item.layers) == (("field",), "czyx", "c")
    assert item.shape == (4, 2, 3, 900, 500)
    assert item.scale == (1.0, 2.0, 1.0, 0.5)
    assert data.dtype == np.dtype("<u2")
    assert np.array_equal(data, stored.transpose(2, 1, 0, 3, 4))


def test_batches_name_their_values(viewer: OpeningViewer, large: Path) -> None:
    with send_to(viewer) as files:
        handle = files.open(large, "disk")
        files.save_batch([handle, LARGE[:, :4, :4], handle], ["a", "b", "c"], "out")
    kinds = [type(viewer.item().data).__name__ for _ in range(3)]
    assert kinds == ["Part", "ndarray", "Part"]


def test_parts_have_levels_and_a_sample(viewer: OpeningViewer, tmp_path: Path) -> None:
    pytest.importorskip("polystore_zarr", reason="polystore-zarr is not installed")
    image = Image.of(LARGE, axes="cyx")
    with send_to(viewer) as files:
        files.save(image, tmp_path / "a.ome.zarr", "zarr")
        handle = files.open(tmp_path / "a.ome.zarr", "zarr")
        files.save(handle, "a", "out")
        data: Any = viewer.item().data
        assert [level.shape for level in data.levels] == [
            level.shape for level in handle.levels
        ]
        second = data.at({0: 1})
        assert second.sample.nbytes <= 8 << 20
        for level, whole in zip(second.levels, handle.levels, strict=True):
            assert np.array_equal(level[3:9, ::-2], whole[1, 3:9, ::-2])


def test_opening_does_not_block_others(viewer: OpeningViewer) -> None:
    """While a slow disk opens, other producers are served. Its own gets its answer later."""
    begun, goes = threading.Event(), threading.Event()

    class Slow(StorageBackend):
        _backend_type = "slow_opening"

        def save(self, data: Any, path: Any, /) -> None:
            """Keep nothing."""

        def load(self, path: Any, /) -> Any:
            return LARGE

        def open(self, path: Any, /) -> Any:
            begun.set()
            assert goes.wait(30)
            return Pyramid(LARGE, 1)

    source = Source(backend="slow_opening", path="/slow")
    with send_to(viewer) as slow, send_to(viewer) as other:
        slow.save(np.ones((2, 2)), "first", "out", wait=None)
        sender = threading.Thread(
            target=slow.save, args=(Pyramid(LARGE, 1, source), "slow", "out")
        )
        sender.start()
        assert begun.wait(30)
        other.save(np.ones((2, 2)), "other", "out")
        assert {viewer.item().item.path for _ in range(2)} == {"first", "other"}  # type: ignore[union-attr]
        goes.set()
        delivery = viewer.item()
        assert delivery.item.path == "slow"  # type: ignore[union-attr]
        assert np.array_equal(delivery.data, LARGE)  # type: ignore[arg-type]
        sender.join()


# ── sent if not opened ────────────────────────────────────────────────────────────────────


def test_scripts_get_level_of_screen(large: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A receiver that opens no files gets the level that fits, with the size of its pixels."""
    words = ImageMetadata(
        axes=(Axis("z", scale=3.0), Axis("y", scale=0.5), Axis("x", scale=0.5))
    )
    image = Image(Pyramid(LARGE, 3), words)
    with (
        caplog.at_level(logging.INFO, "polystore.stream"),
        receive("large", timeout=30) as items,
        sending(channel="large") as files,
    ):
        files.save(image, "a", "out", wait=None)
        files.save(image, "b", "out", scale={"y": 2.0, "x": 4.0}, wait=None)
        files.save(files.open(large, "disk"), "c", "out", wait=None)
        first, second, third = (next(items) for _ in range(3))
        files.registry["out"].flush()
    assert np.array_equal(first.data, LARGE[:, ::2, ::2])
    assert first.scale == (3.0, 1.0, 1.0)
    assert second.scale == (3.0, 4.0, 8.0)
    assert np.array_equal(third.data, LARGE)
    logged = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert [level for level, _ in logged] == ["WARNING", "WARNING", "INFO"]
    assert "'a' is sent as level 1 of 3, with shape (2, 1100, 1050)" in logged[0][1]
    assert "no other process can open it" in logged[0][1]
    assert "script 'large'" in logged[2][1]


def test_batches_of_levels_are_sent(viewer: OpeningViewer) -> None:
    """A batch of handles that no other process can open, with options of the backend."""
    with sending(connection=viewer.receiver.connection_file, scale_bar=False) as files:
        files.save_batch([Pyramid(LARGE, 3), Pyramid(LARGE[0, :9, :9], 2)], ["a", "b"], "out")
    shapes = [viewer.item().data.shape for _ in range(2)]  # type: ignore[union-attr]
    assert shapes == [(2, 1100, 1050), (9, 9)]


@pytest.mark.parametrize("wait", ["received", "shown", None])
def test_rejected_source_is_sent(
    viewer: OpeningViewer, wait: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A viewer without the backend gets the pixels, and the log says why."""
    handle = Pyramid(LARGE, 2, Source(backend="not_installed", path="/a"))
    with send_to(viewer) as files:
        sender = threading.Thread(
            target=files.save, args=(handle, "a", "out"), kwargs={"wait": wait}
        )
        sender.start()
        delivery = viewer.item()
        viewer.receiver.settle(delivery, "shown")
        sender.join()
        assert files.registry["out"].counters.rejected == 1
    assert np.array_equal(delivery.data, LARGE[:, ::2, ::2])  # type: ignore[arg-type]
    assert "the viewer cannot open it: " in caplog.text
    assert "not_installed" in caplog.text


def test_value_that_is_rejected_twice_is_an_error(viewer: OpeningViewer, large: Path) -> None:
    def refuse(item: Any) -> object:
        raise RejectedError("not today", path=item.path)

    viewer.accept = refuse  # type: ignore[method-assign]
    with send_to(viewer) as files:
        handle = files.open(large, "disk")
        with pytest.raises(RejectedError, match="not today"):
            files.save(handle, "a", "out")
        with pytest.raises(BatchError, match="not today"):
            files.save_batch([handle, handle], ["a", "b"], "out")


# ── rejected sources ──────────────────────────────────────────────────────────────────────


def name_file(path: Path, **changes: Any) -> messages.Image:
    source = messages.Source(backend="disk", path=str(path))
    item = messages.Image(
        path="a", nbytes=0, number=3, shape=LARGE.shape, dtype="<u2", axes="zyx", source=source
    )
    return replace(item, **changes)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "other shape": ({"shape": (2, 5, 6)}, "it was saved again"),
    "other type": ({"dtype": "<i4"}, "it was saved again"),
    "written": ({"options": {"mode": "r+"}}, "viewers only read"),
    "unknown option": ({"options": {"tea": 1}}, "tea"),
    "no file": ({"path": "/no/such.npy"}, "no/such"),
    "not lazy": ({"backend": "napari_stream"}, "open"),
}


@pytest.mark.parametrize(("changes", "reason"), REFUSED.values(), ids=REFUSED)
def test_source_is_checked(
    viewer: OpeningViewer, large: Path, changes: dict[str, Any], reason: str
) -> None:
    item = name_file(large)
    assert item.source is not None
    of_source = {k: v for k, v in changes.items() if k in ("options", "path", "backend")}
    of_image = {k: v for k, v in changes.items() if k not in of_source}
    item = replace(item, source=replace(item.source, **of_source), **of_image)
    with connect_to(viewer.receiver.endpoint) as connection:
        transfer = connection.send(item, np.empty(0, "u1"), awaited=True)
        with pytest.raises(RejectedError, match=reason):
            connection.wait_for(transfer)


def ask(endpoint: Endpoint, item: messages.Image, host: str) -> tuple[Any, Any]:
    """Return the welcome of a producer, and the answer to an item."""
    with raw(endpoint) as socket:
        replies = []
        for message in (replace(hello_to(endpoint), host=host), item):
            socket.send(encode(message))
            replies.append(read_reply(socket.recv()))
    return replies[0], replies[1]


def test_producers_elsewhere_name_no_files(viewer: OpeningViewer, large: Path) -> None:
    """On another host, or for scripts, the welcome excludes sources and a source is rejected."""
    endpoint = viewer.receiver.endpoint
    assert endpoint.host
    for host, opened in ((endpoint.host, True), ("elsewhere", False), ("", False)):
        welcome, answer = ask(endpoint, name_file(large), host)
        assert welcome.opens_sources is opened
        assert (answer.stage == "received") is opened
        assert opened or "does not open files for this producer" in answer.reason
    with receive("other") as items:
        endpoint = items.receiver.endpoint
        welcome, answer = ask(endpoint, name_file(large), endpoint.host)
        assert not welcome.opens_sources
        assert answer.stage == "rejected"


def test_receiver_on_tcp_gets_pixels(large: Path) -> None:
    """A receiver on the network opens no files, not even for a producer on its own machine."""
    viewer = OpeningViewer(listen="tcp://127.0.0.1:0")
    with viewer.receiver, send_to(viewer) as files:
        files.save(files.open(large, "disk"), "a", "out")
        assert np.array_equal(viewer.item().data, LARGE)  # type: ignore[arg-type]
        with connect_to(viewer.receiver.endpoint) as connection:
            assert not connection.opens_sources
            transfer = connection.send(name_file(large), np.empty(0, "u1"), awaited=True)
            with pytest.raises(RejectedError, match="does not open files"):
                connection.wait_for(transfer)


def test_sources_have_the_fields_of_core() -> None:
    fields = {*messages.Source.__struct_fields__} - {"order"}
    assert fields == {*asdict(Source(backend="disk", path="/a"))}


# ── places of the parts ───────────────────────────────────────────────────────────────────


def fields(count: int, **changes: Any) -> messages.Image:
    """Return the message for a plate of two channels with ``count`` fields in each well."""
    source = messages.Source(backend="zarr", path="/plate.ome.zarr")
    item = messages.Image(
        path="plate",
        nbytes=0,
        shape=(count, 2, 4, 5),
        dtype="<u2",
        axes="cyx",
        sliders=("field",),
        layers="c",
        source=source,
    )
    return replace(item, **changes)


def test_fields_are_places_of_each_channel() -> None:
    """Each channel has a layer, with a place for each field. The parts have the same order."""
    item = fields(3, at=(("plate", "P1"),))
    plan = Planner().plan(item, "image")
    assert (plan.sliders, plan.axes) == (("plate", "field"), "yx")
    assert [key[3] for key in plan.keys] == [0, 1]
    array = np.arange(3 * 2 * 4 * 5).reshape(item.shape)
    for target, block in zip(plan.targets, blocks_of(item, array), strict=True):
        assert target.at[0] == "P1"
        assert np.array_equal(block, array[int(target.at[1]), target.key[3]])


def test_other_number_of_fields_restarts() -> None:
    """The stack of each layer is emptied before the first field, and not after it."""
    planner = Planner()
    planner.plan(fields(3), "image")
    plan = planner.plan(fields(2), "image")
    assert [target.restarts for target in plan.targets] == [True, False, True, False]
    assert not any(t.restarts for t in planner.plan(fields(2), "image").targets)
    wells = [fields(2, path=f"p{n}", layer="wells", at=(("well", str(n)),)) for n in (1, 2)]
    for well in wells:
        planner.plan(well, "image")
    with pytest.raises(UnsupportedDataError, match="axes yx, field 2: save it under another"):
        planner.plan(replace(wells[0], shape=(3, 2, 4, 5)), "image")
