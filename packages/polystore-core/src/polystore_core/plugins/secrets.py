"""References to secrets, so that options have the name of a password and not the password.

No error shows a text that may be a secret. No error is raised inside ``except`` either, because the
caught error could contain the secret: ``UnicodeDecodeError`` has all bytes of the file.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from ..errors import InvalidOptionError, MissingDependencyError, SecretNotFoundError
from ..files.system import regular_only

__all__ = ["Secret", "secret"]

_FORMS = "'env:NAME', 'file:/path' or 'keyring:service/user'"


@dataclass(frozen=True, slots=True, repr=False)
class Secret:
    """A reference to a secret, such as ``env:LAKE_KEY``. See :func:`secret`.

    It does not hold the value, so its ``repr``, pickles and errors never show it.
    """

    reference: str

    def __post_init__(self) -> None:
        fault = _fault(self.reference)
        if fault:
            raise InvalidOptionError("reference", None, _FORMS, fault)

    def reveal(self) -> str:
        """Return the value. Call it where you use the value, and do not keep the result.

        Raises:
            SecretNotFoundError: The secret does not exist or is empty.
            MissingDependencyError: ``keyring:`` needs the library keyring.
        """
        kind, _, place = self.reference.partition(":")
        # Looked up each time, so that no attribute, pickle or crash dump holds the value.
        value, reason, advice = _LOOKUPS[kind](place)
        if not value:
            raise SecretNotFoundError(self.reference, reason, advice)
        return value

    def __repr__(self) -> str:
        return f"secret({self.reference!r})"


def secret(reference: str | Secret) -> Secret:
    """Return a reference to a secret, for an option of a backend.

    For example:

        def __init__(self, *, key: str = "env:LAKE_KEY") -> None:
            self._key = secret(key)

        def _connect(self):
            return connect(self._key.reveal())

    Args:
        reference: ``env:NAME`` is an environment variable. ``file:/path`` is a text file, without
            the line break at its end. ``keyring:service/user`` is a password in the keyring of the
            system, and needs ``pip install 'polystore-core[keyring]'``.

    Raises:
        InvalidOptionError: It is anything else, such as the secret itself.
    """
    return reference if isinstance(reference, Secret) else Secret(reference)


def _fault(reference: object) -> str:
    kind, _, place = reference.partition(":") if isinstance(reference, str) else ("", "", "")
    if kind not in _LOOKUPS or not isinstance(reference, str):
        return (
            f"not a reference to a secret: expected {_FORMS}. The text is not shown, because it "
            "may be the secret itself. Store the secret in one of these places"
        )
    if not place or not place.isprintable():
        return f"the reference to a secret ends after {kind}: expected {_FORMS}"
    if kind == "env" and "=" in place:
        return "env: needs the name of an environment variable, without '='"
    if kind == "file" and not os.path.isabs(place):
        return "file: needs an absolute path, such as 'file:/run/secrets/key'"
    if kind == "keyring" and not all(place.rpartition("/")):
        return "keyring: needs a service and a user, such as 'keyring:lake/me'"
    return ""


# ── places: each returns the value, the reason if it is empty, and advice ────────────────


def _environment(name: str) -> tuple[str, str, str]:
    state = "is empty" if name in os.environ else "is not set"
    advice = f"Set it before you start Python: export {name}=…"
    return os.environ.get(name, ""), f"the environment variable {name} {state}", advice


def _file(path: str) -> tuple[str, str, str]:
    advice = f"Write the secret into {path!r}, and let only its users read the file"
    reason = "the file is empty"
    try:
        with open(path, encoding="utf-8", opener=regular_only) as file:
            return file.read().rstrip("\r\n"), reason, advice
    except OSError as error:
        reason = f"the file cannot be read: {error.strerror}"
    except UnicodeDecodeError:
        reason = "the file is not text in UTF-8"
    return "", reason, advice


def _keyring(place: str) -> tuple[str, str, str]:
    service, _, user = place.rpartition("/")
    try:
        import keyring
    except ImportError:
        reference, extra = f"keyring:{place}", "polystore-core[keyring]"
        raise MissingDependencyError("secret", reference, ("keyring",), extra) from None
    reason = "the keyring has no such password"
    try:
        return keyring.get_password(service, user) or "", reason, _store(service, user)
    except Exception as error:  # any keyring: the text of its error may contain the password
        reason = f"the keyring raised {type(error).__name__}"
    return "", reason, f"{_store(service, user)}, or find out more: keyring diagnose"


def _store(service: str, user: str) -> str:
    return f"Store it: keyring set {service!r} {user!r}"


_LOOKUPS = {"env": _environment, "file": _file, "keyring": _keyring}
