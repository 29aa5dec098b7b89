"""What the benchmarks share: events put into a rig, and when each came out."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

from deploy.outcomes import Tally
from deploy.rig import Rig
from worker.events import Decision, ImageEvent
from worker.feed import feed

SEED = 7
"""Of the drawn scenes: the tiny checkpoint has seen none of these."""


class Recorder(Tally):
    """Keeps when each event was created, arrived at the worker and was decided, in seconds since 1970."""

    def __init__(self) -> None:
        super().__init__()
        self.created: list[float] = []
        self.arrived: list[float] = []
        self.decided: list[float] = []

    def decide(self, decision: Decision) -> None:
        """A decision was read from its topic."""
        super().decide(decision)
        decided = decision.decided_at.timestamp()
        self.created.append(decision.created_at.timestamp())
        self.arrived.append(decided - decision.timings.total)
        self.decided.append(decided)


async def send(system: Rig, events: Iterator[ImageEvent], count: int, rate: float | None = None) -> None:
    """Send the next `count` events, at `rate` per second at most."""

    def tallied() -> Iterator[ImageEvent]:
        for event in itertools.islice(events, count):
            system.tally.send(event.event_id)
            yield event

    await feed(tallied(), system.kafka, rate=rate)


async def settled(system: Rig, count: int) -> None:
    """Wait until this many events have an outcome.

    Raises:
        RuntimeError: the worker ended before.
    """
    while system.tally.settled < count:
        if system.worker.ended:
            raise RuntimeError(f"the worker ended; the end of its log:\n{system.worker.log_tail()}")
        await asyncio.sleep(0.02)
