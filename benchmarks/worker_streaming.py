"""One end of a contender in an interpreter of its own: reads a request per line, answers a line.

Run as ``python worker_streaming.py send|receive CONTENDER DIRECTORY``. It ends when its input
does, so that it never outlives who started it.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import sys
import threading
import time
import zlib
from dataclasses import asdict, dataclass
from functools import lru_cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TextIO

import numpy as np
from contenders_streaming import CONTENDERS, Contender, Image

__all__: list[str] = []

LIBRARIES = ("numpy", "pyzmq", "polystore-core", "polystore-stream", "polystore")
POOL_BYTES = 2**29
"""Images that a sender holds; a longer round sends them again."""


@dataclass
class Tally:
    """The images that were sent or received: comparing them shows lost, doubled and torn ones."""

    count: int = 0
    corners: int = 0
    """Sum of the first and the last pixels."""
    last: int = 0
    """Checksum of the last image."""

    def add(self, image: Image) -> None:
        self.count += 1
        self.corners += int(image[0, 0]) + int(image[-1, -1])

    def reaches(self, count: int) -> bool:
        return self.count >= count

    def close(self, image: Image | None) -> dict[str, int]:
        self.last = 0 if image is None else zlib.crc32(image.data)
        return asdict(self)


def main() -> None:
    # Text that a library prints must not look like an answer.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    role, name, directory = sys.argv[1:]
    {"send": _send, "receive": _receive}[role](CONTENDERS[name], Path(directory), answers)


def _send(contender: Contender, directory: Path, answers: TextIO) -> None:
    sender, tally = contender.sender(directory), Tally()
    print(json.dumps(_versions()), file=answers)
    for line in sys.stdin:
        request = json.loads(line)
        images = _images(request["side"], request["count"])
        paths = [f"bench/{number:04}.npy" for number in range(len(images))]
        spans = []
        if request["batch"]:
            begin = time.perf_counter()
            sender.send_all(images, paths)
            spans.append(time.perf_counter() - begin)
        else:
            for image, path in zip(images, paths, strict=True):
                begin = time.perf_counter()
                sender.send(image, path)
                spans.append(time.perf_counter() - begin)
        for image in images:
            tally.add(image)
        answer = {"seconds": spans, "tally": tally.close(images[-1])}
        print(json.dumps(answer), file=answers)


@lru_cache(maxsize=1)
def _images(side: int, count: int) -> list[Image]:
    """Return ``count`` images of ``side`` × ``side``, neighbours different in every pixel."""
    noise = np.random.default_rng(0).integers(0, 4096, (side, side), np.uint16)
    distinct = min(count, POOL_BYTES // noise.nbytes)
    pool = [noise + np.uint16(number) for number in range(distinct)]
    return [pool[number % distinct] for number in range(count)]


def _receive(contender: Contender, directory: Path, answers: TextIO) -> None:
    assert contender.receiver is not None
    tally, image = Tally(), None
    arrived = threading.Condition()

    def answer() -> None:
        for line in sys.stdin:
            with arrived:
                arrived.wait_for(partial(tally.reaches, int(line)), timeout=10)
                print(json.dumps(tally.close(image)), file=answers)
        # To the main thread, which would otherwise wait for ever.
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    try:
        with contender.receiver(directory) as items:
            print(json.dumps(_versions()), file=answers)
            threading.Thread(target=answer, daemon=True).start()
            for _, received in items:
                with arrived:
                    image = received
                    tally.add(received)
                    arrived.notify()
    except KeyboardInterrupt:
        pass


def _versions() -> dict[str, str]:
    found = {"Python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


if __name__ == "__main__":
    main()
