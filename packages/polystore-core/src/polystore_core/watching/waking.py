"""Wake a watch when its folder changes, with the library watchdog if it is installed."""

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
    """Return the path that stays true after ``os.chdir``, and the one in the file system.

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
    """Import watchdog, or tell that it is not installed.

    Not while the watch waits: before Python 3.12, a Ctrl-C that comes while a class is made may
    be a RuntimeError.
    """
    try:
        import watchdog.events
        import watchdog.observers  # noqa: F401
    except ModuleNotFoundError:
        return False
    return True


def start_waking(
    folder: str, wake: Callable[[], None], *, recursive: bool
) -> Callable[[], None] | None:
    """Call ``wake`` in a thread whenever a name in ``folder`` is new, or a file is closed.

    Needs ``can_wake``. Returns the function that ends it; ``None`` if nothing tells of changes. A
    watch looks anyway, only later, so nothing else depends on it.
    """
    from watchdog import events
    from watchdog.observers import Observer

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
        observer.schedule(Waker(), folder, recursive=recursive, event_filter=telling)
        observer.start()
    except OSError:  # the folder is gone, or the user has reached the limit of inotify
        return None
    stop: Callable[[], None] = observer.stop
    return stop
