"""What the console's process does by itself: compare the queue with the topics, mix golden items in, count."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime

import structlog
from kafka.errors import KafkaError

from calibration.ledger.topic import TopicGapError
from calibration.settings import KafkaSettings
from review import telemetry
from review.golden import GoldenError, mix, read_items
from review.lease import QueueError
from review.queue import ReviewQueue
from review.reconcile import Difference, watch
from review.settings import ConsoleSettings
from review.truth import Truth

log = structlog.get_logger()

_FIGURES_S = 15.0


class Upkeep:
    """Three loops. Any number of processes may run them; golden items are mixed in by the one with a share set."""

    def __init__(self, kafka: KafkaSettings, queue: ReviewQueue, settings: ConsoleSettings) -> None:
        self.difference: Difference | None = None
        self.compared_at: datetime | None = None
        self._kafka = kafka
        self._queue = queue
        self._settings = settings
        self._loops: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin."""
        self._loops.append(asyncio.create_task(self._count()))
        if self._settings.check_queue_every_s:
            truth = Truth(self._kafka, self._queue.wants_second_answer)
            every_s = self._settings.check_queue_every_s
            self._loops.append(asyncio.create_task(watch(truth, self._queue, self._compared, every_s=every_s)))
        if self._settings.golden_share:
            self._loops.append(asyncio.create_task(self._mix()))

    async def close(self) -> None:
        """End."""
        for loop in self._loops:
            loop.cancel()
        await asyncio.gather(*self._loops, return_exceptions=True)

    def _compared(self, difference: Difference) -> None:
        self.difference, self.compared_at = difference, datetime.now(UTC)
        telemetry.compared(difference)

    async def _count(self) -> None:
        while True:
            try:
                figures = await self._queue.figures()
            except QueueError as error:
                log.warning("queue not counted", error=str(error))
            else:
                telemetry.count(figures)
            await asyncio.sleep(_FIGURES_S)

    async def _mix(self) -> None:
        """As many as the share asks for, of the tasks that were decided since the last time."""
        draw, owed, before = random.SystemRandom(), 0.0, None
        while True:
            try:
                decided = (await self._queue.figures()).decided
                owed += self._settings.golden_share * max(0, decided - (decided if before is None else before))
                before = decided
                if owed >= 1.0:
                    items = list((await asyncio.to_thread(read_items, self._kafka)).values())
                    put = await mix(self._queue, items, int(owed), draw)
                    owed -= int(owed)
                    log.info("golden items mixed in", count=put)
            except (QueueError, GoldenError, KafkaError, TopicGapError) as error:
                log.warning("golden items not mixed in", error=str(error))
            await asyncio.sleep(self._settings.golden_every_s)
