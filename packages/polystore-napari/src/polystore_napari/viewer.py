"""The viewer's side: napari windows that show what a receiver takes in."""

from __future__ import annotations

import logging
import sys
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import napari
import numpy as np
from qtpy.QtCore import QEvent, QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget
from vispy.gloo.glir import GlirProgram

from polystore_core.errors import UnsupportedDataError
from polystore_stream import Delivery, Image, Query, Receiver, Rois, Viewer, unknown_name
from polystore_stream.logs import ViewerLog
from polystore_stream.viewers.pacing import Pacing, Pulse, Unpainted
from polystore_stream.viewers.planning import Plan, Planner
from polystore_stream.viewers.queries import Answers

from .backend import KIND
from .layers import Layers
from .looks import colormap
from .reach import check_new

if TYPE_CHECKING:
    from collections.abc import Callable

    from polystore_core import Pixels, Value

__all__ = ["NapariViewer"]

log = logging.getLogger("polystore.napari")

_SWITCH = 0.0005  # seconds
_PULSE = 5  # milliseconds
_ABOUT_ALL = ("layers", "quit")
"""Questions about all windows; the others are about one."""


@dataclass(slots=True)
class _Window:
    """One napari window with its layers, and those who wait until it is painted."""

    viewer: napari.Viewer
    main: QMainWindow | None
    layers: Layers
    unpainted: Unpainted = field(default_factory=Unpainted)
    is_fitted: bool = False
    """Whether the camera is on the layers: panels and sliders that come with the first one take
    room from the canvas after napari has done that."""

    def fit(self) -> None:
        if not self.is_fitted and self.viewer.layers:
            self.is_fitted = True
            self.viewer.reset_view()


class _Events(QObject):
    """What comes from other threads and from windows, as signals of Qt."""

    woken = Signal()
    closing = Signal(object)
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._asked: QObject | None = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        # napari asks whether it may close, and stays if not: it is closed when it is hidden.
        if event.type() == QEvent.Type.Close:
            self._asked = watched
        elif event.type() == QEvent.Type.Hide and self._asked is watched:
            self._asked = None
            self.closing.emit(watched)
        return False


class NapariViewer(Viewer):
    """Shows in ``viewer``, and in further windows where a layout asks for them.

    Lives in the thread of Qt. The receiver's thread calls ``accept`` and ``wake`` alone. These read
    ``_closed``, set ``_is_due``, and use ``_planner``, which has a lock.

    ``name`` is what backends know it by, ``listen`` an address for producers of other machines:
    see ``Receiver``.
    """

    kind = KIND
    opens_sources = True

    def __init__(
        self,
        viewer: napari.Viewer,
        name: str = "default",
        *,
        listen: str | None = None,
        on_quit: Callable[[], None] | None = None,
    ) -> None:
        # The receiver's thread asks for the interpreter several times for each image; by default
        # a painting viewer lets it wait 5 ms each time, and the pipeline with it.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH))
        _keep_programs()
        self.version = napari.__version__
        self._events = _Events()
        self.changed = self._events.changed
        """A signal: something came."""
        self.shown = 0
        self._on_quit = on_quit
        self._planner = Planner(check_new)
        self._windows: dict[str, _Window] = {}
        self._closed: set[str] = set()
        self._answers = Answers(
            KIND,
            {
                "clear": self._clear,
                "layers": self._tell_layers,
                "pixels": self._tell_pixels,
                "pulse": self._tell_pulse,
                "quit": self._quit,
                "rois": self._tell_rois,
                "screenshot": self._tell_screenshot,
            },
        )
        self._is_due = False
        self._late: list[Delivery] = []
        """What was taken, and waits for its window to be opened."""
        self._pacing = Pacing()
        self._pulse = Pulse()
        self._pulse_timer = QTimer(self._events, interval=_PULSE)
        self._pulse_timer.setTimerType(Qt.TimerType.PreciseTimer)
        self._pulse_timer.timeout.connect(self._pulse.beat)
        self._flush_timer = QTimer(self._events, singleShot=True)
        self._flush_timer.timeout.connect(self._flush)
        self._after_timer = QTimer(self._events, singleShot=True)
        self._after_timer.timeout.connect(self._after_painting)
        self._hidden_timer = QTimer(self._events, interval=200)
        self._hidden_timer.timeout.connect(self._give_up_on_hidden)
        self._events.woken.connect(self._schedule, Qt.ConnectionType.QueuedConnection)
        self._events.closing.connect(self._on_closing)
        self.receiver = Receiver(self, name, listen=listen)
        self._log = ViewerLog(self.receiver.endpoint, self.version)
        self.closed_how = "by its user"
        """What the log says when it is closed: set before."""
        self._adopt("", viewer)  # last: a window that is watched closes the receiver

    # ── the receiver's thread ────────────────────────────────────────────────────────────

    def accept(self, item: Image | Rois) -> Plan:
        if item.window in self._closed:
            raise UnsupportedDataError(
                f"the window {item.window!r} was closed: restart the viewer to open it again"
            )
        if isinstance(item, Image):
            _check_colormaps(item)
            return self._planner.plan(item, "labels" if item.labels else "image")
        return self._planner.plan(item, "rois")

    def wake(self) -> None:
        if not self._is_due:  # one signal, however much comes until it is heard
            self._is_due = True
            self._events.woken.emit()

    # ── the thread of Qt ─────────────────────────────────────────────────────────────────

    def _schedule(self) -> None:
        """Flush when the last one has been painted, and as much again is left to others."""
        if not self._pacing.is_busy:
            self._flush_timer.start(int(self._pacing.pause() * 1000))

    def _flush(self) -> None:
        self._is_due = False
        self._pacing.begin()
        try:
            self._show_taken()
        finally:
            # Its time is up when all that the change has caused is done: painting costs most.
            self._after_timer.start(0)

    def _show_taken(self) -> None:
        """Show and answer all that was taken, in order, but open one window at most.

        napari needs up to a second for a window. Values for further windows wait for the next
        turn of the event loop, and so do the questions about these windows that came after them.
        """
        by_window: dict[str, list[Delivery]] = {}
        opened: str | None = None
        late: set[str] = set()
        taken, self._late = [*self._late, *self.receiver.take()], []
        for delivery in taken:
            window = _window_of(delivery)
            if window in late or (window is None and late):
                self._late.append(delivery)
            elif isinstance(delivery.item, Query):
                self._show(by_window)  # a question is about all that came before it
                by_window = {}
                self._reply(delivery)
            elif window in self._windows or opened is None or opened == window:
                if window not in self._windows:
                    opened = window
                by_window.setdefault(delivery.item.window, []).append(delivery)
            else:
                late.add(delivery.item.window)
                self._late.append(delivery)
        self._show(by_window)
        if self._late:
            self._is_due = True

    def _after_painting(self) -> None:
        for window in self._windows.values():
            window.fit()
        self._pacing.end()
        if self._is_due:
            self._schedule()

    def _show(self, by_window: dict[str, list[Delivery]]) -> None:
        for name, deliveries in by_window.items():
            try:
                window = self._window(name)
                superseded, failed = window.layers.show(deliveries)
            except Exception as reason:  # a plugin's, say: those who wait must hear of it
                superseded, failed = [], dict.fromkeys(deliveries, reason)
            for delivery in deliveries:
                if delivery in failed:
                    error = failed[delivery]
                    log.error("cannot show %r: %s", delivery.item.path, error, exc_info=error)  # type: ignore[union-attr]
                    text = f"{type(error).__name__}: {error}"
                    if isinstance(error, UnsupportedDataError):
                        text = error.reason
                    self.receiver.settle(delivery, "rejected", f"napari cannot show it: {text}")
                elif delivery in superseded:
                    self.receiver.settle(delivery, "coalesced")
                elif delivery.awaited:
                    window.unpainted.add(delivery)
                    self._hidden_timer.start()
            self.shown += len(deliveries) - len(failed)
        if by_window:
            self.changed.emit()

    def _painted(self, window: _Window) -> None:
        for delivery in window.unpainted.take():
            self.receiver.settle(delivery, "shown")

    def _give_up_on_hidden(self) -> None:
        for window in self._windows.values():
            for delivery in window.unpainted.take_hidden():
                self.receiver.settle(delivery, "received")
        if not any(window.unpainted for window in self._windows.values()):
            self._hidden_timer.stop()

    # ── windows ──────────────────────────────────────────────────────────────────────────

    def _window(self, name: str) -> _Window:
        found = self._windows.get(name)
        return found if found is not None else self._adopt(name, napari.Viewer(title=name))

    def _adopt(self, name: str, viewer: napari.Viewer) -> _Window:
        main = _main_window(viewer)
        layers = Layers(viewer, self._planner.forget)
        window = _Window(viewer, main, layers, is_fitted=bool(viewer.layers))
        self._windows[name] = window
        if main is not None:
            for canvas in _canvases(main):
                canvas.frameSwapped.connect(lambda: self._painted(window))
            main.installEventFilter(self._events)
        return window

    def _on_closing(self, main: QObject) -> None:
        for name, window in list(self._windows.items()):
            if window.main is main:
                self._forget_window(name)

    def _forget_window(self, name: str) -> None:
        window = self._windows[name]
        for delivery in window.unpainted.take():
            self.receiver.settle(delivery, "closed", f"the window {name!r} was closed")
        if not name:
            self.close()
            return
        self._closed.add(name)
        del self._windows[name]
        self._planner.forget_window(name)

    def close(self) -> None:
        """Take nothing more in; the windows stay as they are."""
        for timer in (
            self._flush_timer,
            self._after_timer,
            self._hidden_timer,
            self._pulse_timer,
        ):
            timer.stop()
        self.receiver.close()
        self._log.end(self.closed_how)

    # ── questions ────────────────────────────────────────────────────────────────────────

    def _reply(self, delivery: Delivery) -> None:
        is_answered = self._answers.reply(self.receiver, delivery)
        is_quit = isinstance(delivery.item, Query) and delivery.item.name == "quit"
        if is_answered and is_quit and self._on_quit is not None:
            self.closed_how = "by quit()"
            QTimer.singleShot(50, self._on_quit)

    def _open(self, window: str) -> _Window:
        if window not in self._windows:
            raise unknown_name("window", window, "the name of an open window", self._windows)
        return self._windows[window]

    def _tell_layers(self) -> tuple[Value, list[Value]]:
        found = [
            {"window": name, **layer}
            for name, window in self._windows.items()
            for layer in window.layers.describe()
        ]
        return found, []

    def _tell_pixels(self, *, path: str, window: str = "") -> tuple[Value, list[Pixels]]:
        layers = self._open(window).layers
        for kind in ("image", "labels"):
            plan, item = self._planner.place(window, path, kind) or (None, None)
            if plan is None or not isinstance(item, Image):
                continue
            pixels = layers.pixels(plan, item)
            if pixels is not None:
                edits = layers.edits(plan, item)
                about = {"axes": item.axes, "words": item.words, "original": item.original}
                return {**about, "changes": edits}, [pixels]
        shown = self._planner.paths(window)
        shown.discard(path)  # its layer was removed
        raise unknown_name("path", path, "a path that is shown", sorted(shown))

    def _tell_screenshot(
        self, *, window: str = "", canvas_only: bool = True
    ) -> tuple[Value, list[Pixels]]:
        viewer = self._open(window).viewer
        return None, [np.asarray(viewer.screenshot(canvas_only=canvas_only, flash=False))]

    def _tell_rois(
        self, *, layer: str | None = None, window: str = ""
    ) -> tuple[Value, list[Value]]:
        return [roi.to_dict() for roi in self._open(window).layers.rois(layer)], []

    def _clear(self, *, window: str = "") -> tuple[Value, list[Value]]:
        try:
            self._open(window).layers.clear()
        finally:
            self._planner.forget_window(window)
        return None, []

    def _quit(self) -> tuple[Value, list[Value]]:
        return None, []

    def _tell_pulse(self) -> tuple[Value, list[Value]]:
        """Seconds of the longest time without an event since this was asked last."""
        longest, is_measured = self._pulse.take(), self._pulse_timer.isActive()
        self._pulse_timer.start()
        return longest if is_measured else 0.0, []


def _window_of(delivery: Delivery) -> str | None:
    """Return the window that a value or question is about; ``None`` for all of them."""
    item = delivery.item
    if not isinstance(item, Query):
        return item.window
    return None if item.name in _ABOUT_ALL else str(item.arguments.get("window", ""))


def _keep_programs() -> None:
    """Let the window live on when a layer is removed, by its user or here.

    Where Mesa draws without a graphics card (22.3, under vispy 0.17), it is a segmentation
    fault to draw after a program was deleted. One that stays takes some kilobytes.
    """
    GlirProgram.delete = lambda _: None


def _check_colormaps(item: Image) -> None:
    for name in {item.colormap, *(channel.color for channel in item.channels)} - {None}:
        try:
            colormap(str(name))
        except (KeyError, ValueError, TypeError) as error:
            raise UnsupportedDataError(f"napari has no colormap {name!r}: {error}") from error


def _main_window(viewer: napari.Viewer) -> QMainWindow | None:
    """Return the Qt window of a viewer; a viewer without one (headless) has none."""
    # napari names it in no public way: it is the one whose canvas is of this viewer.
    window = getattr(viewer.window, "_qt_window", None)
    return window if isinstance(window, QMainWindow) else None


def _canvases(main: QMainWindow) -> list[Value]:
    return [w for w in main.findChildren(QWidget) if hasattr(w, "frameSwapped")]


def quit_application() -> None:
    """Close all windows, as the user does."""
    for widget in QApplication.topLevelWidgets():
        if isinstance(widget, QMainWindow):
            widget.close()
