"""For whoever runs the console: whether it lives, whether it can work, and its metrics."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from review import telemetry
from review.access.refusals import AccessError
from review.api.parts import AtDoor, AtHand
from review.lease import QueueError

router = APIRouter(include_in_schema=False)


@router.get("/healthz")
async def alive() -> Response:
    """The process answers."""
    return Response("alive\n", media_type="text/plain")


@router.get("/ready")
async def ready(at: AtHand, door: AtDoor) -> Response:
    """Whether people can be let in and work."""
    problems = []
    try:
        await at.queue.figures()
    except (QueueError, AccessError) as error:
        problems.append(str(error))
    if not door.book.all():
        problems.append("there is no account: `tidegate review users add NAME --role admin`")
    return JSONResponse({"ready": not problems, "problems": problems}, 503 if problems else 200)


@router.get("/metrics")
async def metrics() -> Response:
    """For Prometheus."""
    return Response(telemetry.exposition(), media_type=telemetry.CONTENT_TYPE)
