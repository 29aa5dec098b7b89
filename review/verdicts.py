"""Giving a verdict: onto the `verdicts` topic first, out of the queue second.

A process may die between the two. Then the task comes back with the end of its lease and somebody answers again. That
is harmless: verdicts are keyed by event_id, hence in order on one partition, and **the last one of an event counts**.
Both were given by a person who saw the image, and a verdict is self-contained, so nothing else hangs on the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import structlog
from kafka.errors import KafkaError

from calibration.settings import TopicName
from review.durable import DurableWriter
from review.lease import (
    AlreadyDecidedError,
    Claim,
    Lease,
    NotWaitingError,
    QueueError,
    UndoRefusedError,
    VersionConflictError,
)
from review.queue import QueueUnavailableError, ReviewQueue
from review.task import Check, Round, Verdict

log = structlog.get_logger()

_SETTLE_S = 10.0  # to take the task out of the queue, on top of the longest time that writing may take


class VerdictError(Exception):
    """A verdict was not given, or only half; the message says which and what to do."""


class UnknownLabelError(VerdictError):
    """The label is not one of the task's."""


class VerdictNotWrittenError(VerdictError):
    """Kafka did not acknowledge the verdict. The task is still held: give the verdict again."""


class VerdictNotSettledError(VerdictError):
    """The verdict is written and counts, but its task is still in the queue. Giving it again is harmless."""


class VerdictWriter(DurableWriter):
    """Writes verdicts to Kafka, each durable before it counts."""

    async def give(self, verdict: Verdict | Check) -> None:
        """Return when the verdict is durable, after `longest_s` at most.

        Raises:
            VerdictNotWrittenError: it may not be durable.
        """
        name: TopicName = "checks" if isinstance(verdict, Check) else "verdicts"
        try:
            await self.written(name, verdict.event_id, verdict.model_dump_json().encode())
        except (KafkaError, OSError) as error:
            raise VerdictNotWrittenError(
                f"{verdict.event_id}: the verdict could not be written to the topic {self.kafka.topic(name)} at "
                f"{self.kafka.bootstrap_servers} ({error!r}); you still hold the task: try again"
            ) from error


async def give_verdict(
    queue: ReviewQueue,
    writer: VerdictWriter,
    event_id: str,
    token: int,
    label: str | None,
    note: str | None = None,
    *,
    version: int | None = None,
    shown_s: float | None = None,
    copied_from: str | None = None,
) -> Verdict:
    """Record what the holder of a lease says: `label`, or None for "cannot tell". Of a golden item it is a check.

    Args:
        version: of the entry that the reviewer saw, where it matters.
        shown_s: how long the image was before them, in seconds; default, and at most: since it was claimed.
        copied_from: the event whose image they saw, where this is a near-duplicate.

    Raises:
        UnknownLabelError, VerdictNotWrittenError: nothing has changed. VerdictNotSettledError: see there.
        VersionConflictError: the task asks for something else since; nothing has changed.
        QueueError: the task is not the caller's any more, or Valkey is away; nothing has changed.
    """
    claim = await queue.extend(event_id, token, for_s=writer.longest_s + _SETTLE_S)
    if label is not None and label not in claim.task.labels:
        raise UnknownLabelError(f"{event_id}: {label!r} is not one of its labels: {', '.join(claim.task.labels)}")
    if version is not None and version != claim.entry.version:
        raise VersionConflictError(f"{event_id}: what is asked of it has changed since you read it: look at it again")
    verdict = _verdict(claim, label, note, shown_s).model_copy(update={"copied_from": copied_from})
    await writer.give(_check(claim, verdict) or verdict)
    second = claim.task.golden is None and queue.wants_second_answer(event_id)
    try:
        await queue.complete(event_id, token, label, second=second)
    except AlreadyDecidedError:
        log.warning("verdict after another", event_id=event_id, reviewer=verdict.reviewer, note="the last one counts")
    except QueueError as error:
        raise VerdictNotSettledError(
            f"{event_id}: your verdict is written and counts, but its task could not leave the queue: {error}. "
            "It may be shown to somebody again; giving a verdict twice is harmless"
        ) from error
    return verdict


async def given_before(
    queue: ReviewQueue, event_id: str, token: int, reviewer: str, label: str | None, note: str | None = None
) -> Verdict | None:
    """This very verdict, where it was recorded already, as far back as it could be taken back; else None.

    Raises:
        QueueUnavailableError: Valkey does not serve.
    """
    try:
        task, entry = await queue.find(event_id)
    except AlreadyDecidedError:
        try:
            undoable = await queue.undoable(event_id, reviewer)
        except (UndoRefusedError, NotWaitingError):
            return None
        task, entry = undoable.task, undoable.entry
    except NotWaitingError:
        return None
    said = next(
        (each for each in entry.answers if (each.reviewer, each.token, each.label) == (reviewer, token, label)), None
    )
    if said is None:
        return None
    then = replace(entry, at=said.at, answers=entry.answers[: entry.answers.index(said)])
    return _verdict(Claim(task, then, Lease(reviewer, token, said.at, said.at)), label, note, None)


@dataclass(frozen=True, slots=True)
class Copied:
    """What became of a verdict's near-duplicates."""

    given: tuple[str, ...]
    left: dict[str, str]
    """Those that keep waiting for a look of their own, and why."""


async def copy_verdict(queue: ReviewQueue, writer: VerdictWriter, verdict: Verdict, event_ids: Sequence[str]) -> Copied:
    """Give the same verdict on near-duplicates, each with a record of its own.

    Those that the reviewer holds already, as the next ones of a page, are among them. Left are audits, which need a
    blind look of their own, those of another taxonomy, and those that the reviewer may not have. A failure in the
    middle leaves the rest waiting.

    Raises:
        VerdictError, QueueUnavailableError: as `give_verdict`; what was given before counts.
    """
    given, left = [], {}
    for event_id in event_ids:
        try:
            claim = await _at_hand(queue, event_id, verdict.reviewer)
        except QueueUnavailableError:
            raise
        except QueueError as error:
            left[event_id] = str(error)
            continue
        token = claim.lease.token
        if claim.task.blind or claim.task.taxonomy != verdict.taxonomy:
            await queue.release(event_id, token)
            left[event_id] = f"{event_id}: it needs a look of its own"
            continue
        await give_verdict(
            *(queue, writer, event_id, token, verdict.label, verdict.note),
            shown_s=0.0,
            copied_from=verdict.event_id,
        )
        given.append(event_id)
    return Copied(tuple(given), left)


async def _at_hand(queue: ReviewQueue, event_id: str, reviewer: str) -> Claim:
    task, entry = await queue.find(event_id)
    if entry.held and entry.lease is not None and entry.lease.holder == reviewer and entry.lease.kind is None:
        return Claim(task, entry, entry.lease)
    return await queue.take(event_id, reviewer)


async def take_back(
    queue: ReviewQueue, writer: VerdictWriter, event_id: str, reviewer: str, *, lead: bool = False
) -> Claim:
    """Withdraw the last verdict on a task, soon after it was given: its reviewer holds the task again.

    The topic says so first. Should the process die before the queue knows, the event has no verdict and no task: a
    rebuild of the queue brings it back.

    Args:
        lead: whether `reviewer` may take back the verdicts of others.

    Raises:
        UndoRefusedError, NotWaitingError, VerdictNotWrittenError: nothing has changed.
    """
    claim = await queue.undoable(event_id, reviewer, lead=lead)
    last = claim.entry.answers[-1]
    verdict = _verdict(claim, last.label, None, 0.0)
    if claim.task.golden is not None:  # its next check is the one that counts
        return await queue.undo(event_id, reviewer, lead=lead)
    withdrawn = {"reviewer": last.reviewer, "withdrawn": True, "round": _round(len(claim.entry.answers) - 1)}
    await writer.give(verdict.model_copy(update=withdrawn))
    return await queue.undo(event_id, reviewer, lead=lead)


def _verdict(claim: Claim, label: str | None, note: str | None, shown_s: float | None) -> Verdict:
    task = claim.task
    held_s = max(0.0, (claim.entry.at - claim.lease.claimed_at).total_seconds())
    return Verdict(
        event_id=task.event_id,
        reviewer=claim.lease.holder,
        label=label,
        note=note,
        round=_round(len(claim.entry.answers)),
        seconds_spent=held_s if shown_s is None else min(shown_s, held_s),
        blind=task.blind,
        decided_label=task.label,
        reason=task.reason,
        taxonomy=task.taxonomy,
        source=task.source,
        signals=task.signals,
        audit=task.audit,
        versions=task.versions,
        decided_at=task.decided_at,
        given_at=claim.entry.at,
    )


def _check(claim: Claim, verdict: Verdict) -> Check | None:
    """What is recorded in the place of a verdict on a golden item: no outcome may be made of it."""
    golden = claim.task.golden
    if golden is None:
        return None
    return Check(
        event_id=verdict.event_id,
        golden_id=golden.golden_id,
        taxonomy=verdict.taxonomy,
        reviewer=verdict.reviewer,
        label=verdict.label,
        known=golden.label,
        seconds_spent=verdict.seconds_spent,
        given_at=verdict.given_at,
    )


def _round(earlier: int) -> Round:
    """Of a verdict, by how many answers there were before it."""
    return (Round.FIRST, Round.SECOND, Round.ADJUDICATION)[min(earlier, 2)]
