"""Code of plugins that the tests install, and a call of such a backend."""

from collections.abc import Callable
from typing import Any

from polystore_core import BackendRegistry

Install = Callable[..., None]

FORMAT = """
from polystore_core import Format

class Provided(Format):
    name = "{package}"

    def load(self, file, /):
        return file.read()

    def save(self, value, file, /):
        file.write(value)
"""

BACKEND = """
from polystore_core import StorageBackend

class Provided(StorageBackend):
    def load(self, path, /):
        return "{package}"

    def save(self, data, path, /):
        pass
"""


def load_from(name: str, **options: Any) -> Any:
    """Load from the backend called ``name``, which returns the name of its package."""
    backend: Any = BackendRegistry(**options)[name]
    return backend.load("a")


GREEDY = """
from polystore_core import BackendSpec, hookimpl
heard = []

@hookimpl
def polystore_backend(name):
    heard.append(name)
    return BackendSpec(name=name, target="{package}.provided:Provided", api=1)
"""
