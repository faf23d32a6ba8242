from collections.abc import Callable
from typing import Any

import pytest

from polystore_core.errors import UnknownOptionError
from polystore_core.options import check_options, known_options


class Made:
    def __init__(self, *, root: str = "") -> None: ...

    def method(self, path: str, /, *, region: object = None) -> None: ...


class Plain:
    pass


def take_any_option(self: object, data: object, file_path: str, **kwargs: object) -> None: ...


def take_named_options(path: str, overwrite: bool = False, *extra: int, depth: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "names", "open_ended"),
    [
        (take_named_options, ("overwrite", "depth"), False),
        (take_any_option, (), True),
        (Made, ("root",), False),
        (Made().method, ("region",), False),
        (Plain, (), False),
    ],
)
def test_options_are_found(
    function: Callable[..., Any], names: tuple[str, ...], open_ended: bool
) -> None:
    assert known_options(function) == (names, open_ended)


@pytest.mark.parametrize(
    ("function", "option"),
    [
        (take_named_options, "overwrite"),
        (take_named_options, "depth"),
        (take_any_option, "anything"),
        (Plain, "more"),
    ],
)
def test_known_options_pass(function: Callable[..., Any], option: str) -> None:
    check_options(function, {option: 1}, "it", "more")


@pytest.mark.parametrize(
    ("option", "hint"), [("deph", "did you mean 'depth'?"), ("path", "it has")]
)
def test_unknown_option_names_known(option: str, hint: str) -> None:
    with pytest.raises(UnknownOptionError, match=hint) as caught:
        check_options(take_named_options, {option: 1}, "it", "more")
    assert caught.value.known == ("depth", "more", "overwrite")
