"""``python -m polystore_cli``."""

import sys

try:
    from .main import app

    app(prog_name="polystore")
except KeyboardInterrupt:  # while modules are imported
    sys.exit(130)
