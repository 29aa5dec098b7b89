"""The commands of `tidegate bench`."""

from __future__ import annotations

import typer

from deploy.bench.overhead import overhead
from deploy.bench.worker import worker

app = typer.Typer(no_args_is_help=True)
app.command("overhead")(overhead)
app.command("worker")(worker)
