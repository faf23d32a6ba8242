"""What all tests of zarr share."""

import sys
from pathlib import Path

# Processes that are spawned import the module of a test by its name. pytest names it by its path
# from the repository, and only `python -m pytest` searches there.
sys.path.append(str(Path(__file__).parents[3]))
