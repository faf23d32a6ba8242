"""``python -m polystore_cli``."""

from .main import app

app(prog_name="polystore")
