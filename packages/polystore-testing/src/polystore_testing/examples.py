"""Scale the number of examples that hypothesis tries."""

from hypothesis import settings

__all__ = ["examples"]


def examples(count: int) -> int:
    """Scale ``count`` to hypothesis' current profile.

    The default profile has 100 examples, and returns ``count``. A profile of 20 returns a fifth.
    """
    return max(1, count * settings().max_examples // 100)
