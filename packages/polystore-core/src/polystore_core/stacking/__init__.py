"""``stack``: many files as one labelled Dask array."""

from .blocks import block_paths
from .labelled import stack

__all__ = ["block_paths", "stack"]
