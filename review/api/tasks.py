"""A reviewer's work: claim, hold on, decide, or hand on."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Response

from review.access.door import Visitor
from review.access.refusals import AccountError
from review.access.roles import Permission, reviews
from review.access.web import LoggedRoute, require
from review.api.parts import AtDoor, AtHand, Parts
from review.api.requests import (
    AskedEvent,
    Beat,
    Beats,
    ClaimRequest,
    ClaimView,
    EarlierVerdict,
    EventRequest,
    Heartbeats,
    Held,
    HeldWithNote,
    HoldRequest,
    ReviewRequest,
    SimilarTask,
    TransferRequest,
    VerdictRequest,
    VerdictView,
    claim_view,
)
from review.lease import Claim, NotHeldError, NotWaitingError, QueueError
from review.task import ReviewTask
from review.verdicts import copy_verdict, give_verdict, given_before, take_back

router = APIRouter(tags=["tasks"], route_class=LoggedRoute)
_NO_TASK: dict[int | str, dict[str, Any]] = {204: {"description": "Nothing waits that the caller may have."}}
_JPEG: dict[int | str, dict[str, Any]] = {200: {"content": {"image/jpeg": {}}}}
_SIMILAR = 200
_HELD = 1_000


@router.post("/claims", status_code=201, response_model=ClaimView, responses=_NO_TASK)
async def claim(
    wanted: ClaimRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.CLAIM))]
) -> ClaimView | Response:
    """Claim a task: the most urgent one that the caller may have, unless told otherwise.

    What was handed to them comes first; then, to those who may decide them, escalated tasks and disagreements.
    """
    try:
        claimed = await at.queue.claim(
            who.name,
            by=wanted.by,
            label=wanted.label,
            reason=wanted.reason,
            taxonomy=wanted.taxonomy,
            group=wanted.group,
            lead=who.may(Permission.CLAIM_ESCALATED),
        )
    except ValueError as error:
        raise QueueError(str(error)) from error
    if claimed is None:
        return Response(status_code=204)
    who.seen.append(claimed.task.event_id)
    return claim_view(claimed)


@router.get("/claims")
async def held_claims(
    at: AtHand, who: Annotated[Visitor, Depends(require(Permission.CLAIM, logged=False))]
) -> list[ClaimView]:
    """What the caller holds already: a page that was reloaded, or a server that was started anew, goes on with it."""
    return [claim_view(each) for each in await _held_by(at, who)]


@router.post("/heartbeats")
async def heartbeats(
    beats: Heartbeats, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.CLAIM, logged=False))]
) -> Beats:
    """Hold on to claims for another lease each; which of them are lost is said one by one."""
    found = []
    for held in beats.claims:
        try:
            await _own(at, who, held)
            extended = await at.queue.extend(held.event_id, held.token)
        except (NotHeldError, NotWaitingError) as error:
            found.append(Beat(event_id=held.event_id, lost=str(error)))
        else:
            deadline, version = extended.lease.deadline, extended.entry.version
            found.append(Beat(event_id=held.event_id, deadline=deadline, version=version))
    return Beats(claims=found)


@router.post("/verdicts", status_code=201)
async def verdict(
    said: VerdictRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.DECIDE))]
) -> VerdictView:
    """Decide a task that the caller holds.

    The verdict is on its topic before this answers; repeating it is harmless.
    """
    who.seen.append(said.event_id)
    who.detail = said.label or "cannot tell"
    try:
        await _own(at, who, said)
        given = await give_verdict(
            *(at.queue, at.writer, said.event_id, said.token, said.label, said.note),
            version=said.version,
            shown_s=said.shown_s,
        )
    except (NotHeldError, NotWaitingError):
        # The answer to this very request was lost on its way before.
        repeated = await given_before(at.queue, said.event_id, said.token, who.name, said.label, said.note)
        if repeated is None:
            raise
        given = repeated
    if not said.copy_to:
        return VerdictView(event_id=given.event_id, label=given.label)
    copied = await copy_verdict(at.queue, at.writer, given, said.copy_to)
    who.seen += copied.given
    return VerdictView(event_id=given.event_id, label=given.label, copied_to=list(copied.given), left=copied.left)


@router.post("/undos", status_code=201)
async def undo(
    which: EventRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.UNDO))]
) -> ClaimView:
    """Take a verdict back, soon after it was given: the task is in the hands of its reviewer again."""
    who.seen.append(which.event_id)
    lead = who.may(Permission.UNDO_OTHERS)
    return claim_view(await take_back(at.queue, at.writer, which.event_id, who.name, lead=lead))


@router.post("/releases", status_code=204)
async def release(held: Held, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.RELEASE))]) -> None:
    """Give a task back, undecided."""
    await _own(at, who, held)
    await at.queue.release(held.event_id, held.token)


@router.post("/skips", status_code=204)
async def skip(held: Held, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SKIP))]) -> None:
    """Give a task back, and never be shown it again."""
    await _own(at, who, held)
    await at.queue.skip(held.event_id, held.token)


@router.post("/holds", status_code=204)
async def hold(held: HoldRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.HOLD))]) -> None:
    """Keep a task for longer, with a note that others see."""
    await _own(at, who, held)
    await at.queue.hold(held.event_id, held.token, held.for_s, held.note)


@router.post("/transfers", status_code=204)
async def transfer(
    held: TransferRequest, at: AtHand, door: AtDoor, who: Annotated[Visitor, Depends(require(Permission.TRANSFER))]
) -> None:
    """Hand a task to another reviewer."""
    await _own(at, who, held)
    colleague = door.book.get(held.to)
    if colleague is None or colleague.disabled or not reviews(colleague.roles):
        raise AccountError(f"{held.to} is nobody who reviews here")
    who.detail = held.to
    await at.queue.transfer(held.event_id, held.token, held.to, held.note)


@router.post("/escalations", status_code=204)
async def escalate(
    held: HeldWithNote, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.ESCALATE))]
) -> None:
    """Leave a task to a lead."""
    await _own(at, who, held)
    await at.queue.escalate(held.event_id, held.token, held.note)


@router.post("/reviews", status_code=202)
async def force(
    wanted: ReviewRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.FORCE_REVIEW))]
) -> dict[str, bool]:
    """Have an event reviewed whatever became of it; it goes to the front. False: it was waiting already."""
    who.seen.append(wanted.event_id)
    who.detail = wanted.note
    task = await _task(at, wanted.event_id)
    return {"added": await at.queue.force(task, who.name, wanted.note)}


@router.get("/similar")
async def similar(
    event_id: AskedEvent, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_TASK, logged=False))]
) -> list[SimilarTask]:
    """Tasks that wait, or that the caller holds, whose images look like this one's, nearest first."""
    alike = dict(await at.queue.similar(event_id, _SIMILAR))
    task, _ = await at.queue.find(event_id)
    for mine in await _held_by(at, who):
        bits = _distance(task.pdq, mine.task.pdq)
        if mine.task.event_id != event_id and bits is not None and bits <= at.review.near_duplicate_bits:
            alike[mine.task.event_id] = bits
    return [SimilarTask(event_id=name, distance=alike[name]) for name in sorted(alike, key=lambda name: alike[name])]


@router.get("/history")
async def history(
    event_id: AskedEvent, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_TASK, logged=False))]
) -> list[EarlierVerdict]:
    """What was said of the same image before, by the ledger; nothing while the task is to be judged blind."""
    task, entry = await at.queue.find(event_id)
    if task.blind or entry.answers or task.content_sha256 is None:
        return []
    return [
        EarlierVerdict(event_id=each.event_id, label=said.label, reviewer=said.reviewer, given_at=said.given_at)
        for each in await at.desk.earlier(task.content_sha256, but=event_id)
        if (said := each.verdict) is not None
    ]


@router.get("/image", response_class=Response, responses=_JPEG)
async def image(
    event_id: AskedEvent, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_TASK))]
) -> Response:
    """The image of an event, drawn anew by the server: of a task in the queue, or of any decision of the ledger's."""
    who.seen.append(event_id)
    content = await at.images.jpeg((await _task(at, event_id)).image)
    return Response(content, media_type="image/jpeg", headers={"cache-control": "private, max-age=600"})


async def _held_by(at: Parts, who: Visitor) -> list[Claim]:
    """What the caller works on, in the order of claiming; without what they put on hold."""
    mine = []
    for entry in await at.queue.claimed(_HELD):
        if entry.held and entry.lease is not None and entry.lease.holder == who.name and entry.lease.kind is None:
            try:
                task, now = await at.queue.find(entry.event_id)
            except NotWaitingError:
                continue  # decided meanwhile
            if now.held and now.lease is not None and now.lease.holder == who.name:
                mine.append(Claim(task, now, now.lease))
    return sorted(mine, key=lambda claim: claim.lease.token)


def _distance(one: str | None, other: str | None) -> int | None:
    """Bits in which two perceptual hashes differ; None where there are not two."""
    return None if one is None or other is None else (int(one, 16) ^ int(other, 16)).bit_count()


async def _task(at: Parts, event_id: str) -> ReviewTask:
    """The task of an event, waiting or not."""
    try:
        return (await at.queue.find(event_id))[0]
    except NotWaitingError:
        return await at.desk.task_of(event_id)


async def _own(at: Parts, who: Visitor, held: Held) -> None:
    """Refuse what somebody else holds: tokens are counted up, so knowing one proves nothing.

    Raises:
        NotHeldError, AlreadyDecidedError, NotWaitingError: it is not the caller's.
    """
    _, entry = await at.queue.find(held.event_id)
    if entry.lease is None or entry.lease.holder != who.name:
        now = f"{entry.lease.holder} holds it now" if entry.lease is not None and entry.held else "nobody holds it now"
        raise NotHeldError(f"{held.event_id}: you do not hold it, and {now}")
