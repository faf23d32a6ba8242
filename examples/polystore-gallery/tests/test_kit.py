import pytest

from polystore_core import BackendRegistry
from polystore_gallery.stream import GalleryStream
from polystore_testing import NAME, SinkTests, StreamTests, ViewerProcess


class TestGallery(SinkTests):
    @pytest.fixture
    def registry(self, tmp_path):
        registry = BackendRegistry()
        registry.add(NAME, "gallery", folder=str(tmp_path))
        return registry


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    folder = str(tmp_path_factory.mktemp("gallery"))
    backend = GalleryStream(viewer="kit", folder=folder)
    viewer = ViewerProcess(backend.start, backend.connect)
    yield viewer
    viewer.kill()


class TestStream(StreamTests):
    @pytest.fixture
    def registry(self):
        with BackendRegistry() as registry:
            registry.add(NAME, "gallery_stream", viewer="kit", launch=False)
            yield registry

    @pytest.fixture
    def receiver(self, running):
        return running.reset()
