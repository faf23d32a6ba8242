"""Let a failing test of the kit show the values that it compares, as your own tests do."""

import pytest

__all__: list[str] = []

_MODULES = ("format", "link", "sibling", "sink", "source", "storage", "stores", "stream")

# By itself pytest rewrites only test files and plugins, and it rewrites a module while the
# module is imported. So this must run before one of these modules is imported.
pytest.register_assert_rewrite(*(f"{__package__}.{module}" for module in _MODULES))
