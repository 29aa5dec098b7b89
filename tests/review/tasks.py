"""Review tasks to test with, and short ways to do with the queue what most tests do."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from redis import Redis

from calibration.audit import Audit
from calibration.gate import Reason
from calibration.outcome import ParseStatus, Signals
from deploy.local import EmbeddedValkey
from review.lease import Claim
from review.queue import ReviewQueue
from review.task import Alternative, KeyReference, Reasoning, ReviewTask, Versions

LABELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")


def make_task(event_id: str = "event-1", *, waiting_s: float = 0.0, **changes: Any) -> ReviewTask:
    """A task as a worker makes it, `waiting_s` ago."""
    decided_at = datetime.now(UTC) - timedelta(seconds=waiting_s)
    fields: dict[str, Any] = {
        "event_id": event_id,
        "image": KeyReference(key=f"photos/{event_id}.jpg"),
        "content_sha256": "0" * 64,
        "taxonomy": "emoset-8",
        "labels": LABELS,
        "priority": 50,
        "reason": Reason.NO_CERTIFICATE,
        "blind": False,
        "label": "awe",
        "alternatives": (Alternative(label="awe", probability=0.7), Alternative(label="fear", probability=0.3)),
        "reasoning": Reasoning(
            element="a grey cliff",
            human="one small figure",
            context="dusk at the sea",
            interaction="the figure looks up",
            analysis="the height overwhelms",
        ),
        "signals": Signals(parse_status=ParseStatus.OK, verbal_confidence=0.8125, label_probability=0.7),
        "versions": Versions(model="m", prompt="p", decoder="d", calibrator="none", policy="none", gate="closed"),
        "created_at": decided_at,
        "decided_at": decided_at,
    }
    return ReviewTask(**fields | changes)


def blind_task(event_id: str = "event-1") -> ReviewTask:
    """A task that was drawn for an audit."""
    return make_task(event_id, blind=True, reason=Reason.AUDIT, audit=Audit(selected=True, propensity=0.02))


async def until(condition: Callable[[], Awaitable[bool]], deadline_s: float = 10.0) -> None:
    """Wait for something that the queue's server does with time."""
    async with asyncio.timeout(deadline_s):
        while not await condition():  # noqa: ASYNC110 - what changes is in another process
            await asyncio.sleep(0.01)


async def claimed(queue: ReviewQueue, reviewer: str = "ada") -> Claim:
    """The next task; there must be one."""
    claim = await queue.claim(reviewer)
    assert claim is not None
    return claim


async def decide(queue: ReviewQueue, claim: Claim) -> None:
    await queue.complete(claim.task.event_id, claim.lease.token)


async def runs_out(queue: ReviewQueue) -> None:
    async def none_is_held() -> bool:
        return (await queue.figures()).claimed == 0

    await until(none_is_held)


def keys(valkey: EmbeddedValkey) -> Redis:
    return Redis.from_url(valkey.url)
