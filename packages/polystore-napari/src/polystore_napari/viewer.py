"""Show the deliveries of a receiver in windows of napari."""

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

_SWITCH = 0.0005  # seconds after which a thread gives the interpreter to another one
_PULSE = 5  # milliseconds between two beats
_ABOUT_ALL = ("layers", "quit")
"""Queries about all windows. The others are about one window."""


@dataclass(slots=True)
class _Window:
    """One napari window with its layers, and the values that wait until it is painted."""

    viewer: napari.Viewer
    main: QMainWindow | None
    layers: Layers
    unpainted: Unpainted = field(default_factory=Unpainted)
    is_fitted: bool = False
    """Whether the camera was set again after the first layer. napari sets it when the layer comes,
    and afterwards its panels and sliders make the canvas smaller."""

    def fit(self) -> None:
        """Set the camera to the layers, once."""
        if not self.is_fitted and self.viewer.layers:
            self.is_fitted = True
            self.viewer.reset_view()


class _Events(QObject):
    """Signals of Qt for events of other threads and of windows.

    Any thread may emit ``woken``. Qt delivers it in the thread of the windows.
    """

    woken = Signal()
    closing = Signal(object)
    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._asked: QObject | None = None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        # A close event does not mean that the window closes: napari may ask its user first. The
        # window is closed when it is hidden after that.
        if event.type() == QEvent.Type.Close:
            self._asked = watched
        elif event.type() == QEvent.Type.Hide and self._asked is watched:
            self._asked = None
            self.closing.emit(watched)
        return False


class NapariViewer(Viewer):
    """Show values in ``viewer``, and in more windows if a layout asks for them.

    Args:
        viewer: The napari window for the main window of layouts.
        name: Name that backends use for it.
        listen: Address for producers of other machines. See ``Receiver``.
        on_quit: Called after the query "quit" was answered.
    """

    # It has no lock. The thread of Qt runs everything except accept and wake, which the receiver's
    # thread calls. These two use:
    #   _closed: they only read it, and one step of a set is atomic
    #   _is_due: both threads set it. A signal too many is harmless
    #   _planner: it has a lock
    #   _events.woken: Qt queues the signal for its own thread

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
        # The receiver's thread needs the interpreter several times for each image. By default, a
        # painting viewer makes it wait 5 ms each time, and the pipeline waits with it.
        sys.setswitchinterval(min(sys.getswitchinterval(), _SWITCH))
        _keep_programs()
        self.version = napari.__version__
        self._events = _Events()
        self.changed = self._events.changed
        """Signal of Qt, emitted when something came."""
        self.shown = 0
        """Number of values that were shown."""
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
        """Deliveries that wait until their window is opened."""
        # The timers. All of them belong to the thread of Qt:
        #   _flush_timer starts the next flush.
        #   _after_timer fires when the event loop has painted the flush.
        #   _hidden_timer runs while producers wait for windows that may be hidden.
        #   _pulse_timer runs after the first query "pulse", to measure how long Qt was busy.
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
        """Text for the log when it is closed. Set it before you close the viewer."""
        # Adopt the window last: closing it closes the receiver, which must exist by then.
        self._adopt("", viewer)

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
        if not self._is_due:  # one signal is enough for everything until the next flush
            self._is_due = True
            self._events.woken.emit()

    # ── the thread of Qt ─────────────────────────────────────────────────────────────────

    def _schedule(self) -> None:
        """Plan the next flush. Before it, the last one is painted, and others get some time."""
        if not self._pacing.is_busy:
            self._flush_timer.start(int(self._pacing.pause() * 1000))

    def _flush(self) -> None:
        # Reset before taking: a delivery that comes after take sets it again, and is not lost.
        self._is_due = False
        self._pacing.begin()
        try:
            self._show_taken()
        finally:
            # End the measurement in the next turn of the event loop, when Qt has also painted the
            # change. Painting takes most of the time.
            self._after_timer.start(0)

    def _show_taken(self) -> None:
        """Show and answer all deliveries in order, but open at most one window.

        napari needs up to a second to open a window. Values for other new windows wait for the
        next turn of the event loop, and so do later queries about these windows.
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
                self._show(by_window)  # the answer must include all values that came before
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
            except Exception as reason:  # of a plugin, perhaps: waiting producers must be told
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

    def _settle_painted(self, window: _Window) -> None:
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
            # frameSwapped means that the frame is on the screen. A paint event would be too early.
            for canvas in _canvases(main):
                canvas.frameSwapped.connect(lambda: self._settle_painted(window))
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
        """Stop receiving. The windows stay as they are."""
        for timer in (
            self._flush_timer,
            self._after_timer,
            self._hidden_timer,
            self._pulse_timer,
        ):
            timer.stop()
        self.receiver.close()
        self._log.end(self.closed_how)

    # ── queries ────────────────────────────────────────────────────────────────────────

    def _reply(self, delivery: Delivery) -> None:
        is_answered = self._answers.reply(self.receiver, delivery)
        is_quit = isinstance(delivery.item, Query) and delivery.item.name == "quit"
        if is_answered and is_quit and self._on_quit is not None:
            self.closed_how = "by quit()"
            # Quit a little later, so that the receiver's thread can send the answer first.
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
        shown.discard(path)  # the user has removed its layer
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
        """Return the longest time without an event since the last query, in seconds."""
        longest, is_measured = self._pulse.take(), self._pulse_timer.isActive()
        self._pulse_timer.start()
        return longest if is_measured else 0.0, []


def _window_of(delivery: Delivery) -> str | None:
    """Return the window of a value or query, or ``None`` for a query about all windows."""
    item = delivery.item
    if not isinstance(item, Query):
        return item.window
    return None if item.name in _ABOUT_ALL else str(item.arguments.get("window", ""))


def _keep_programs() -> None:
    """Keep the programs of OpenGL when a layer is removed, or drawing may crash.

    Without a graphics card, Mesa 22.3 under vispy 0.17 ends with a segmentation fault if it draws
    after a program was deleted. Each kept program uses some kilobytes.
    """
    GlirProgram.delete = lambda _: None


def _check_colormaps(item: Image) -> None:
    for name in {item.colormap, *(channel.color for channel in item.channels)} - {None}:
        try:
            colormap(str(name))
        except (KeyError, ValueError, TypeError) as error:
            raise UnsupportedDataError(
                f"napari does not have a colormap {name!r}: {error}"
            ) from error


def _main_window(viewer: napari.Viewer) -> QMainWindow | None:
    """Return the Qt window of a viewer, or ``None`` for a viewer without one (headless)."""
    # napari has only this private name for it.
    window = getattr(viewer.window, "_qt_window", None)
    return window if isinstance(window, QMainWindow) else None


def _canvases(main: QMainWindow) -> list[Value]:
    return [w for w in main.findChildren(QWidget) if hasattr(w, "frameSwapped")]


def quit_application() -> None:
    """Close all windows, as if the user did it."""
    for widget in QApplication.topLevelWidgets():
        if isinstance(widget, QMainWindow):
            widget.close()
