"""Press Ctrl-C at every line of our code. Nothing stays open, and the next call works."""

from __future__ import annotations

import sys

import pytest

from .processes import TIMEOUT, listening, running

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

STEPS = """
import gc
import linecache
import warnings
import polystore_stream
from polystore_stream.sending.connection import Connection

MODULES = [
    "descriptors", "wire/ring", "sending/connection", "sending/link", "sending/transfers",
    "receiving/receiver", "receiving/replies", "receiving/subscription", "receiving/inbox",
]
OURS = [os.path.join(os.path.dirname(polystore_stream.__file__), f"{m}.py") for m in MODULES]
assert all(map(os.path.isfile, OURS)), OURS

def interrupted(work, step):
    # Whether work() came to that line of our code, where Ctrl-C ended it.
    left = step
    def trace(frame, event, argument):
        nonlocal left
        if frame.f_code.co_filename not in OURS:
            return None
        # No signal comes between the end of a with block and its __exit__, or at a bare try.
        line = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not line.lstrip().startswith(("with ", "try:")):
            left -= 1
            if not left:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(None)
    assert left > 0, "Ctrl-C was swallowed"
    return False

def held():
    maps = Path("/proc/self/maps").read_text().count("memfd:polystore-ring")
    threads = [t.name for t in threading.enumerate() if t.name.startswith("polystore")]
    return len(os.listdir("/proc/self/fd")), maps, len(threads)

def stays_clean(work, after):
    warnings.simplefilter("ignore", ResourceWarning)  # of sockets that close themselves
    work()
    after()
    before, step = held(), 1
    while interrupted(work, step):
        after()
        if not becomes(lambda: held() <= before, 20):
            say(step=step, before=before, after=held())
            break
        step += 1
    say(steps=step)
"""

SAVE = """
data = pattern(1, (1500, 1100))
files = FileManager()

def save():
    global files
    files = FileManager()
    files.save(data, "a", backend="streaming")

def close():
    files.save(data, "b", backend="streaming")
    files.registry.close()

stays_clean(save, close)
"""

CONNECT = """
assert becomes(lambda: discovery.find("toy"))
endpoint = discovery.find("toy")[0]

def connect():
    Connection(endpoint, "out").close()

stays_clean(connect, gc.collect)
"""

RECEIVE = """

items = None

def receiving():
    global items
    items = None
    items = receive("quiet", timeout=0)
    assert not list(items)
    items.close()

def left():
    if items is not None:
        items.close()
    gc.collect()
    assert becomes(lambda: not discovery.find("script", "quiet"))

stays_clean(receiving, left)
"""


def test_interrupted_save_leaves_nothing() -> None:
    with listening(announce_items=False), running(STEPS + SAVE) as child:
        said = child.says(350)
        assert list(said) == ["steps"], said
        assert said["steps"] > 100
        assert child.wait() == 0


def test_interrupted_connect_leaves_nothing() -> None:
    with running("Toy().show()") as toy, running(STEPS + CONNECT, before=[]) as child:
        said = child.says(350)
        assert list(said) == ["steps"], said
        toy.kill()
        assert child.wait() == 0


def test_interrupted_receive_leaves_nothing() -> None:
    with running(STEPS + RECEIVE) as child:
        said = child.says(350)
        assert list(said) == ["steps"], said
        assert child.wait(TIMEOUT) == 0
