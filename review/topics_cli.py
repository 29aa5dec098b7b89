"""`tidegate review rebuild`, `check` and `force`: what needs the topics beside the queue.

Exit codes: 0 done, or they agree; 1 failed, or they disagree; 2 wrong usage or settings.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Annotated, TypeVar

import typer
from kafka.errors import KafkaError
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from calibration.ledger.topic import TopicGapError
from calibration.settings import KafkaSettings
from review.lease import NotWaitingError
from review.queue import ReviewQueue
from review.reconcile import Difference, Rebuilt, compare
from review.reconcile import rebuild as bring_up
from review.terminal import failure, print_json, settings_of, user_name, with_queue
from review.truth import Truth, find_task

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


def force(
    event_id: Annotated[str, typer.Argument(help="the event's id", metavar="EVENT_ID")],
    note: Annotated[str, typer.Option(help="why, for its reviewer")],
    by: Annotated[str | None, typer.Option(help="who demands it; default: your user name here", metavar="NAME")] = None,
) -> None:
    """Have an event reviewed, whether it passed by itself, was decided, or waits: it goes to the front of the queue.

    What is not in the queue is looked for on the topic decisions, from its start.
    """
    name, kafka = user_name(by), settings_of(KafkaSettings)

    async def demand(queue: ReviewQueue) -> bool:
        try:
            task, _ = await queue.find(event_id)
        except NotWaitingError:
            with _reading() as progress:
                task = await asyncio.to_thread(find_task, kafka, event_id, progress)
        return await queue.force(task, name, note)

    try:
        added = with_queue(demand)
    except LookupError as error:
        raise failure(str(error.args[0]), 1) from error
    except (KafkaError, TopicGapError) as error:
        raise failure(f"the topics at {kafka.bootstrap_servers} cannot be read: {error}", 1) from error
    typer.echo(f"{event_id}: {'will be reviewed' if added else 'was waiting already'}, before all others.")


@contextmanager
def _reading() -> Iterator[Callable[[int], None]]:
    """A count of records on a terminal."""
    columns = SpinnerColumn(), TextColumn("{task.completed:,} records read"), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")
        yield lambda count: bar.advance(task, count)


def _with_truth(act: Callable[[Truth, ReviewQueue, Callable[[int], None]], Awaitable[_Answer]]) -> _Answer:
    """Do one thing with the topics and the queue, with a count of what was read on a terminal."""
    kafka = settings_of(KafkaSettings)

    async def acting(queue: ReviewQueue) -> _Answer:
        with _reading() as progress:
            return await act(Truth(kafka, queue.wants_second_answer), queue, progress)

    try:
        return with_queue(acting)
    except (KafkaError, TopicGapError) as error:
        raise failure(f"the topics at {kafka.bootstrap_servers} cannot be read: {error}", 1) from error
