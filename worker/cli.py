"""`tidegate worker` and `tidegate produce`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from calibration.settings import KafkaSettings

if TYPE_CHECKING:
    from worker.events import ImageEvent
    from worker.feed import Refusal

topics = typer.Typer(no_args_is_help=True)


def worker() -> None:
    """Consume images, decide, route. Configured by TIDEGATE_* variables: `tidegate doctor` lists and checks them.

    Exit codes: 0 drained, 1 unexpected error, 2 configuration, 3 too many dead letters, 4 engine, 5 Kafka or Valkey
    away for too long, 6 topic unreadable.
    """
    from worker.app import WorkerApp  # noqa: PLC0415 - the other commands start without the engine's imports
    from worker.settings import Settings  # noqa: PLC0415

    raise typer.Exit(int(asyncio.run(_run(WorkerApp, Settings()))))


async def _run(app: type, settings: object) -> int:
    return int(await app(settings).run())


def produce(
    source: Annotated[
        str, typer.Argument(help="a folder of images, a JSON Lines file of events, or - for stdin")
    ] = "-",
    taxonomy: Annotated[str, typer.Option(help="of images from a folder, and of lines that name none")] = "emoset-8",
    keys: Annotated[
        bool, typer.Option("--keys", help="send object keys relative to the folder instead of the images' bytes")
    ] = False,
    priority: Annotated[int, typer.Option(min=0, max=100)] = 50,
    rate: Annotated[float | None, typer.Option(min=0.01, help="events per second at most")] = None,
) -> None:
    """Feed images into the images topic. Prints one JSON line: {"sent", "refused", "seconds"}.

    A line of JSON is an image event: {"image": {"url" | "key" | "data": ...}}; event_id, taxonomy and created_at are
    filled in where they are missing. What is not a usable event is refused here, with its line number; then the exit
    code is 1.
    """
    from worker.feed import FeedReport, as_they_come, feed, folder_events, line_events  # noqa: PLC0415
    from worker.stream.producer import ProduceError, RecordTooLargeError  # noqa: PLC0415

    if source != "-" and not Path(source).exists():
        raise typer.BadParameter(f"{source} does not exist", param_hint="source")
    if source != "-" and Path(source).is_dir():
        events: Iterable[ImageEvent | Refusal] | AsyncIterator[ImageEvent | Refusal] = folder_events(
            Path(source), taxonomy=taxonomy, priority=priority, as_keys=keys
        )
    elif keys:
        raise typer.BadParameter("only images from a folder can be sent as keys", param_hint="--keys")
    else:
        # Of standard input a file of its own: the interpreter's would at the end wait for the thread that reads it.
        lines = Path(source).open("rb") if source != "-" else open(0, "rb", closefd=False)  # noqa: SIM115
        events = as_they_come(line_events(lines, taxonomy=taxonomy, priority=priority))
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("sending", total=None)

        def note(report: FeedReport, refusal: Refusal | None) -> None:
            progress.update(task, completed=report.sent)
            if refusal is not None:
                console.print(f"refused: {refusal.where}: {refusal.why}", style="yellow", highlight=False, markup=False)

        try:
            report = asyncio.run(feed(events, KafkaSettings(), rate=rate, note=note))
        except KeyboardInterrupt as stop:
            typer.echo("stopped; what was sent before stays sent", err=True)
            raise typer.Exit(130) from stop
        except (ProduceError, RecordTooLargeError) as error:
            typer.echo(f"not sent: {error}. `tidegate doctor` says more; what was sent before stays sent.", err=True)
            raise typer.Exit(1) from error
    typer.echo(json.dumps({"sent": report.sent, "refused": report.refused, "seconds": round(report.seconds, 3)}))
    if report.refused:
        raise typer.Exit(1)


@topics.callback()
def _topics() -> None:
    """The topics as they should be."""


@topics.command("apply")
def apply_topics(
    partitions: Annotated[int | None, typer.Option(min=1, help="of topics that are spread; default 12")] = None,
    replicas: Annotated[int | None, typer.Option(min=1, help="default: 3, or as many as there are brokers")] = None,
) -> None:
    """Create the topics that are missing. What exists is compared and reported, never altered or deleted."""
    from kafka.errors import KafkaError  # noqa: PLC0415

    from worker.stream.topics import ensure_topics  # noqa: PLC0415

    kafka = KafkaSettings()
    try:
        report = ensure_topics(kafka, partitions=partitions, replicas=replicas)
    except KafkaError as error:
        typer.echo(f"{kafka.bootstrap_servers}: {error!r}. `tidegate doctor` says more.", err=True)
        raise typer.Exit(1) from error
    for name in report.created:
        typer.echo(f"created {name}")
    for drift in report.drifts:
        typer.echo(f"{drift.topic}: {drift.setting} is {drift.actual}, declared is {drift.declared}", err=True)
    if not report.created:
        typer.echo("nothing to create")
