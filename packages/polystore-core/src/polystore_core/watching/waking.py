"""Wake a watch when its folder changes, with the library watchdog if it is installed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ..files.local import LocalStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..abc.backend import DataSource

__all__ = ["local_folder", "start_waking"]


def local_folder(source: DataSource, path: str) -> str | None:
    """Return the absolute path in the file system; ``None`` for backends without one."""
    store = getattr(source, "store", None)
    if not isinstance(store, LocalStore):
        return None
    return os.path.abspath(os.path.join(store.root or "", path))


def start_waking(folder: str, wake: Callable[[], None]) -> Callable[[], None] | None:
    """Call ``wake`` in a thread whenever a name in ``folder`` is new, or a file is closed.

    Returns the function that ends it; ``None`` if nothing can tell of changes. A watch looks
    anyway, only later, so nothing else depends on it.
    """
    try:
        from watchdog import events
        from watchdog.observers import Observer
    except ModuleNotFoundError:
        return None

    class Waker(events.FileSystemEventHandler):  # type: ignore[misc, unused-ignore]
        def on_any_event(self, event: Any) -> None:
            wake()

    # Not the events of reading: each look would cause the next one.
    telling = [
        events.FileCreatedEvent,
        events.FileMovedEvent,
        events.FileClosedEvent,
        events.DirCreatedEvent,
        events.DirMovedEvent,
    ]
    observer = Observer()
    try:
        observer.schedule(Waker(), folder, event_filter=telling)
        observer.start()
    except OSError:  # the folder is gone, or the user has reached the limit of inotify
        return None
    stop: Callable[[], None] = observer.stop
    return stop
