"""Waking a watch when its folder changes, with the library watchdog if it is installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..files.local import LocalStore
from ..paths import require_local

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..abc.backend import DataSource

__all__ = ["can_wake", "find_place", "start_waking"]


def find_place(source: DataSource, path: str) -> tuple[str, str | None]:
    """Return a path that does not depend on the working folder, and the path in the file system.

    The second is ``None`` for backends that are not in the file system of this machine.
    """
    store = getattr(source, "store", None)
    if not isinstance(store, LocalStore):
        return path, None
    text = require_local(path)
    if store.root is not None:
        return path, os.path.join(store.root, text)
    full = text if os.path.isabs(text) else os.path.join(os.getcwd(), text)
    return full, full


def can_wake() -> bool:
    """Import watchdog, and return whether it is installed."""
    # Called before the watch waits. Before Python 3.12, Ctrl-C during the creation of a class may
    # become a RuntimeError.
    try:
        import watchdog.events
        import watchdog.observers  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def start_waking(
    folder: str, wake: Callable[[], None], *, recursive: bool
) -> Callable[[], None] | None:
    """Call ``wake`` in a thread when a name in ``folder`` is new, or a file is closed.

    Call it only after ``can_wake``. Returns the function that ends it, or ``None`` if the system
    does not report changes. The watch then finds them later, at its next look.
    """
    from watchdog import events
    from watchdog.observers import Observer

    class Waker(events.FileSystemEventHandler):  # type: ignore[misc, unused-ignore]
        def on_any_event(self, event: Any) -> None:
            wake()

    # Without the events of reading, because each look would cause the next one.
    telling = [
        events.FileCreatedEvent,
        events.FileMovedEvent,
        events.FileClosedEvent,
        events.DirCreatedEvent,
        events.DirMovedEvent,
    ]
    observer = Observer()
    try:
        observer.schedule(Waker(), folder, recursive=recursive, event_filter=telling)
        observer.start()
    except OSError:  # the folder was deleted, or the limit of inotify is reached
        return None
    stop: Callable[[], None] = observer.stop
    return stop
