"""Array frameworks: one module for each, and a table that finds them.

They are plugins like those of others. The distribution polystore-core declares them.
"""

from .table import framework, framework_name, framework_names

__all__ = ["framework", "framework_name", "framework_names"]
