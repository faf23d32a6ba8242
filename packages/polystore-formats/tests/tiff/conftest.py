"""tifffile logs its complaints about a file. The tests hide them."""

from __future__ import annotations

import logging

import pytest


@pytest.fixture(autouse=True)
def _quiet_tifffile(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, "tifffile")
