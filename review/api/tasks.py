"""A reviewer's work: claim, hold on, decide, or hand on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response

from review.access.roles import Permission
from review.access.web import Visitor, require
from review.api.parts import Parts, parts
from review.api.requests import (
    Beat,
    Beats,
    ClaimRequest,
    ClaimView,
    EventRequest,
    Heartbeats,
    Held,
    HeldWithNote,
    HoldRequest,
    TransferRequest,
    VerdictRequest,
    VerdictView,
    claim_view,
)
from review.lease import NotHeldError, NotWaitingError
from review.task import EventId
from review.verdicts import give_verdict, take_back

router = APIRouter(tags=["tasks"])
_Parts = Annotated[Parts, Depends(parts)]
_NO_TASK = {204: {"description": "Nothing waits that the caller may have."}}


@router.post("/claims", status_code=201, response_model=ClaimView, responses=_NO_TASK)
async def claim(
    wanted: ClaimRequest, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.CLAIM))]
) -> ClaimView | Response:
    """Claim a task: the most urgent one that the caller may have, unless told otherwise.

    Escalated tasks and disagreements come first to those who may decide them.
    """
    claimed = await at.queue.claim(
        who.name,
        by=wanted.by,
        label=wanted.label,
        reason=wanted.reason,
        taxonomy=wanted.taxonomy,
        group=wanted.group,
        lead=who.may(Permission.CLAIM_ESCALATED),
    )
    return Response(status_code=204) if claimed is None else claim_view(claimed)


@router.post("/heartbeats")
async def heartbeats(
    beats: Heartbeats, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.CLAIM))]
) -> Beats:
    """Hold on to claims for another lease each; which of them are lost is said one by one."""
    found = []
    for held in beats.claims:
        try:
            extended = await at.queue.extend(held.event_id, held.token)
        except (NotHeldError, NotWaitingError) as error:
            found.append(Beat(event_id=held.event_id, lost=str(error)))
        else:
            found.append(Beat(event_id=held.event_id, deadline=extended.lease.deadline))
    return Beats(claims=found)


@router.post("/verdicts", status_code=201)
async def verdict(
    said: VerdictRequest, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.DECIDE))]
) -> VerdictView:
    """Decide a task that the caller holds. The verdict is on its topic before this answers."""
    given = await give_verdict(
        at.queue,
        at.writer,
        said.event_id,
        said.token,
        said.label,
        said.note,
        version=said.version,
        shown_s=said.shown_s,
    )
    return VerdictView(event_id=given.event_id, label=given.label, seconds_spent=given.seconds_spent)


@router.post("/undos", status_code=201)
async def undo(
    which: EventRequest, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.UNDO))]
) -> ClaimView:
    """Take a verdict back, soon after it was given: the task is in the hands of its reviewer again."""
    lead = who.may(Permission.UNDO_OTHERS)
    return claim_view(await take_back(at.queue, at.writer, which.event_id, who.name, lead=lead))


@router.post("/releases", status_code=204)
async def release(held: Held, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.RELEASE))]) -> None:
    """Give a task back, undecided."""
    await at.queue.release(held.event_id, held.token)


@router.post("/skips", status_code=204)
async def skip(held: Held, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.SKIP))]) -> None:
    """Give a task back, and never be shown it again."""
    await at.queue.skip(held.event_id, held.token)


@router.post("/holds", status_code=204)
async def hold(held: HoldRequest, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.HOLD))]) -> None:
    """Keep a task for longer, with a note that others see."""
    await at.queue.hold(held.event_id, held.token, held.for_s, held.note)


@router.post("/transfers", status_code=204)
async def transfer(
    held: TransferRequest, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.TRANSFER))]
) -> None:
    """Hand a task to another reviewer."""
    await at.queue.transfer(held.event_id, held.token, held.to)


@router.post("/escalations", status_code=204)
async def escalate(
    held: HeldWithNote, at: _Parts, who: Annotated[Visitor, Depends(require(Permission.ESCALATE))]
) -> None:
    """Leave a task to a lead."""
    await at.queue.escalate(held.event_id, held.token, held.note)


@router.get("/image", response_class=Response, responses={200: {"content": {"image/jpeg": {}}}})
async def image(
    event_id: Annotated[EventId, Query()],
    at: _Parts,
    who: Annotated[Visitor, Depends(require(Permission.SEE_TASK))],
) -> Response:
    """The image of a task in the queue, drawn anew by the server."""
    task, _ = await at.queue.find(event_id)
    content = await at.images.jpeg(task.image)
    return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})
