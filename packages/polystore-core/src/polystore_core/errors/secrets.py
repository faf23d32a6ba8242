"""A secret is not where its reference says."""

from __future__ import annotations

from dataclasses import dataclass

from .base import PolystoreError

__all__ = ["SecretNotFoundError"]


@dataclass(eq=False)
class SecretNotFoundError(PolystoreError, LookupError):
    """A secret is not where its reference says. The error never holds the secret itself."""

    reference: str
    reason: str
    advice: str

    def describe(self) -> str:
        return f"secret {self.reference!r} cannot be found: {self.reason}. {self.advice}"
