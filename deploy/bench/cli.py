"""The commands of `tidegate bench`. Each is imported when it is called: their numerics take seconds to load."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

_NAMES = (
    "calibration",
    "certificate",
    "console",
    "gate",
    "loop",
    "overhead",
    "queue",
    "signals",
    "training",
    "what-if",
    "worker",
)
"""Of modules here, and of the function in each that is the command; with an underscore for each hyphen."""


class Benchmarks(TyperGroup):
    """Knows its commands by name only."""

    def list_commands(self, ctx: Any) -> list[str]:
        """All of them."""
        return list(_NAMES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """One of them, imported now; None where there is no such."""
        if cmd_name not in _NAMES:
            return None
        alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
        name = cmd_name.replace("-", "_")
        alone.command(cmd_name)(getattr(import_module(f"deploy.bench.{name}"), name))
        return typer.main.get_command(alone)


app = typer.Typer(cls=Benchmarks, no_args_is_help=True)


@app.callback()
def _bench() -> None:
    """Measure; every command prints one JSON line."""
