"""Ways to bring an image into another process, each behind the same few calls.

``directory`` is an empty folder of the contender, for its sockets; polystore takes it from
``POLYSTORE_RUNTIME_DIR``. A sender waits until its images are acknowledged; a receiver holds a
copy of its own of every image that it yields.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np
import zmq
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["CONTENDERS", "Contender", "Image", "Items", "Sender"]

Image: TypeAlias = NDArray[np.uint16]
Items: TypeAlias = Iterator[tuple[str, Image]]


class Sender(ABC):
    """A sender. Its library is imported only when it is made."""

    @abstractmethod
    def send(self, image: Image, path: str) -> None:
        """Send one image; return when it is acknowledged."""

    def send_all(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        """Send many; return when the last one is acknowledged."""
        for image, path in zip(images, paths, strict=True):
            self.send(image, path)


@dataclass(frozen=True)
class Contender:
    """Both ends of one way."""

    sender: Callable[[Path], Sender]
    receiver: Callable[[Path], AbstractContextManager[Items]] | None
    """Listens when it is entered. ``None`` if images do not leave the process."""


class Copy(Sender):
    """One copy in memory, by one thread: no way that keeps the sender's image is faster."""

    def __init__(self, directory: Path) -> None:
        self._target = np.empty((0, 0), np.uint16)

    def send(self, image: Image, path: str) -> None:
        self.send_all([image], [path])

    def send_all(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        source = images[0]
        if self._target.shape != source.shape:
            self._target = np.zeros_like(source)
        for _ in images:
            np.copyto(self._target, source)


class RawSender(Sender):
    """pyzmq by hand: a header and the image as it lies in memory."""

    WINDOW: ClassVar = 8
    """Images that may be on their way."""

    def __init__(self, directory: Path) -> None:
        self._socket = _context().socket(zmq.DEALER)
        self._socket.linger = 0
        self._socket.rcvtimeo = 30_000  # ms; or the end of its receiver would never be noticed
        self._socket.connect(_raw_address(directory))

    def send(self, image: Image, path: str) -> None:
        self._send(image, path)
        self._socket.recv()

    def send_all(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        for number, (image, path) in enumerate(zip(images, paths, strict=True)):
            if number >= self.WINDOW:
                self._socket.recv()
            self._send(image, path)
        for _ in range(min(self.WINDOW, len(images))):
            self._socket.recv()

    def _send(self, image: Image, path: str) -> None:
        header = {"path": path, "shape": image.shape, "dtype": image.dtype.str}
        self._socket.send_multipart([json.dumps(header).encode(), image.data], copy=False)


@contextmanager
def _raw_receiver(directory: Path) -> Iterator[Items]:
    def items() -> Items:
        while True:
            sender, header, payload = socket.recv_multipart(copy=False)
            fields = json.loads(header.bytes)
            flat = np.frombuffer(payload.buffer, fields["dtype"])
            image = flat.reshape(fields["shape"]).copy()
            socket.send_multipart([sender.bytes, b"received"])
            yield fields["path"], image

    with _context().socket(zmq.ROUTER) as socket:
        socket.bind(_raw_address(directory))
        yield items()


def _context() -> zmq.Context[zmq.Socket[bytes]]:
    return zmq.Context.instance()


def _raw_address(directory: Path) -> str:
    return f"ipc://{directory}/raw.sock"


class IncumbentSender(Sender):
    """The published ``polystore``, into a receiver that it takes for a napari viewer."""

    def __init__(self, directory: Path) -> None:
        napari = import_module("polystore.napari_stream")
        manager = import_module("polystore").FileManager
        self._manager = manager({"napari_stream": napari.NapariStreamingBackend()})
        self._options = {"backend": "napari_stream", "stream_request": _request(directory)}

    def send(self, image: Image, path: str) -> None:
        self._manager.save(image, path, **self._options)

    def send_all(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        self._manager.save_batch(images, paths, **self._options)


class _Display:
    """The application's part of a request: how the viewer arranges images, here in a stack."""

    COMPONENT_ORDER = ("channel",)

    def component_modes(self) -> dict[str, str]:
        return {"channel": "stack"}

    def display_payload_extra(self) -> dict[str, str]:
        return {}


def _request(directory: Path) -> Any:
    """Return the least request that it takes."""
    viewer = import_module("polystore.streaming.viewer_transport")
    identity = import_module("polystore.streaming.identity")
    endpoint, config = _incumbent_endpoint(directory)
    return viewer.ViewerStreamRequest(
        viewer_transport=endpoint,
        display_config=_Display(),
        source=viewer.ViewerStreamSource(
            # Without a plate it asks no microscope handler for the names of components.
            identity=viewer.ViewerStreamSourceIdentity(microscope_handler=None),
            metadata=viewer.BatchViewerStreamSourceMetadata({"channel": "1"}),
        ),
        producer=viewer.ViewerStreamProducer.from_identity(
            identity.StreamProducerIdentity.fixed_output(
                identity.FixedStreamProducerIdentityKind.DIRECT, "bench"
            )
        ),
        transport_config=viewer.ExplicitViewerTransportConfig(config),
    )


def _incumbent_endpoint(directory: Path) -> tuple[Any, Any]:
    """Return endpoint and configuration that put its sockets into ``directory``."""
    runtime = import_module("zmqruntime.config")
    transport = import_module("zmqruntime.transport")
    endpoint = transport.TransportEndpoint("localhost", 5555, runtime.TransportMode.IPC)
    return endpoint, runtime.ZMQConfig(ipc_socket_dir=str(directory), ipc_socket_prefix="z")


@contextmanager
def _incumbent_receiver(directory: Path) -> Iterator[Items]:
    """Act as the viewer that its senders expect: copy each image out of its segment, then reply.

    A viewer also reports each image that it has shown; no sender waits for that.
    """
    memory = import_module("polystore.streaming").StreamingSharedMemoryAuthority
    endpoint, config = _incumbent_endpoint(directory)

    def items() -> Items:
        while True:
            message: Any = socket.recv_json()
            copies = [
                memory.copy_sender_owned_array(
                    name=item["shm_name"], shape=item["shape"], dtype=item["dtype"]
                )
                for item in message["images"]
            ]
            socket.send_json({"status": "success"})
            for item, image in zip(message["images"], copies, strict=True):
                yield item["path"], image

    with _context().socket(zmq.REP) as socket:
        socket.bind(endpoint.data_url(config))
        yield items()


class PolystoreSender(Sender):
    """This repository."""

    def __init__(self, directory: Path) -> None:
        from polystore import BackendRegistry, FileManager

        registry = BackendRegistry()
        registry.add("to_bench", "streaming", channel="bench")
        self._manager = FileManager(registry)

    def send(self, image: Image, path: str) -> None:
        self._manager.save(image, path, backend="to_bench")

    def send_all(self, images: Sequence[Image], paths: Sequence[str]) -> None:
        self._manager.save_batch(images, paths, backend="to_bench")


@contextmanager
def _polystore_receiver(_: Path) -> Iterator[Items]:
    with import_module("polystore_stream").receive("bench") as items:
        yield ((item.path, item.data) for item in items)


CONTENDERS: Mapping[str, Contender] = {
    "copy": Contender(Copy, None),
    "raw": Contender(RawSender, _raw_receiver),
    "incumbent": Contender(IncumbentSender, _incumbent_receiver),
    "polystore": Contender(PolystoreSender, _polystore_receiver),
}
