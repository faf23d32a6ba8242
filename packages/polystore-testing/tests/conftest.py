"""Processes that the kit starts must find the stores of these tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
