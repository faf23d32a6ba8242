"""docs/stream-protocol.md lists all messages, and the receiver in it works."""

from __future__ import annotations

import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from polystore_core.errors import ReceiverUnavailableError
from polystore_core.rois import ROI, Polygon
from polystore_stream.discovery import Endpoint
from polystore_stream.wire import messages
from polystore_stream.wire.messages import DTYPES, encode, read_header, read_reply
from polystore_testing.processes import becomes

from .processes import TIMEOUT, pattern, sending

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = Path(__file__).parents[3] / "docs" / "stream-protocol.md"
SPOKEN = (
    "Hello",
    "Ring",
    "Image",
    "Piece",
    "Query",
    "Bye",
    "Welcome",
    "Ack",
    "Failure",
    "Answer",
)

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="system: the documents are not here"),
    pytest.mark.skipif(sys.platform == "win32", reason="system: needs local sockets"),
]


def page() -> str:
    return PAGE.read_text(encoding="utf-8")


def code() -> str:
    (found,) = re.findall(r"```python\n# receiver.py\n(.*?)```", page(), re.DOTALL)
    return str(found)


def fields_in(section: str) -> set[str]:
    """Return the names in the first column of the section's first table."""
    _, _, rest = page().partition(f"\n{section}\n")
    text, _, _ = re.split(r"\n##+ ", rest)[0].partition("\n| stage |")
    return set(re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE))


class PageReceiver:
    """The receiver of the page, in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "raw.json"
        program = folder / "receiver.py"
        program.write_text(code(), encoding="utf-8")
        arguments = [str(program), str(self.file), f"ipc://{folder}/raw"]
        command = [sys.executable, "-P", "-W", "error", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert becomes(self.file.exists, TIMEOUT)

    def line(self) -> list[str]:
        """Return the next line that it prints: path, element type, shape or count, checksum."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        return line.rstrip("\n").split("\t")


@pytest.fixture
def page_receiver(runtime_directory: Path) -> Iterator[PageReceiver]:
    folder = runtime_directory / "raw"
    folder.mkdir(mode=0o700)
    receiver = PageReceiver(folder)
    yield receiver
    receiver.process.kill()
    receiver.process.communicate()


def format_line(path: str, data: Any) -> list[str]:
    return [path, data.dtype.str, str(list(data.shape)), str(zlib.crc32(data.tobytes()))]


def test_receiver_is_short() -> None:
    """The receiver of the page has at most 60 lines, and does not import polystore."""
    assert "polystore" not in code()
    assert len(code().splitlines()) <= 60


def test_receiver_takes_images(page_receiver: PageReceiver) -> None:
    """Images of one piece and of several, alone and in a batch, arrive equal."""
    small, large = pattern(1, (30, 40)), pattern(2, (3, 1024, 1024))
    turned = large[:, ::-1]
    with sending(connection=page_receiver.file) as files:
        files.save(small, "small", backend="out")
        assert page_receiver.line() == format_line("small", small)
        files.save(large, "large", backend="out", wait="shown")
        assert page_receiver.line() == format_line("large", large)
        files.save_batch([small, turned], ["one", "two"], backend="out")
        assert page_receiver.line() == format_line("one", small)
        assert page_receiver.line() == format_line("two", turned)
        assert files.registry["out"].counters.shown == 1


def test_receiver_takes_rois(page_receiver: PageReceiver) -> None:
    """ROIs arrive with their number."""
    triangle = ROI(Polygon([(1, 1), (1, 8), (6, 8)]))
    with sending(connection=page_receiver.file) as files:
        files.save([triangle, triangle], "cells", backend="out")
    assert page_receiver.line()[:3] == ["cells", "rois", "2"]


def test_receiver_checks_token(page_receiver: PageReceiver) -> None:
    """A producer without the token is rejected with its own error."""
    text = page_receiver.file.read_text(encoding="utf-8")
    other = page_receiver.file.with_name("other.json")
    other.write_text(re.sub(r'"token": "[^"]*"', '"token": "guessed"', text), encoding="utf-8")
    with sending(connection=other) as files, pytest.raises(ReceiverUnavailableError):
        files.save(np.zeros((2, 2), np.uint8), "a", backend="out")


def test_exchange_is_literal() -> None:
    """Each line of the exchange equals our message, byte for byte."""
    sent = re.findall(r"^→ (.*)$", page(), re.MULTILINE)
    answered = re.findall(r"^← (.*)$", page(), re.MULTILINE)
    assert len(sent) > 5
    assert len(answered) > 5
    for line in sent:
        assert encode(read_header(line.encode())).decode() == line
    for line in answered:
        assert encode(read_reply(line.encode())).decode() == line


@pytest.mark.parametrize("name", SPOKEN)
def test_fields_are_listed(name: str) -> None:
    """The table of each message has exactly its fields."""
    known = set(getattr(messages, name).__struct_fields__) - {"number"}
    assert fields_in(f"### `{name.lower()}`") == known


def test_rois_are_listed() -> None:
    """The table of ROIs has exactly the fields that images lack."""
    known = set(messages.Rois.__struct_fields__) - {"number"}
    assert fields_in("### `rois`") == known - set(messages.Item.__struct_fields__)


def test_announcement_is_listed() -> None:
    """The table of the receiver's file has exactly its fields."""
    assert fields_in("## Finding each other") == set(Endpoint.__dataclass_fields__)


def test_elements_are_listed() -> None:
    """The page names exactly the element types that travel."""
    assert set(re.findall(r"`([|<][biuf][1248])`", page())) == DTYPES
