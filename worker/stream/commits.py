"""Committing the contiguous durable prefix of each partition: in the background, and once more when one is given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import structlog
from kafka import OffsetAndMetadata
from kafka.errors import CommitFailedError, KafkaError, RebalanceInProgressError, RetriableError

from worker import telemetry
from worker.stream.assignment import Assignment, FatalStreamError
from worker.stream.outage import Outage

log = structlog.get_logger()

_LATER = (RetriableError, RebalanceInProgressError, CommitFailedError)
"""Errors that pass: Kafka is away, or the group is being rearranged and the next assignment decides."""
_LAST_TRIES = 3


class Commits:
    """Sends at most one background commit at a time, and only for partitions that have advanced.

    Its methods are called by the thread that owns the client, or by the client's own thread while that one waits.
    """

    def __init__(self, interval_s: float, outage_s: float, clock: Callable[[], float]) -> None:
        self._interval_s = interval_s
        self.outage = Outage("committing", outage_s, clock)
        self._clock = clock
        self._due = clock() + interval_s
        self._sent: tuple[Any, dict[Assignment, int]] | None = None

    def turn(self, client: Any, assignments: Iterable[Assignment], *, at_once: bool = False) -> bool:
        """Look after the commit that is under way, and send the next when it is due. True when nothing is left to do.

        Raises:
            FatalStreamError: Kafka refused the commit for good. OutageError: Kafka was away for too long.
        """
        if self._sent is not None:
            future, offsets = self._sent
            if not future.is_done:
                return False
            self._sent = None
            self._judge(future, offsets)
        moved = _moved(assignments)
        if not moved:
            self.outage.over()  # such as when the partitions it was about have gone
        now = self._clock()
        if moved and (at_once or now >= self._due):
            self._due = now + self._interval_s
            self._sent = client.commit_async(_request(moved)), moved
        return not moved

    def _judge(self, future: Any, offsets: dict[Assignment, int]) -> None:
        if future.exception is None:
            if _acknowledged(future.value):
                _note(offsets)
                self.outage.over()
            return
        if not isinstance(future.exception, _LATER):
            telemetry.COMMITS.labels("refused").inc()
            where = ", ".join(f"{tp.topic}[{tp.partition}]@{at.offset}" for tp, at in _request(offsets).items())
            raise FatalStreamError(f"Kafka refused the commit of {where}: {future.exception!r}") from future.exception
        telemetry.COMMITS.labels("deferred").inc()
        if isinstance(future.exception, RetriableError):
            self.outage.failed(future.exception)
        else:
            log.info("commit deferred", error=repr(future.exception))

    async def last(self, client: Any, assignments: Iterable[Assignment]) -> None:
        """Commit what is done of partitions that are about to be given up. A failure means that events come again."""
        tries = 0
        while moved := _moved(assignments):
            tries += 1
            try:
                if _acknowledged(await client.commit_async(_request(moved))):
                    _note(moved)
                    return
                error: KafkaError | None = None
            except KafkaError as failure:
                error = failure
            if tries == _LAST_TRIES or (error is not None and not isinstance(error, RetriableError)):
                telemetry.COMMITS.labels("refused").inc()
                offsets = {assignment.partition.partition: offset for assignment, offset in moved.items()}
                log.warning("last commit failed", offsets=offsets, error=repr(error), note="events may come again")
                return


def _moved(assignments: Iterable[Assignment]) -> dict[Assignment, int]:
    return {each: offset for each in assignments if (offset := each.to_commit()) is not None}


def _request(offsets: dict[Assignment, int]) -> dict[Any, Any]:
    return {assignment.partition: OffsetAndMetadata(offset, "", -1) for assignment, offset in offsets.items()}


def _acknowledged(answer: object) -> bool:
    """Whether a commit went through. While the client looks for the group's coordinator, its future tells of that
    alone, with the coordinator as its answer; a commit answers None."""
    return answer is None


def _note(offsets: dict[Assignment, int]) -> None:
    telemetry.COMMITS.labels("ok").inc()
    for assignment, offset in offsets.items():
        assignment.acknowledged(offset)
