"""Setup that all tests of zarr share."""

import sys
from pathlib import Path

# A spawned process imports the module of a test by its name. pytest derives that name from the path
# in the repository, and only `python -m pytest` searches there.
sys.path.append(str(Path(__file__).parents[3]))
