"""Source of classes for the cells of a notebook."""

import subprocess
from collections.abc import Callable
from typing import Any

Install = Callable[..., None]
Python = Callable[..., subprocess.CompletedProcess[str]]
Define = Callable[..., Any]

CLASS = """
from polystore_core import StorageBackend

class MyBackend(StorageBackend):
    _backend_type = "my_backend"

    def save(self, data, file_path, **kwargs):
        self.saved = (data, file_path, kwargs)

    def load(self, file_path, **kwargs):
        return (file_path, kwargs)
"""


COUNTED = """
import time
from polystore_core import StorageBackend

class MyBackend(StorageBackend):
    _backend_type = "my_backend"
    made = []
    closed = []

    def __init__(self, *, root="", fails=False):
        time.sleep(0.01)
        self.root, self.fails = root, fails
        self.made.append(self)

    def __len__(self):
        return 0

    def save(self, data, path, /):
        assert self not in self.closed

    def load(self, path, /):
        return self.root

    def close(self):
        self.closed.append(self)
        if self.fails:
            raise OSError("close")
"""
