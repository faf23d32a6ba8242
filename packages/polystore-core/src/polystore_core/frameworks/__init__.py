"""Array frameworks: one module for each, and the table that finds them.

They are plugins like those of others, declared by the distribution polystore-core itself.
"""

from .table import framework, framework_name, framework_names

__all__ = ["framework", "framework_name", "framework_names"]
