"""Code of plugins that the tests install, and a way to ask for it."""

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


def asked(name: str, **options: Any) -> Any:
    """What the backend of that name answers: the package that it is from."""
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
