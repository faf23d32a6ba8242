"""The log of an ImageJ that its user started."""

from __future__ import annotations

import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from polystore_fiji.imagej import find_imagej
from polystore_fiji.launching import command
from polystore_stream import discovery
from polystore_stream.logs import explain_end, find_log, list_ended_viewers
from polystore_testing.processes import becomes, left_in, pipeline

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform != "linux", reason="system: needs Linux"),
]


def test_own_ImageJ_has_a_log(desktop: Path) -> None:
    """An ImageJ that its user started writes a log of its own, with the reason of its end."""
    with subprocess.Popen(command(find_imagej(), "own", headless=True)) as process:
        assert becomes(lambda: discovery.find("fiji", "own"))
        (endpoint,) = discovery.find("fiji", "own")
        log = find_log(endpoint)
        assert becomes(log.exists)
        assert becomes(lambda: log.read_text().startswith("polystore: started 20"))
        assert log.stat().st_mode & 0o777 == 0o600
        with pipeline("fiji_stream", viewer="own", launch=False) as files:
            files.save(np.ones((4, 5), "u1"), "a.npy", backend="screen")
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    assert left_in(desktop) == []
    assert explain_end(endpoint) == ("it was closed with its program", "")
    assert [end.title for end in list_ended_viewers("fiji") if end.log == log] == [
        endpoint.title
    ]
