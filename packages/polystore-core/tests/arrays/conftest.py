"""Fixtures that import the installed frameworks."""

from collections.abc import Iterator
from typing import Any

import pytest

from .samples import FOREIGN, Require


@pytest.fixture
def torch(require: Require) -> Any:
    return require("torch")


@pytest.fixture
def jax(require: Require) -> Any:
    return require("jax")


@pytest.fixture
def tensorflow(require: Require) -> Any:
    return require("tensorflow")


@pytest.fixture(params=FOREIGN)
def framework(request: pytest.FixtureRequest) -> str:
    request.getfixturevalue(request.param)
    name: str = request.param
    return name


@pytest.fixture
def x64(jax: Any) -> Iterator[None]:
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)
