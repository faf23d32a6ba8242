"""The errors of polystore, which are those of ``polystore_core.errors``."""

from polystore_core.errors import *  # noqa: F403
from polystore_core.errors import __all__ as __all__
