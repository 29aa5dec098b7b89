"""What analysts ask: how a taxonomy stands, what would be, how good the scores are, and the events behind it all."""

from __future__ import annotations

import asyncio
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Response
from pydantic import AwareDatetime, Field

from calibration.standing.contracts import Diagrams, Item, ItemVerdict, Standing
from calibration.whatif.contracts import Answer
from calibration.whatif.question import Question
from review.access.door import Visitor
from review.access.roles import Permission
from review.access.web import LoggedRoute, require
from review.api.parts import AtHand
from review.api.requests import AskedEvent, Request

router = APIRouter(prefix="/analysis", tags=["analysis"], route_class=LoggedRoute)
_Seer = Annotated[Visitor, Depends(require(Permission.SEE_FIGURES, logged=False))]
_Exporter = Annotated[Visitor, Depends(require(Permission.EXPORT))]
_Taxonomy = Annotated[str, Query(min_length=1, max_length=128)]
_Word = Annotated[str | None, Query(min_length=1, max_length=256)]
_Share = Annotated[float | None, Query(ge=0, le=1)]
_Hours = Annotated[int, Query(ge=1, le=24 * 28)]
_MOST_ITEMS, _MOST_EXPORTED = 500, 100_000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


class WhatIfRequest(Request):
    """What is to be moved."""

    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    question: Question
    examples: Annotated[int, Field(ge=0, le=100)] = 12
    """Images that would change their route, of each direction."""


class ItemFilter(Request):
    """Of which decisions all must hold; see `calibration.standing.items.items`."""

    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    gate: Annotated[str | None, Field(max_length=256)] = None
    route: Annotated[str | None, Field(max_length=64)] = None
    reason: Annotated[str | None, Field(max_length=64)] = None
    label: Annotated[str | None, Field(max_length=128)] = None
    source: Annotated[str | None, Field(max_length=256)] = None
    wrong: bool | None = None
    audited: bool | None = None
    would_pass: bool | None = None
    low: Annotated[float | None, Field(ge=0, le=1)] = None
    high: Annotated[float | None, Field(ge=0, le=1)] = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


@router.get("/standing")
async def standing(at: AtHand, who: _Seer, taxonomy: _Taxonomy, hours: _Hours = 48) -> Standing:
    """Traffic, the error of what passed against its promise, audits, the queue's forecast, drift."""
    waiting = (await at.queue.figures()).by_taxonomy.get(taxonomy, 0)
    return await at.desk.standing(taxonomy, waiting, hours)


@router.get("/diagrams")
async def diagrams(at: AtHand, who: _Seer, taxonomy: _Taxonomy) -> Diagrams:
    """Reliability, risk against coverage, scores, and tables by label and source."""
    return await at.desk.diagrams(taxonomy)


@router.post("/what-if")
async def what_if(
    wanted: WhatIfRequest, at: AtHand, who: Annotated[Visitor, Depends(require(Permission.WHAT_IF, logged=False))]
) -> Answer:
    """The platform under another policy, beside the present one."""
    return await at.desk.what_if(wanted.taxonomy, wanted.question, wanted.examples)


@router.get("/items")
async def items(
    at: AtHand,
    who: Annotated[Visitor, Depends(require(Permission.SEE_FIGURES))],
    asked: Annotated[ItemFilter, Query()],
    limit: Annotated[int, Query(ge=1, le=_MOST_ITEMS)] = 100,
) -> list[Item]:
    """The newest events of which all this holds."""
    found = await at.desk.items(**asked.model_dump(), limit=limit)
    who.seen += [item.event_id for item in found]
    return list(found)


@router.get("/items/csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def items_csv(at: AtHand, who: _Exporter, asked: Annotated[ItemFilter, Query()]) -> Response:
    """The same as a table, at most 100,000 of them."""
    found = await at.desk.items(**asked.model_dump(), limit=_MOST_EXPORTED)
    who.detail = f"{len(found)} items: {asked.model_dump_json(exclude_none=True)}"
    return _table("items", await asyncio.to_thread(lambda: [_flat(item) for item in found]))


@router.get("/item")
async def item(
    at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_FIGURES))], event_id: AskedEvent
) -> Item:
    """One event, by the decision that counts."""
    who.seen.append(event_id)
    return await at.desk.item(event_id)


@router.get("/agreement")
async def agreement(
    at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_AGREEMENT))]
) -> dict[str, dict[str, Any]]:
    """Krippendorff's alpha by taxonomy, what reviewers confuse, and each beside the others."""
    return {name: asdict(report) for name, report in (await at.desk.agreement()).items()}


def _table(name: str, rows: Sequence[Mapping[str, object]]) -> Response:
    """Rows as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else ["empty"])
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in row.items()} for row in rows)
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Response(text.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _plain(value: object) -> object:
    """What a spreadsheet would take for a formula, and a time as ISO 8601."""
    if isinstance(value, datetime):
        return value.isoformat()
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else value


def _flat(item: Item) -> dict[str, object]:
    fields = item.model_dump(exclude={"verdict", "partition", "offset"})
    said = item.verdict
    verdict = {f"verdict_{name}": None if said is None else getattr(said, name) for name in ItemVerdict.model_fields}
    return fields | verdict
