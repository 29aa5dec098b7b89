"""`tidegate console`."""

from __future__ import annotations

import asyncio

import typer


def console() -> None:
    """Serve the API and the console: moderators' queue, analysts' figures, administration.

    Configured by TIDEGATE_CONSOLE_*, TIDEGATE_ACCESS_*, and what worker and loop have: `tidegate doctor --settings`.
    Any number of processes may run behind one address. The first account comes from `tidegate review users add`.
    """
    try:
        from deploy.console import serve  # noqa: PLC0415 - the web framework is an extra
    except ModuleNotFoundError as error:
        typer.echo(f"The console needs {error.name}: pip install 'tidegate[console]'", err=True)
        raise typer.Exit(1) from error
    from review.access.refusals import AccessUnavailableError  # noqa: PLC0415
    from worker.intake.source import IntakeError  # noqa: PLC0415

    try:
        asyncio.run(serve())
    except (AccessUnavailableError, IntakeError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from error
