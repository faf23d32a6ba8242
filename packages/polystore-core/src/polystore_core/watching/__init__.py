"""Follow a path while others write there: the frames of an array, or the files of a folder."""

from .watch import Arrival, Stop, Watch

__all__ = ["Arrival", "Stop", "Watch"]
