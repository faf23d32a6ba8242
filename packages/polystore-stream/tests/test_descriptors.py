"""If few files can be opened, an error of ours has the errno, and the process lives on."""

from __future__ import annotations

import errno
import sys
from typing import TYPE_CHECKING, Any

import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_testing.processes import becomes

from .processes import describe, listening, pattern, running, sending

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.faults,
    pytest.mark.timeout(120),
    pytest.mark.usefixtures("leak_check"),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]

FEW = """
import resource
from polystore_core.errors import PolystoreError, StorageError
from polystore_stream import RemoteViewer
from polystore_stream.sending.launch import start_viewer

def attempt(call, spare):
    # With that many files to open, in a process of its own.
    read, write = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(write, 1)
        opened = [int(name) for name in os.listdir("/proc/self/fd")]
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(opened) + 40,) * 2)
        filler = []
        try:
            while True:
                filler.append(os.open("/dev/null", os.O_RDONLY))
        except OSError:
            pass
        for descriptor in filler[:spare]:
            os.close(descriptor)
        try:
            call()
            say(done=True)
        except PolystoreError as error:
            say(errno=error.errno, text=str(error))
        os._exit(0)
    os.close(write)
    with open(read) as file:
        text = file.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(text) if text and not status else {"status": status}

say(told=[attempt(CALL, spare) for spare in range(30)])
"""

CALLS = {
    "save": """
files = FileManager()
files.registry["streaming"]
data = pattern(1, (300, 300))
CALL = lambda: files.save(data, "a", backend="streaming")
""",
    "receive": """
CALL = lambda: receive("other").close()
""",
    "connect": """
from polystore_stream import RemoteViewer
endpoint = discovery.find("script")[0]
CALL = lambda: RemoteViewer(endpoint).close()
""",
    "launch": """
from polystore_stream.sending.launch import start_viewer
CALL = lambda: start_viewer(["/bin/sh", "-c", "exit 3"], "none", "a", backend="out", timeout=9)
""",
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_few_descriptors_raise_an_error(call: str) -> None:
    with listening(announce_items=False) as listener, running(call + FEW) as child:
        answers: list[dict[str, Any]] = child.says(100)["told"]
        assert child.wait() == 0
        for spare, said in enumerate(answers):
            assert said == answers[-1] or said.get("errno") == errno.EMFILE, (spare, said)
        assert answers[0]["errno"] == errno.EMFILE
        assert answers[-1] == {"done": True} or "ended with status 3" in answers[-1]["text"]
        # The producers could not examine the receiver, but it is still found.
        with sending() as files:
            files.save(pattern(1, (40, 50)), "next", backend="out")
        assert becomes(lambda: listener.state()["nbytes"] == 0)


CROWDED = """
import resource
items = receive()

def obey():
    hear()
    held, highest = [], max(int(name) for name in os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, 1024))
    try:
        while True:
            held.append(os.open("/dev/null", os.O_RDONLY))
    except OSError:
        say(full=True)
    hear()
    for descriptor in held:
        os.close(descriptor)
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
    say(free=True)

threading.Thread(target=obey, daemon=True).start()
say(ready=True)
for item in items:
    say(**describe(item.path, item.data))
"""


def test_full_receiver_serves_its_producers(runtime_directory: Path) -> None:
    """A receiver that can open no file keeps its producers, and later accepts new ones."""
    small, large = pattern(1, (40, 50)), pattern(2, (1500, 1100))
    with running(CROWDED) as child:
        assert child.says() == {"ready": True}
        with sending() as files, sending() as others:
            files.save(small, "first", backend="out")
            assert child.says()["path"] == "first"
            child.tell("fill")
            assert child.says() == {"full": True}
            assert becomes(lambda: list(runtime_directory.glob("*.sock.full")))
            files.save(large, "second", backend="out")
            assert child.says() == describe("second", large)
            with pytest.raises(ReceiverUnavailableError, match="too many open files"):
                others.save(large, "third", backend="out")
            child.tell("free")
            assert child.says() == {"free": True}
            assert becomes(lambda: not list(runtime_directory.glob("*.sock.full")))
            for sender, path in ((others, "fourth"), (files, "fifth")):
                sender.save(large, path, backend="out")
                assert child.says() == describe(path, large)
