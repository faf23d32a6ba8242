"""``Router``: finds the method of the backend that a call of ``FileManager`` names."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from .abc.backend import DataSink, DataSource, Path
from .conversion import AS_IMAGE
from .errors import InvalidOptionError, UnsupportedOperationError
from .options import Copy, check_copy, check_options, known_options
from .paths import check_path
from .plugins.registry import BackendRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .values import Option, Value

__all__ = ["Router", "let_calls_omit_backend"]

Class = TypeVar("Class", bound=type)


def let_calls_omit_backend(cls: Class) -> Class:
    """Make ``backend`` optional at run time, so that a call without one gets a helpful error.

    ``_check_name`` raises it. Type checkers still see a required parameter.
    """
    # Through the code objects and not with inspect.signature: inspect is slow to import.
    for name, method in vars(cls).items():
        if name.startswith("_"):
            continue
        code, first = method.__code__, method.__code__.co_argcount
        if code.co_varnames[first - 1] == "backend":
            method.__defaults__ = (None,)
        keywords = code.co_varnames[first : first + code.co_kwonlyargcount]
        backends = [keyword for keyword in keywords if keyword.endswith("_backend")]
        method.__kwdefaults__ = dict.fromkeys(backends) | (method.__kwdefaults__ or {})
    return cls


class Router:
    """Finds the methods of backends by name, and remembers them."""

    # _calls maps (operation, backend) to a bound method. It belongs to the registry, which clears
    # it when it closes. It needs no lock: two threads that look at once store an equal method.

    def __init__(self, registry: BackendRegistry | None = None) -> None:
        given: object = BackendRegistry() if registry is None else registry
        if not isinstance(given, BackendRegistry):  # polystore 0.6 took a dict of backends
            kind = type(given).__name__
            fault = (
                f"expected a BackendRegistry, got {kind}: use FileManager(BackendRegistry())"
            )
            raise InvalidOptionError("registry", given, "a BackendRegistry", fault)
        self.registry = given
        self._calls = self.registry._calls

    def _call(self, operation: str, backend: str) -> Callable[..., Value]:
        """Find a bound method and remember it. Later calls take it from ``_calls``.

        Callers check first that ``backend`` is a ``str``, because ``_calls`` needs a hash.
        """
        backend = self._check_name(operation, backend)
        instance = self.registry[backend]
        method: Callable[..., Any] | None = getattr(instance, operation, None)
        if method is None:
            reads, writes = (isinstance(instance, role) for role in (DataSource, DataSink))
            reason = "" if reads and writes else f"it only {'reads' if reads else 'writes'}"
            raise UnsupportedOperationError(backend, operation, reason)
        self._calls[operation, backend] = method
        return method

    def _check_name(
        self,
        operation: str,
        backend: object,
        place: str = "after the last path, or as backend=",
    ) -> str:
        """Return the name as a plain ``str``. Raises ``BackendRequiredError``."""
        return self.registry._check_name(operation, backend, place)

    def _run(self, operation: str, backend: str, *paths: Path, **options: Option) -> Value:
        if backend.__class__ is not str:
            backend = self._check_name(operation, backend)
        call = self._calls.get((operation, backend)) or self._call(operation, backend)
        if options:
            self._check_options(call, options, operation, backend)
        for path in paths:
            check_path(path)
        return call(*paths, **options)

    def _run_batch(
        self, operation: str, backend: str, *args: Value, **options: Option
    ) -> Value:
        call = self._calls.get((operation, backend)) or self._call(operation, backend)
        self._check_options(call, options, operation, backend)
        return call(*args, **options)

    def _pass_copy(
        self,
        copy: Copy,
        backend: str,
        operation: str,
        as_: str | None,
        options: dict[str, Option],
    ) -> bool:
        """Add ``copy`` to the options if the backend can share its memory. Return whether it can.

        Such a backend has ``copy`` in the signatures of its ``load`` and ``load_image``.
        """
        check_copy(copy)
        one = "load"
        if as_ is not None and as_ in AS_IMAGE:
            one, operation = "load_image", operation.replace("load", "load_image")
        for name in (one, operation):
            call = self._calls.get((name, backend)) or self._call(name, backend)
            named, is_open = known_options(getattr(call, "__func__", call))
            if "copy" not in named and not (is_open and name != one):
                return False
        options["copy"] = copy
        return True

    def _check_options(
        self,
        call: Callable[..., Value],
        options: Mapping[str, Any],
        operation: str,
        backend: str,
    ) -> None:
        # The function and not the bound method, which is a new object each time: check_options
        # remembers the options of a function.
        method = getattr(call, "__func__", call)
        check_options(method, options, f"{operation}() of backend {backend!r}")
