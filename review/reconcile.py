"""The queue against the topics: put back what a flush took, take out what has its verdict, and say where they differ.

Workers and moderators may go on meanwhile. A task that is put here twice is there once; one whose verdict comes between
reading and putting was in the queue, which remembers it as decided; and what is in the queue without a decision on the
topic, since that is gone or not written yet, stays. A demand to review an event again (`force`) is on no topic: it
survives anything but the loss of Valkey.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar

import structlog
from kafka.errors import KafkaError

from calibration.ledger.topic import TopicGapError
from review.lease import NotWaitingError, QueueError
from review.queue import PutResult, ReviewQueue, Standing
from review.task import ReviewTask
from review.truth import Truth

log = structlog.get_logger()

_PAGE = 1_000
_EXAMPLES = 5
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Difference:
    """Where the queue and the topics disagree. Counts, and a few event ids of each."""

    open: int
    """Events that wait for a verdict, by the topics."""
    missing: int
    """Of them, those that the queue does not know."""
    overdue: int
    """Tasks in the queue whose verdict is on the topic."""
    missing_ids: tuple[str, ...] = ()
    overdue_ids: tuple[str, ...] = ()

    @property
    def agrees(self) -> bool:
        """Whether nothing is missing and nothing stays too long."""
        return not self.missing and not self.overdue


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What a rebuild read and did."""

    decisions: int
    verdicts: int
    unreadable: int
    """Records that are no decision or verdict, or a decision from before it carried its labels."""
    open: int
    added: int
    already_there: int
    settled: int
    """Tasks that left the queue, since their verdict is on the topic."""


async def rebuild(truth: Truth, queue: ReviewQueue, progress: Callable[[int], None] = lambda _: None) -> Rebuilt:
    """Bring the queue to what the topics say. Repeating it is harmless.

    Raises:
        kafka.errors.KafkaError: the topics cannot be read; nothing has changed.
        QueueError: Valkey does not serve, or is full; what was put stays: call it again.
    """
    await asyncio.to_thread(truth.catch_up, progress)
    added = 0
    tasks = sorted(truth.tasks.values(), key=lambda task: task.decided_at)
    for page in _pages(tasks, _PAGE):
        results = await asyncio.gather(*(_put(queue, truth, task) for task in page))
        added += sum(results)
    await asyncio.to_thread(truth.catch_up, progress)
    settled = 0
    async for names in queue.scan():
        closed = {name: truth.closed[name] for name in names if name in truth.closed}
        settled += await queue.settle(closed)
    counts = truth.counts
    return Rebuilt(
        decisions=counts.decisions,
        verdicts=counts.verdicts,
        unreadable=counts.unreadable,
        open=len(tasks),
        added=added,
        already_there=len(tasks) - added,
        settled=settled,
    )


async def _put(queue: ReviewQueue, truth: Truth, task: ReviewTask) -> bool:
    """Put one task, with the answers that it has; whether the queue lacked it."""
    result = await queue.put(task)
    if result is PutResult.ALREADY_DECIDED and task.event_id in truth.withdrawn:
        return await queue.force(task, "tidegate", "its verdict was withdrawn")
    if result is PutResult.ADDED and (answers := truth.answers.get(task.event_id)):
        await queue.recall(task.event_id, answers)
    return result is PutResult.ADDED


async def compare(
    truth: Truth,
    queue: ReviewQueue,
    grace: timedelta,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
) -> Difference:
    """Read the topics on, and see what has been missing or overdue for longer than `grace`. Changes nothing.

    Raises:
        kafka.errors.KafkaError, QueueError: one of the two does not serve.
    """
    await asyncio.to_thread(truth.catch_up, progress)
    before = now - grace
    settled = [name for name, task in truth.tasks.items() if task.decided_at < before]
    missing: list[str] = []
    for page in _pages(settled, _PAGE):
        standings = await queue.standing(page)
        missing += [name for name, standing in zip(page, standings, strict=True) if standing is Standing.UNKNOWN]
    overdue: list[str] = []
    async for names in queue.scan():
        late = [name for name in names if name in truth.closed and truth.closed[name] < before]
        overdue += [name for name in late if not await _forced(queue, name)]
    return Difference(
        open=len(truth.tasks),
        missing=len(missing),
        overdue=len(overdue),
        missing_ids=tuple(missing[:_EXAMPLES]),
        overdue_ids=tuple(overdue[:_EXAMPLES]),
    )


async def _forced(queue: ReviewQueue, event_id: str) -> bool:
    """Whether a task is in the queue on demand, or has left it."""
    try:
        return (await queue.find(event_id))[1].forced
    except NotWaitingError:
        return True


async def watch(
    truth: Truth,
    queue: ReviewQueue,
    found: Callable[[Difference], None],
    *,
    every_s: float = 60.0,
    grace: timedelta = timedelta(minutes=5),
) -> None:
    """Compare again and again until cancelled, say in the log where they disagree, and tell `found` every time."""
    while True:
        try:
            difference = await compare(truth, queue, grace, datetime.now(UTC))
        except (KafkaError, TopicGapError, QueueError) as error:
            log.warning("queue not compared", error=repr(error), again_in_s=every_s)
        else:
            found(difference)
            if not difference.agrees:
                log.error(
                    "queue and topics disagree",
                    missing=difference.missing,
                    overdue=difference.overdue,
                    examples=difference.missing_ids + difference.overdue_ids,
                    note="`tidegate review rebuild` mends it",
                )
        await asyncio.sleep(every_s)


def _pages(items: Sequence[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while page := list(islice(rest, size)):
        yield page
