"""`tidegate calibrate`: how far a confidence can be trusted, for files of anybody and for the running system.

Each family of commands is a module of plain functions; this file only gives them their names.
"""

from __future__ import annotations

import typer

from calibration.loop import cli as loop
from calibration.offline import cli as offline
from calibration.whatif import cli as whatif

app = typer.Typer(
    help="How far a model's confidence can be trusted: fit, score, certify, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Keeps `tidegate calibrate` a group of commands, however many are registered below."""


# Offline: files in, files out.
app.command("fit")(offline.fit)
app.command("apply")(offline.apply)
app.command("certify")(offline.certify)
app.command("report")(offline.report)

# The loop on the running system.
app.command("run")(loop.run)
app.command("policy")(loop.policy)
app.command("status")(loop.status)
app.command("shut")(loop.shut)
app.command("promote")(loop.promote)
app.command("rollback")(loop.rollback)
app.command("what-if")(whatif.what_if_command)
