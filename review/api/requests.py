"""What the API is asked, and what it answers of a task: never more than its reviewer may see."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from review.blind import visible
from review.lease import Claim, Entry
from review.task import EventId, ReviewTask

_Name = Annotated[str, Field(min_length=1, max_length=128)]
_Text = Annotated[str, Field(max_length=2000)]


class Request(BaseModel):
    """A body: what it does not know is an error, so that a typing mistake does not pass for a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ClaimRequest(Request):
    """Which task is wanted."""

    by: Literal["priority", "oldest"] = "priority"
    label: str | None = None
    reason: str | None = None
    taxonomy: str | None = None
    group: str | None = None
    lead: bool = False
    """Escalated tasks and disagreements, which only leads decide."""


class Held(Request):
    """A task that the caller holds, under the token of their claim."""

    event_id: EventId
    token: Annotated[int, Field(ge=0)]


class HeldWithNote(Held):
    """The same, with a reason."""

    note: _Text


class HoldRequest(HeldWithNote):
    """Keep it for longer."""

    for_s: Annotated[float, Field(gt=0, le=7 * 86400)]


class TransferRequest(Held):
    """Hand it to somebody."""

    to: _Name


class VerdictRequest(Held):
    """What the reviewer says."""

    label: str | None
    """None: cannot tell."""
    note: _Text | None = None
    version: int | None = None
    shown_s: Annotated[float, Field(ge=0)] | None = None
    """How long it was on the screen; default: since it was claimed."""


class Heartbeats(Request):
    """Claims to be held on to."""

    claims: Annotated[list[Held], Field(max_length=100)]


class EventRequest(Request):
    """Speaks of one event."""

    event_id: EventId


class LeaseView(BaseModel):
    """Who holds a task, until when, under which token (the caller's own only)."""

    holder: str
    token: int | None
    deadline: datetime


class EntryView(BaseModel):
    """A task in a list: what the queue knows of it."""

    event_id: str
    since: datetime
    expiries: int
    lease: LeaseView | None


class Entries(BaseModel):
    """Part of the queue."""

    claimed: list[EntryView]
    waiting: list[EntryView]


class ClaimView(BaseModel):
    """A task in the caller's hands."""

    task: dict[str, Any]
    entry: EntryView
    lease: LeaseView


class Beat(BaseModel):
    """Whether a claim still holds."""

    event_id: str
    deadline: datetime | None = None
    lost: str | None = None
    """Why it does not."""


class Beats(BaseModel):
    """The answer to heartbeats, in their order."""

    claims: list[Beat]


class VerdictView(BaseModel):
    """A verdict that was recorded."""

    event_id: str
    label: str | None
    seconds_spent: float


def shown(task: ReviewTask) -> dict[str, Any]:
    """What a reviewer may see of a task. Where the image is stays here: it is shown through the server."""
    fields = visible(task)
    fields.pop("image", None)
    fields.pop("golden", None)
    return fields


def entry_view(entry: Entry) -> EntryView:
    """An entry without its token, which belongs to its holder, and without its reason, which may tell an audit."""
    lease = entry.lease and LeaseView(holder=entry.lease.holder, token=None, deadline=entry.lease.deadline)
    return EntryView(event_id=entry.event_id, since=entry.since, expiries=entry.expiries, lease=lease)


def claim_view(claim: Claim) -> ClaimView:
    """A claim as its holder sees it."""
    lease = LeaseView(holder=claim.lease.holder, token=claim.lease.token, deadline=claim.lease.deadline)
    return ClaimView(task=shown(claim.task), entry=entry_view(claim.entry), lease=lease)
