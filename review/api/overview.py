"""The queue as a whole: for those who look after it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query

from review.access.roles import Permission
from review.access.web import Visitor, require
from review.api.parts import Parts, parts
from review.api.requests import Entries, entry_view

router = APIRouter(tags=["queue"])
_Parts = Annotated[Parts, Depends(parts)]
_Seer = Annotated[Visitor, Depends(require(Permission.SEE_OVERVIEW))]


@router.get("/queue")
async def figures(at: _Parts, who: _Seer) -> dict[str, Any]:
    """The queue in numbers: depth, ages, shares, leases that ran out, Valkey's memory."""
    return asdict(await at.queue.figures())


@router.get("/queue/entries")
async def entries(at: _Parts, who: _Seer, limit: Annotated[int, Query(ge=1, le=1000)] = 50) -> Entries:
    """Who holds what, first to run out first, and what is claimed next."""
    return Entries(
        claimed=[entry_view(each) for each in await at.queue.claimed(limit)],
        waiting=[entry_view(each) for each in await at.queue.waiting(limit)],
    )
