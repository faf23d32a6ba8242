"""Let the processes that the kit starts find the stores of these tests."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
