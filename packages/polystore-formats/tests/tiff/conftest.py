"""tifffile logs what it does not like in a file. The tests do not show it."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _quiet_tifffile(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tifffile")
