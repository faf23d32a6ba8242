"""``python -m polystore``: the command line, where it is installed."""

import sys
from importlib.util import find_spec

if find_spec("polystore_cli") is None:
    sys.exit('the command line is not installed: pip install "polystore[cli]"')

from polystore_cli.main import app

app(prog_name="python -m polystore")
