"""`tidegate review rebuild` and `check`: the queue against the topics.

Exit codes: 0 done, or they agree; 1 failed, or they disagree; 2 wrong usage or settings.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer
from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from calibration.ledger.topic import TopicGapError
from calibration.settings import KafkaSettings
from review.queue import ReviewQueue
from review.reconcile import Difference, Rebuilt, compare
from review.reconcile import rebuild as bring_up
from review.terminal import failure, print_json, settings_of, with_queue
from review.truth import Truth

_Answer = TypeVar("_Answer")
AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document, for scripts")]


def rebuild(as_json: AsJson = False) -> None:
    """Bring the queue to what the topics say, after a flush or a loss of Valkey. Workers and moderators may go on.

    Reaches as far back as the topics decisions and verdicts are kept. Open tasks are held in memory meanwhile, about
    5 kB each. Leases, holds and skips that were lost stay lost; a review that was demanded is to be demanded again.
    """
    done: Rebuilt = _with_truth(bring_up)
    if as_json:
        print_json(done)
        return
    typer.echo(f"Read {done.decisions:,} decisions and {done.verdicts:,} verdicts: {done.open:,} events wait for one.")
    typer.echo(
        f"{done.added:,} put back, {done.already_there:,} were there, {done.settled:,} had their verdict and left."
    )
    if done.unreadable:
        typer.echo(f"{done.unreadable:,} records could not be read; the log says which.", err=True)


def check(
    grace_s: Annotated[float, typer.Option(min=0, help="what is younger than this may be on its way")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Say whether the queue holds what the topics say that it should. Changes nothing; exit code 1 if it does not."""

    async def look(truth: Truth, queue: ReviewQueue, progress: Callable[[int], None]) -> Difference:
        return await compare(truth, queue, timedelta(seconds=grace_s), datetime.now(UTC), progress)

    found = _with_truth(look)
    if as_json:
        print_json(asdict(found) | {"agrees": found.agrees})
    elif found.agrees:
        typer.echo(f"The queue and the topics agree: {found.open:,} events wait for a verdict.")
    else:
        for count, ids, what in (
            (found.missing, found.missing_ids, "wait for a verdict, and are not in the queue"),
            (found.overdue, found.overdue_ids, "have their verdict, and are in the queue"),
        ):
            if count:
                typer.echo(f"{count:,} events {what}: {', '.join(ids)}{', ...' if count > len(ids) else ''}")
        typer.echo("`tidegate review rebuild` mends it.")
    if not found.agrees:
        raise typer.Exit(1)


def _with_truth(act: Callable[[Truth, ReviewQueue, Callable[[int], None]], Awaitable[_Answer]]) -> _Answer:
    """Do one thing with the topics and the queue, with a count of what was read on a terminal."""
    kafka = settings_of(KafkaSettings)
    columns = SpinnerColumn(), TextColumn("{task.completed:,} records read"), TimeElapsedColumn()

    async def acting(queue: ReviewQueue) -> _Answer:
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("")
            truth = Truth(kafka, queue.wants_second_answer)
            return await act(truth, queue, lambda count: bar.advance(task, count))

    try:
        return with_queue(acting)
    except (KafkaError, TopicGapError) as error:
        raise failure(f"the topics at {kafka.bootstrap_servers} cannot be read: {error}", 1) from error
