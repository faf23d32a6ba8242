"""Many files as one labelled array of Dask."""

from .blocks import block_paths
from .labelled import stack

__all__ = ["block_paths", "stack"]
