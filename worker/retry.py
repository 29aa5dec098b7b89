"""Patience: exponential backoff with full jitter, bounded by tries or by time."""

from __future__ import annotations

import random
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import TypeVar

import structlog

from worker import telemetry

T = TypeVar("T")
log = structlog.get_logger()


class OutageError(Exception):
    """Something that every event needs has been away for too long. The worker exits uncommitted; nothing is lost."""


def backoff(base_s: float = 0.25, cap_s: float = 10.0, source: random.Random | None = None) -> Iterator[float]:
    """Endless pauses in seconds, uniform in [0, min(cap, base * 2^n)] (full jitter)."""
    uniform = (source or random).uniform
    limit = base_s
    while True:
        yield uniform(0.0, limit)
        limit = min(cap_s, 2 * limit)


async def persist(
    part: str,
    action: Callable[[], Awaitable[T]],
    *,
    retriable: type[Exception] | tuple[type[Exception], ...],
    patience_s: float,
    sleep: Callable[[float], Awaitable[None]],
    clock: Callable[[], float] = time.monotonic,
) -> T:
    """Repeat an action that must succeed before anything else may, until it does.

    Raises:
        OutageError: it has failed for longer than `patience_s`.
    """
    give_up_at: float | None = None
    for pause in backoff():
        try:
            return await action()
        except retriable as error:
            now = clock()
            if give_up_at is None:
                give_up_at = now + patience_s
                log.warning("waiting", part=part, error=str(error), patience_s=patience_s)
            if now + pause >= give_up_at:
                raise OutageError(f"{part} has been failing for {patience_s:.0f} s: {error}") from error
            telemetry.RETRIES.labels(part=part).inc()
            await sleep(pause)
    raise AssertionError("backoff() never ends")
