"""``python -m polystore``: the command line, if it is installed."""

import sys
from importlib.util import find_spec

# An ImportError from here would not say what to install.
if find_spec("polystore_cli") is None:
    sys.exit('the command line is not installed: pip install "polystore[cli]"')

from polystore_cli.main import app

app(prog_name="python -m polystore")
