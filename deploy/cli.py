"""The `tidegate` command: every room's commands in one place."""

from __future__ import annotations

import sys
from typing import Annotated, get_args

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from deploy.logs import LogFormat, configure_logs

app = typer.Typer(
    name="tidegate",
    help="Image triage at scale: what passes without a person does so under a promise.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.callback()
def _logs(
    log_format: Annotated[
        str, typer.Option(help="auto, json or console", envvar="TIDEGATE_LOG_FORMAT", metavar="FORMAT")
    ] = "auto",
    log_level: Annotated[
        str, typer.Option(help="debug, info, warning or error", envvar="TIDEGATE_LOG_LEVEL", metavar="LEVEL")
    ] = "info",
) -> None:
    if log_format not in get_args(LogFormat):
        raise typer.BadParameter(f"{log_format!r} is not one of {', '.join(get_args(LogFormat))}")
    if log_level not in ("debug", "info", "warning", "error"):
        raise typer.BadParameter(f"{log_level!r} is not one of debug, info, warning, error")
    configure_logs(log_format, log_level)  # type: ignore[arg-type]  # checked above


def _mount() -> None:
    """Put the rooms' commands in their places. Heavy imports stay inside the commands themselves."""
    from calibration import cli as calibration_cli  # noqa: PLC0415 - after configuration of the app above
    from calibration.ledger import cli as ledger_cli  # noqa: PLC0415
    from deploy import console_cli, doctor, up  # noqa: PLC0415
    from deploy.bench import cli as bench_cli  # noqa: PLC0415
    from review import cli as review_cli  # noqa: PLC0415
    from training import cli as training_cli  # noqa: PLC0415
    from worker import cli as worker_cli  # noqa: PLC0415

    app.command("up")(up.up)
    app.command("worker")(worker_cli.worker)
    app.command("console")(console_cli.console)
    app.command("produce")(worker_cli.produce)
    app.command("doctor")(doctor.doctor)
    app.add_typer(worker_cli.topics, name="topics", help="The topics as they should be.")
    app.add_typer(review_cli.app, name="review", help="Work the review queue in the terminal.")
    app.add_typer(calibration_cli.app, name="calibrate", help="Fit, score, certify and report how far to trust.")
    app.add_typer(ledger_cli.app, name="ledger", help="Decisions and verdicts in Parquet: keep, ask, delete.")
    app.add_typer(training_cli.app, name="train", help="Draw scenes, train and evaluate checkpoints.")
    app.add_typer(bench_cli.app, name="bench", help="Measure; every command prints one JSON line.")


_mount()


def main() -> None:
    """Entry point of the `tidegate` command. Whichever command meets a wrong setting, it is named; exit code 2."""
    try:
        app()
    except (ValidationError, SettingsError):
        from deploy.all_settings import wrong_settings  # noqa: PLC0415 - loaded already, by _mount

        wrong = wrong_settings()
        if not wrong:
            raise
        for finding in wrong:
            typer.echo(f"{finding.found} ({finding.advice})", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
