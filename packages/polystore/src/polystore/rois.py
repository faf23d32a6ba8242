"""Regions of interest, which are those of ``polystore_core.rois``."""

from polystore_core.rois import *  # noqa: F403
from polystore_core.rois import __all__ as __all__
