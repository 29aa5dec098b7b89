"""What the topics say of the queue: which events wait for a verdict, and which answers there are.

`decisions` says what is to be reviewed, `verdicts` what was said: an event is open while it was routed to review and
its answers do not close it (`closes`). Kept are a few hundred bytes an event with a verdict, and open tasks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from pydantic_core import from_json

from calibration.ledger.topic import Record, TopicReader, identify
from calibration.settings import KafkaSettings, TopicName
from review.lease import Answer
from review.task import ReviewTask, Round, Verdict

log = structlog.get_logger()

_REVIEW = "review"
_AUDIT = "audit"
_POLL_MS = 50
_POLL_RECORDS = 5_000


def records(
    kafka: KafkaSettings, name: TopicName, positions: dict[int, int], progress: Callable[[int], None] = lambda _: None
) -> Iterator[Record]:
    """The records of a topic up to its present ends, each partition's in order.

    Args:
        positions: where to begin in each partition, and afterwards where to go on; what is gone by then is left out.
        progress: is told how many records were read, now and then.

    Raises:
        kafka.errors.KafkaError, TopicGapError: they cannot be read.
    """
    with TopicReader(kafka, name, identify(kafka, name).partitions, positions, accept_gap=True) as reader:
        while not reader.read_up:
            polled = reader.poll(_POLL_MS, _POLL_RECORDS)
            for record in polled:
                yield record
                positions[record.partition] = record.offset + 1
            progress(len(polled))


def task_of(decision: bytes) -> ReviewTask | None:
    """The task that a record of the topic `decisions` stands for; None where the event passed by itself.

    Raises:
        ValueError: it is not JSON, or no decision that can be reviewed.
    """
    fields = _decision(decision)
    return _task(fields) if fields["route"] == _REVIEW else None


def task_for(decision: bytes) -> ReviewTask:
    """The task that a review of this decision would be, however it was routed.

    Raises:
        ValueError: it is not JSON, or no decision that can be reviewed.
    """
    return _task(_decision(decision))


def find_task(kafka: KafkaSettings, event_id: str, progress: Callable[[int], None] = lambda _: None) -> ReviewTask:
    """The task for the last decision on an event, however it was routed. Reads the whole topic.

    Raises:
        LookupError: there is no decision on it that can be reviewed.
        kafka.errors.KafkaError, TopicGapError: the topic cannot be read.
    """
    key, last = event_id.encode(), None
    for record in records(kafka, "decisions", {}, progress):
        if record.key == key:
            last = record.value
    if last is None:
        raise LookupError(
            f"{event_id}: there is no decision on it on the topic {kafka.topic('decisions')}, or not any more"
        )
    try:
        return task_for(last)
    except ValueError as error:
        raise LookupError(f"{event_id}: its decision cannot be reviewed: {error}") from error


def _decision(record: bytes) -> dict[str, Any]:
    fields = from_json(record)
    if not isinstance(fields, dict) or "route" not in fields:
        raise ValueError("not a decision")
    return fields


def _task(fields: dict[str, Any]) -> ReviewTask:
    return ReviewTask.model_validate(fields | {"blind": fields.get("reason") == _AUDIT})


def closes(answers: Sequence[Answer], *, second: bool) -> bool:
    """Whether these answers, in their order, end the review of an event; `second`: two are wanted."""
    if not answers:
        return False
    if not second or len(answers) > 2:
        return True
    return len(answers) == 2 and answers[0].label == answers[1].label


@dataclass
class Counts:
    """What was read."""

    decisions: int = 0
    verdicts: int = 0
    unreadable: int = 0


@dataclass
class Truth:
    """The topics as far as they were read; `catch_up` reads on. For one thread."""

    kafka: KafkaSettings
    second: Callable[[str], bool]
    """Whether two answers are wanted of an event."""
    tasks: dict[str, ReviewTask] = field(default_factory=dict)
    """Routed to review and not closed by any verdict read."""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    withdrawn: set[str] = field(default_factory=set)
    """Events whose last verdict was taken back."""
    counts: Counts = field(default_factory=Counts)
    _closed: dict[str, datetime] = field(default_factory=dict)
    _positions: dict[str, dict[int, int]] = field(default_factory=dict)

    def catch_up(self, progress: Callable[[int], None] = lambda _: None) -> None:
        """Read both topics up to their present ends: the verdicts last, so that none on a decision read is missed.

        Args:
            progress: is told how many records were read, now and then.

        Raises:
            kafka.errors.KafkaError, TopicGapError: they cannot be read.
        """
        self._read("verdicts", self._verdict, progress)  # what is closed already needs no task in memory
        self._read("decisions", self._decided, progress)
        self._read("verdicts", self._verdict, progress)

    @property
    def closed(self) -> Mapping[str, datetime]:
        """Events whose review has ended, and when the verdict that ended it was given."""
        return self._closed

    def _read(self, name: TopicName, take: Callable[[Record], None], progress: Callable[[int], None]) -> None:
        for record in records(self.kafka, name, self._positions.setdefault(name, {}), progress):
            try:
                take(record)
            except ValueError as error:
                self.counts.unreadable += 1
                where = f"{self.kafka.topic(name)}/{record.partition}/{record.offset}"
                log.error("record not readable", position=where, error=str(error)[:500])  # noqa: TRY400 - it is data

    def _decided(self, record: Record) -> None:
        self.counts.decisions += 1
        task = task_of(record.value or b"")
        if task is not None and task.event_id not in self._closed:
            self.tasks[task.event_id] = task

    def _verdict(self, record: Record) -> None:
        self.counts.verdicts += 1
        verdict = Verdict.model_validate_json(record.value or b"")
        event_id = verdict.event_id
        answers = self.answers.setdefault(event_id, [])
        mine = [each for each in answers if each.reviewer == verdict.reviewer]
        for each in mine:  # said again, or taken back
            answers.remove(each)
        if verdict.withdrawn:
            self.withdrawn.add(event_id)
            self._closed.pop(event_id, None)
        else:
            self.withdrawn.discard(event_id)
            if verdict.round is Round.FIRST:
                answers.clear()  # after a crash, another one's first answer is the one that counts
            answers.append(Answer(verdict.reviewer, verdict.label, verdict.given_at))
        self._judge(event_id)

    def _judge(self, event_id: str) -> None:
        answers = self.answers.get(event_id, [])
        if closes(answers, second=self.second(event_id)):
            self._closed[event_id] = answers[-1].at
            self.tasks.pop(event_id, None)
