"""`python -m melib` is the command `melib`."""

from melib.app.cli import app

app()
