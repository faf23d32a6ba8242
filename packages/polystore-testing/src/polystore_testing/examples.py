"""How many examples hypothesis tries."""

from hypothesis import settings

__all__ = ["examples"]


def examples(count: int) -> int:
    """Scale ``count`` to hypothesis' current profile.

    A profile of 100 examples, the default, leaves it as it is. One of 20 makes a fifth of it.
    """
    return max(1, count * settings().max_examples // 100)
