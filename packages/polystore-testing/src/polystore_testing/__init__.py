"""The conformance kit: test classes for your backend or format.

Subclass a test class in a test module, and supply its fixture::

    import pytest
    from polystore_core import BackendRegistry
    from polystore_testing import NAME, StorageTests

    class TestSqlite(StorageTests):
        @pytest.fixture
        def registry(self, tmp_path):
            registry = BackendRegistry()
            registry.add(NAME, "sqlite", file=str(tmp_path / "data.db"))
            return registry

The test classes:

- ``StorageTests`` are for backends that keep values. They include ``ImageTests``: list the paths
  at which images keep their metadata in ``image_paths``.
- ``SourceTests`` and ``SinkTests`` are for backends that only read or only write.
- ``LinkTests`` are for symbolic links.
- ``SiblingTests`` are for backends that store the bytes of formats.
- ``StoreTests`` are for stores of bytes. Their fixture is ``bytes_store``.
- ``StreamTests`` are for backends that send to a viewer or to another receiver. They need a second
  fixture: ``receiver``, a ``StreamReceiver`` that returns the values that have arrived, and that
  can be killed and restarted.
- ``FormatTests`` are for formats.

Your backend need not make every promise. If its ``capabilities`` or the ``features`` of its store
leave one out, the tests of that promise check the refusal: your backend must raise an
``UnsupportedOperationError`` that names the backend, the store and the feature, and must not change
anything. If a test does not apply, replace it and decorate it with ``@overrides("the reason")``.
Without this decorator, a replacement is an error.
"""

from . import asserts  # noqa: F401 - must come before the modules whose asserts it rewrites
from .conformance import NAME, Bound, Conformance, overrides
from .format import FormatTests
from .images import ImageTests
from .link import LinkTests
from .model import check_against_model
from .sibling import SiblingTests
from .sink import SinkTests
from .source import SourceTests
from .storage import StorageTests
from .stores import StoreTests
from .stream import StreamReceiver, StreamTests, ViewerProcess

__all__ = [
    "NAME",
    "Bound",
    "Conformance",
    "FormatTests",
    "ImageTests",
    "LinkTests",
    "SiblingTests",
    "SinkTests",
    "SourceTests",
    "StorageTests",
    "StoreTests",
    "StreamReceiver",
    "StreamTests",
    "ViewerProcess",
    "check_against_model",
    "overrides",
]
