"""What the API is asked about tasks, and what it answers: never more than its reviewer may see."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from review.blind import visible
from review.lease import Claim, Entry
from review.task import EventId, ReviewTask

_Name = Annotated[str, Field(min_length=1, max_length=128)]
_Text = Annotated[str, Field(max_length=2000)]
AskedEvent = Annotated[EventId, Query()]


class Request(BaseModel):
    """A body: what it does not know is an error, so that a typing mistake does not pass for a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimRequest(Request):
    """Which task is wanted: at most one of oldest, label, reason, taxonomy and group."""

    by: Literal["priority", "oldest"] = "priority"
    label: _Name | None = None
    reason: _Name | None = None
    taxonomy: _Name | None = None
    group: _Name | None = None


class Held(Request):
    """A task that the caller holds, under the token of their claim."""

    event_id: EventId
    token: Annotated[int, Field(ge=0, le=2**53)]


class HeldWithNote(Held):
    """The same, with a reason."""

    note: _Text


class HoldRequest(HeldWithNote):
    """Keep it for longer."""

    for_s: Annotated[float, Field(gt=0, le=30 * 86400)]


class TransferRequest(Held):
    """Hand it to somebody."""

    to: _Name
    note: _Text = ""


class VerdictRequest(Held):
    """What the reviewer says."""

    label: _Name | None
    """None: cannot tell."""
    note: _Text | None = None
    version: int | None = None
    """Of the entry that the reviewer saw; a verdict on what has changed since is refused."""
    shown_s: Annotated[float, Field(ge=0, le=1e6)] | None = None
    """How long it was on the screen; default: since it was claimed."""
    copy_to: Annotated[tuple[EventId, ...], Field(max_length=1000)] = ()
    """Near-duplicates that the same verdict is given on. Audits among them are left for a look of their own."""


class Heartbeats(Request):
    """Claims to be held on to."""

    claims: Annotated[tuple[Held, ...], Field(max_length=100)]


class EventRequest(Request):
    """Speaks of one event."""

    event_id: EventId


class ReviewRequest(EventRequest):
    """A demand for a review, whatever there was before."""

    note: _Text


class LeaseView(BaseModel):
    """Who holds a task, until when, under which token (the caller's own only)."""

    holder: str
    token: int | None
    deadline: datetime
    kind: Literal["hold", "reserved"] | None


class NoteView(BaseModel):
    """What a colleague said of a task."""

    by: str
    text: str
    at: datetime


class AnswerView(BaseModel):
    """An earlier answer, for a lead who judges between several."""

    reviewer: str
    label: str | None


class EntryView(BaseModel):
    """A task in a list: what the queue knows of it."""

    event_id: str
    since: datetime
    version: int
    expiries: int
    skips: int
    answers: int
    lead: bool
    forced: bool
    note: NoteView | None
    lease: LeaseView | None


class Entries(BaseModel):
    """Part of the queue."""

    claimed: list[EntryView]
    for_leads: list[EntryView]
    waiting: list[EntryView]


class ClaimView(BaseModel):
    """A task in the caller's hands."""

    task: dict[str, Any]
    entry: EntryView
    lease: LeaseView
    answers: list[AnswerView]
    """Where a lead is to judge between several."""


class Beat(BaseModel):
    """Whether a claim still holds."""

    event_id: str
    deadline: datetime | None = None
    version: int | None = None
    lost: str | None = None
    """Why it does not."""


class Beats(BaseModel):
    """The answer to heartbeats, in their order."""

    claims: list[Beat]


class VerdictView(BaseModel):
    """A verdict that was recorded."""

    event_id: str
    label: str | None
    copied_to: list[str] = []
    left: dict[str, str] = {}
    """Near-duplicates that keep waiting, and why."""


class SimilarTask(BaseModel):
    """A waiting task whose image looks like another's."""

    event_id: str
    distance: int
    """Bits of 256 that differ."""


class EarlierVerdict(BaseModel):
    """What was said of the same image before."""

    event_id: str
    label: str | None
    reviewer: str
    given_at: datetime


def shown(task: ReviewTask) -> dict[str, Any]:
    """What a reviewer may see of a task. Where the image is stays here: it is shown through the server."""
    fields = visible(task)
    for hidden in ("image", "golden", "pdq", "signals", "audit", "schema_version"):
        fields.pop(hidden, None)
    return fields


def entry_view(entry: Entry) -> EntryView:
    """An entry without its token, which belongs to its holder, and without its reason, which may tell an audit."""
    return EntryView(
        event_id=entry.event_id,
        since=entry.since,
        version=entry.version,
        expiries=entry.expiries,
        skips=entry.skips,
        answers=len(entry.answers),
        lead=entry.lead,
        forced=entry.forced,
        note=entry.note and NoteView(by=entry.note.by, text=entry.note.text, at=entry.note.at),
        lease=entry.lease
        and LeaseView(holder=entry.lease.holder, token=None, deadline=entry.lease.deadline, kind=entry.lease.kind),
    )


def claim_view(claim: Claim) -> ClaimView:
    """A claim as its holder sees it."""
    lease = claim.lease
    return ClaimView(
        task=shown(claim.task),
        entry=entry_view(claim.entry),
        lease=LeaseView(holder=lease.holder, token=lease.token, deadline=lease.deadline, kind=lease.kind),
        answers=[AnswerView(reviewer=each.reviewer, label=each.label) for each in claim.entry.disagreement],
    )
