"""What the queue says of its tasks: entries, leases, and why it refuses. Read from the replies of the Lua scripts."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import ValidationError

from review.task import ReviewTask


class QueueError(Exception):
    """The queue did not do what was asked; the message is for a person."""


class NotHeldError(QueueError):
    """The caller does not hold this task: never did, released it, or somebody else claimed it since."""


class NotWaitingError(QueueError):
    """There is no such task in the queue."""


class AlreadyDecidedError(NotWaitingError):
    """There is no such task in the queue any more: a verdict has been given."""


class VersionConflictError(QueueError):
    """What the task asks for has changed since it was read: look at it again."""


class UndoRefusedError(QueueError):
    """The verdict cannot be taken back any more, or not by this reviewer."""


class UnreadableTaskError(QueueError):
    """A task in the queue is not one that this version understands."""


@dataclass(frozen=True, slots=True)
class Lease:
    """Who holds a task, until when."""

    holder: str
    token: int
    """Fencing token: grows with every claim; only the last one given for a task fits."""
    claimed_at: datetime
    deadline: datetime
    kind: Literal["hold", "reserved"] | None = None
    """Put aside by its holder for longer; or handed to them, and not claimed yet. None: being worked on."""


@dataclass(frozen=True, slots=True)
class Note:
    """What was said with a hold, a transfer, an escalation or a demand for review."""

    by: str
    text: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Answer:
    """An earlier verdict on a task that is still in the queue."""

    reviewer: str
    label: str | None
    """None: cannot tell."""
    at: datetime
    token: int = 0
    """Of the claim under which it was given; 0 where that is not known any more."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What the queue itself knows of a task, at one moment of the server's clock."""

    event_id: str
    reason: str
    since: datetime
    """It waits for a verdict since then."""
    expiries: int
    """How many leases of it ran out."""
    lease: Lease | None
    """The last one given, unless it was released. It may have run out: see `held`."""
    at: datetime
    version: int = 1
    """Grows with every change to what is asked of a reviewer."""
    lead: bool = False
    """Only leads may decide it: escalated, or reviewers disagree."""
    skips: int = 0
    """How many reviewers have skipped it."""
    forced: bool = False
    """Somebody demanded this review, whatever there was before."""
    note: Note | None = None
    answers: tuple[Answer, ...] = ()
    """Earlier ones. Whoever is to give a second answer must not see the first."""

    @property
    def held(self) -> bool:
        """Whether its lease is running."""
        return self.lease is not None and self.lease.deadline > self.at

    @property
    def disagreement(self) -> tuple[Answer, ...]:
        """The answers that a lead is to judge between; empty for anybody who must answer without knowing others'."""
        return self.answers if self.lead and len(self.answers) > 1 else ()

    @property
    def age_s(self) -> float:
        """How long it has been waiting for a verdict."""
        return (self.at - self.since).total_seconds()


@dataclass(frozen=True, slots=True)
class Claim:
    """A task in the hands of a reviewer."""

    task: ReviewTask
    entry: Entry
    lease: Lease


def read_entry(event_id: bytes, state: bytes, at: int) -> Entry:
    """An entry from `state` as lua/queue.lua describes it; `at` is the server's clock in milliseconds."""
    known = json.loads(state)
    lease, note = known.get("lease"), known.get("note")
    return Entry(
        event_id=event_id.decode(),
        reason=known["reason"],
        since=_time(known["since"]),
        expiries=known["expiries"],
        lease=lease
        and Lease(
            holder=lease["holder"],
            token=lease["token"],
            claimed_at=_time(lease["claimed_at"]),
            deadline=_time(lease["deadline"]),
            kind=lease.get("kind"),
        ),
        at=_time(at),
        version=known.get("version", 1),
        lead=known.get("lead", False),
        skips=known.get("skips", 0),
        forced="forced" in known,
        note=note and Note(note["by"], note["text"], _time(note["at"])),
        answers=tuple(
            Answer(each["reviewer"], each["label"] or None, _time(each["at"]), each.get("token", 0))
            for each in known.get("answers", ())
        ),
    )


def read_task(event_id: str, task: bytes) -> ReviewTask:
    """The task of an entry.

    Raises:
        UnreadableTaskError: it is not JSON, not a task, or of an unknown schema version.
    """
    try:
        return ReviewTask.model_validate_json(task)
    except ValidationError as error:
        raise UnreadableTaskError(f"{event_id}: this version cannot read the task: {error}") from error


def accepted(reply: list[Any], event_id: str) -> list[Any]:
    """The reply itself, unless it is one of the refusals of `held` in lua/queue.lua.

    Raises:
        NotHeldError, AlreadyDecidedError, NotWaitingError: the refusal.
    """
    match reply[0].decode():
        case "ok":
            return reply
        case "taken":
            raise NotHeldError(f"{event_id}: your lease ran out and {reply[1].decode()} holds it now; claim another")
        case "free":
            raise NotHeldError(f"{event_id}: nobody holds it; claim it first")
        case "changed":
            raise VersionConflictError(
                f"{event_id}: what is asked of it has changed since you read it (version {reply[1].decode()} now): "
                "look at it again"
            )
        case "barred":
            raise QueueError(f"{event_id}: that reviewer has skipped or answered it already; choose another")
        case "lead":
            raise QueueError(f"{event_id}: only a lead decides it")
        case "late":
            raise UndoRefusedError(f"{event_id}: it is too late to take the verdict back; a lead can force a review")
        case "others":
            raise UndoRefusedError(
                f"{event_id}: the verdict is {reply[1].decode()}'s; only they or a lead take it back"
            )
        case "held":
            raise UndoRefusedError(f"{event_id}: {reply[1].decode()} is looking at it already, so it stays as it is")
        case "decided":
            raise AlreadyDecidedError(f"{event_id}: a verdict has been given already")
        case _:
            raise NotWaitingError(f"{event_id}: there is no such task in the review queue")


def _time(ms: float) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)
