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
from pydantic import AwareDatetime, ConfigDict, Field

from calibration.standing.contracts import Diagrams, Item, ItemVerdict, Standing
from calibration.whatif.contracts import Answer
from calibration.whatif.question import Question
from review.access.door import Visitor
from review.access.refusals import ForbiddenError
from review.access.roles import Permission, reviews
from review.access.web import LoggedRoute, require
from review.agreement import Reviewer
from review.analysis.charts import OF_STANDING, Drawn, Tabled, rows, svg
from review.api.parts import AtHand, Parts
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


class Moved(Question):
    """A question that knows all its knobs: a typing mistake does not pass for one that was left alone."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WhatIfRequest(Request):
    """What is to be moved."""

    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    question: Moved
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
    judged: bool | None = None
    wrong: bool | None = None
    audited: bool | None = None
    would_pass: bool | None = None
    low: Annotated[float | None, Field(ge=0, le=1)] = None
    high: Annotated[float | None, Field(ge=0, le=1)] = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None


class ItemsAsked(ItemFilter):
    """And how many of them."""

    limit: Annotated[int, Field(ge=1, le=_MOST_ITEMS)] = 100


@router.get("/standing")
async def standing(at: AtHand, who: _Seer, taxonomy: _Taxonomy, hours: _Hours = 48) -> Standing:
    """Traffic, the error of what passed against its promise, audits, the queue's forecast, drift."""
    return await _standing(at, taxonomy, hours)


@router.get("/diagrams")
async def diagrams(at: AtHand, who: _Seer, taxonomy: _Taxonomy) -> Diagrams:
    """Reliability, risk against coverage, scores, and tables by label and source."""
    return await at.desk.diagrams(taxonomy)


@router.get("/charts/{chart}", response_class=Response, responses={200: {"content": {"image/svg+xml": {}}}})
async def chart_svg(chart: Drawn, at: AtHand, who: _Seer, taxonomy: _Taxonomy, hours: _Hours = 48) -> Response:
    """A chart for a page, whose style sheet colours it. `hours`: of traffic."""
    found = await _figures(at, chart, taxonomy, hours)
    return Response(await asyncio.to_thread(svg, chart, found), media_type="image/svg+xml")


@router.get("/charts/{chart}/png", response_class=Response, responses={200: {"content": {"image/png": {}}}})
async def chart_png(chart: Drawn, at: AtHand, who: _Exporter, taxonomy: _Taxonomy, hours: _Hours = 48) -> Response:
    """The chart as a picture."""
    who.detail = f"{chart} of {taxonomy}, png"
    found = await _figures(at, chart, taxonomy, hours)
    content = await asyncio.to_thread(_png, chart, found)
    headers = {"content-disposition": f'attachment; filename="{chart}.png"'}
    return Response(content, media_type="image/png", headers=headers)


@router.get("/charts/{chart}/csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def chart_csv(chart: Tabled, at: AtHand, who: _Exporter, taxonomy: _Taxonomy, hours: _Hours = 48) -> Response:
    """The numbers behind a chart, or a table."""
    who.detail = f"{chart} of {taxonomy}, csv"
    return _table(chart, rows(chart, await _figures(at, chart, taxonomy, hours)))


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
    asked: Annotated[ItemsAsked, Query()],
) -> list[Item]:
    """The newest events of which all this holds; audits that wait for an answer are kept from those who may give it."""
    found = _not_blind(who, await at.desk.items(**asked.model_dump()))
    who.seen += [item.event_id for item in found]
    return found


@router.get("/items/csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def items_csv(at: AtHand, who: _Exporter, asked: Annotated[ItemFilter, Query()]) -> Response:
    """The same as a table, at most 100,000 of them."""
    found = _not_blind(who, await at.desk.items(**asked.model_dump(), limit=_MOST_EXPORTED))
    who.detail = f"{len(found)} items: {asked.model_dump_json(exclude_none=True)}"
    return _table("items", await asyncio.to_thread(lambda: [_flat(item) for item in found]))


@router.get("/item")
async def item(
    at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_FIGURES))], event_id: AskedEvent
) -> Item:
    """One event, by the decision that counts."""
    who.seen.append(event_id)
    found = await at.desk.item(event_id)
    if not _not_blind(who, [found]):
        raise ForbiddenError(f"{event_id} waits for a blind answer, which you may be the one to give")
    return found


@router.get("/agreement")
async def agreement(
    at: AtHand, who: Annotated[Visitor, Depends(require(Permission.SEE_AGREEMENT))]
) -> dict[str, dict[str, Any]]:
    """Krippendorff's alpha by taxonomy, what reviewers confuse, and each beside the others."""
    return {name: asdict(report) for name, report in (await at.desk.agreement()).items()}


@router.get("/agreement/csv", response_class=Response, responses={200: {"content": {"text/csv": {}}}})
async def agreement_csv(at: AtHand, who: _Exporter, taxonomy: _Taxonomy) -> Response:
    """Each reviewer beside the others, as a table."""
    who.require(Permission.SEE_AGREEMENT)
    who.detail = f"reviewers of {taxonomy}, csv"
    report = (await at.desk.agreement()).get(taxonomy)
    return _table("reviewers", [] if report is None else [_beside(each) for each in report.reviewers])


def _not_blind(who: Visitor, found: Sequence[Item]) -> list[Item]:
    """Without what they may be asked to judge blind."""
    return [each for each in found if not (each.audited and each.verdict is None and reviews(who.roles))]


async def _figures(at: Parts, chart: Tabled, taxonomy: str, hours: int) -> Standing | Diagrams:
    """What a chart is drawn of."""
    return await (_standing(at, taxonomy, hours) if chart in OF_STANDING else at.desk.diagrams(taxonomy))


async def _standing(at: Parts, taxonomy: str, hours: int) -> Standing:
    waiting = (await at.queue.figures()).by_taxonomy.get(taxonomy, 0)
    return await at.desk.standing(taxonomy, waiting, hours)


def _png(chart: Drawn, found: Standing | Diagrams) -> bytes:
    from review.analysis.plots import png  # noqa: PLC0415 - matplotlib takes a second to import, and few need it

    return png(chart, found)


def _table(name: str, lines: Sequence[Mapping[str, object]]) -> Response:
    """Lines as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(lines[0]) if lines else ["empty"])
    writer.writeheader()
    writer.writerows({key: _plain(value) for key, value in line.items()} for line in lines)
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


def _beside(reviewer: Reviewer) -> dict[str, object]:
    """Intervals in three columns."""
    fields: dict[str, object] = {}
    for name, value in asdict(reviewer).items():
        if name in {"agreeing", "upheld", "right"}:
            found = value or {"value": None, "low": None, "high": None}
            fields |= {name: found["value"], f"{name}_low": found["low"], f"{name}_high": found["high"]}
        else:
            fields[name] = value
    return fields
