"""The widget with which an open napari shows what pipelines save."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QFormLayout, QLabel, QLineEdit, QPushButton, QVBoxLayout, QWidget

from polystore_core.errors import PolystoreError

from .viewer import NapariViewer

if TYPE_CHECKING:
    import napari

__all__ = ["ReceiveWidget"]


class ReceiveWidget(QWidget):
    """Receive while the widget is open. The user can change the name of the receiver."""

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        # npe2 passes a proxy that hides the window, but we must watch the window for its close.
        self._window = getattr(napari_viewer, "__wrapped__", napari_viewer)
        self.viewer: NapariViewer | None = None
        self.name = QLineEdit("default")
        self.button = QPushButton()
        self.status = QLabel()
        self.status.setWordWrap(True)
        form = QFormLayout()
        form.addRow("name", self.name)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(self.button)
        layout.addWidget(self.status)
        layout.addStretch()
        self.button.clicked.connect(self.toggle)
        self.start()

    def toggle(self) -> None:
        """Start or stop receiving."""
        if self._receives():
            self.stop()
        else:
            self.start()

    def start(self) -> None:
        """Receive under the name in the field. Show the error if another viewer has the name."""
        try:
            self.viewer = NapariViewer(self._window, self.name.text() or "default")
        except PolystoreError as error:
            self.viewer = None
            self._show(str(error))
            return
        self.viewer.changed.connect(self._count)
        self._show("waiting for images")

    def stop(self) -> None:
        """Stop receiving."""
        if self.viewer is not None:
            self.viewer.closed_how = "in its widget"
            self.viewer.close()
            self.viewer = None
        self._show("not receiving")

    def _receives(self) -> bool:
        return self.viewer is not None and not self.viewer.receiver.is_closed

    def _count(self) -> None:
        if self.viewer is not None:
            self._show(f"{self.viewer.shown} received")

    def _show(self, text: str) -> None:
        self.status.setText(text)
        self.button.setText("Stop" if self._receives() else "Receive")
        self.name.setEnabled(not self._receives())

    def event(self, event: QEvent) -> bool:
        # When its dock is closed, napari only changes the parent of the widget to None.
        taken_out = event.type() == QEvent.Type.ParentChange and self.parent() is None
        if taken_out or event.type() in (QEvent.Type.Close, QEvent.Type.DeferredDelete):
            self.stop()
        return bool(super().event(event))
