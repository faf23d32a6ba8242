"""The conformance kit: polystore's table of semantics, executed against your backend or format.

Subclass a slice in a test module and supply its one fixture::

    import pytest
    from polystore_core import BackendRegistry
    from polystore_testing import NAME, StorageTests

    class TestSqlite(StorageTests):
        @pytest.fixture
        def registry(self, tmp_path):
            registry = BackendRegistry()
            registry.add(NAME, "sqlite", file=str(tmp_path / "data.db"))
            return registry

``StorageTests`` are for backends that keep values, ``SourceTests`` and ``SinkTests`` for backends
that only read or only write, ``LinkTests`` for symbolic links, ``SiblingTests`` for backends that
store the bytes of formats. ``StorageTests`` includes ``ImageTests``: name the paths at which images
keep their words in ``image_paths``. ``StoreTests`` are for stores of bytes, and their fixture is
``bytes_store``. ``StreamTests``, for backends that send to a viewer or to another receiver, need a
second fixture: ``receiver``, a ``StreamReceiver`` that returns the values that have arrived at the
other end, and that can be killed and started again.

Refusing is part of the contract. If an instance does not make a promise, by its ``capabilities``
or by the ``features`` of its store, the tests of that promise check that it is refused: with an
``UnsupportedOperationError`` that names the backend, the store and the feature, and without a
change. Replace a test that does not apply, and decorate it with ``@overrides("the reason")``. To
replace one without this decorator is an error.
"""

from . import asserts  # noqa: F401 - before the modules whose asserts it rewrites
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
