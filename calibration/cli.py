"""`tidegate calibrate`: how far a confidence can be trusted, for files of anybody and for the running system.

Each family of commands is a module of plain functions; this file only gives them their names.
"""

from __future__ import annotations

import typer

app = typer.Typer(
    help="How far a model's confidence can be trusted: fit, score, certify, report.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def _commands() -> None:
    """Keeps `tidegate calibrate` a group of commands, however many are registered below."""


# Offline: files in, files out (calibration/offline/cli.py).

# The loop on the running system: app.command("run")(...), one line a command.
