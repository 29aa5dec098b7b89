"""The queue as a whole: for those who look after it, and for those who work in it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from review.access.door import Visitor
from review.access.roles import Permission
from review.access.web import LoggedRoute, require
from review.api.parts import AtHand
from review.api.requests import Entries, entry_view

router = APIRouter(tags=["queue"], route_class=LoggedRoute)
_Seer = Annotated[Visitor, Depends(require(Permission.SEE_OVERVIEW, logged=False))]


@router.get("/queue")
async def figures(at: AtHand, who: _Seer) -> dict[str, Any]:
    """The queue in numbers: depth, ages, shares, leases that ran out, Valkey's memory."""
    return asdict(await at.queue.figures())


@router.get("/queue/entries")
async def entries(at: AtHand, who: _Seer, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Entries:
    """Who holds what, what waits for a lead, and what is claimed next."""
    return Entries(
        claimed=[entry_view(each) for each in await at.queue.claimed(limit)],
        for_leads=[entry_view(each) for each in await at.queue.for_leads(limit)],
        waiting=[entry_view(each) for each in await at.queue.waiting(limit)],
    )
