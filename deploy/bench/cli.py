"""The commands of `tidegate bench`."""

from __future__ import annotations

import typer

from deploy.bench.calibration import calibration
from deploy.bench.certificate import certificate
from deploy.bench.gate import gate
from deploy.bench.loop import loop
from deploy.bench.overhead import overhead
from deploy.bench.worker import worker

app = typer.Typer(no_args_is_help=True)
app.command("calibration")(calibration)
app.command("certificate")(certificate)
app.command("gate")(gate)
app.command("loop")(loop)
app.command("overhead")(overhead)
app.command("worker")(worker)
