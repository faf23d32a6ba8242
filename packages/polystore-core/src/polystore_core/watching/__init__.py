"""``Watch``: finds the frames of an array, or the files of a folder, as others write them."""

from .watch import Arrival, Stop, Watch

__all__ = ["Arrival", "Stop", "Watch"]
