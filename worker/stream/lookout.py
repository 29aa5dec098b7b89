"""Looks at the partitions every second: lag, stalls, and whether Kafka answers at all."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import structlog
from kafka import TopicPartition
from kafka.errors import RetriableError

from worker import telemetry
from worker.settings import StreamSettings
from worker.stream.assignment import Assignment
from worker.stream.outage import Outage
from worker.stream.watchdog import Sighting, Watchdog
from worker.stream.window import Window

log = structlog.get_logger()

_LOOK_S = 1.0
_ASK_S = 5.0
_ASK_TIMEOUT_MS = 1_000


class Lookout:
    """Keeps the gauges, feeds the watchdog and says what it finds. For the thread that owns the client."""

    def __init__(
        self, topic: str, settings: StreamSettings, window: Window, outage: Outage, clock: Callable[[], float]
    ) -> None:
        self._nobodys = TopicPartition(topic, 0)
        self._ask_s = min(_ASK_S, settings.outage_s / 4)
        self._window = window
        self._outage = outage
        self._clock = clock
        self._watchdog = Watchdog(settings.stall_warn_s)
        self._ends: dict[TopicPartition, int] = {}
        self._heard = False
        self._look_at = self._ask_at = clock()

    def heard(self) -> None:
        """Note that records have come: Kafka is there."""
        self._heard = True
        self._outage.over()

    def turn(self, client: Any, assignments: Collection[Assignment], *, paused: bool) -> None:
        """Look when it is time.

        Raises:
            OutageError: Kafka has not answered for too long.
        """
        now = self._clock()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_S
        if now >= self._ask_at:
            self._ask_at = now + self._ask_s
            self._ask(client, [each.partition for each in assignments] or [self._nobodys])
        sightings = [self._sight(client, each, paused) for each in assignments]
        stalled, moving = self._watchdog.look(now, sightings, self._window.left)
        for seen in stalled:
            log.warning("partition stalled", paused=paused, **_details(seen, now))
        for seen in moving:
            log.info("partition moves again", partition=seen.assignment.partition.partition, position=seen.position)
        telemetry.EVENTS_IN_FLIGHT.set(self._window.events)
        telemetry.BYTES_IN_FLIGHT.set(self._window.bytes)
        telemetry.PARTITIONS_ASSIGNED.set(len(assignments))
        telemetry.PARTITIONS_PAUSED.set(len(assignments) if paused else 0)
        telemetry.PARTITIONS_STALLED.set(len(self._watchdog.stalled(now)))
        oldest = min((each.arrivals[0][1] for each in assignments if each.arrivals), default=now)
        telemetry.OLDEST_UNCOMMITTED.set(now - oldest)

    def stalled(self) -> dict[int, float]:
        """For each stalled partition how many seconds it has been behind without moving. From any thread."""
        return {each.partition.partition: seconds for each, seconds in self._watchdog.stalled(self._clock()).items()}

    def _ask(self, client: Any, partitions: list[TopicPartition]) -> None:
        """Ask Kafka where the partitions end. That it answers tells of outages, which polls pass over in silence; what
        it answers tells of partitions that the client forgets to fetch."""
        try:
            self._ends = client.end_offsets(partitions, timeout_ms=_ASK_TIMEOUT_MS)
        except RetriableError as error:
            if not self._heard:  # else one of the partitions has no leader just now
                self._outage.failed(error)
        else:
            self._outage.over()
        self._heard = False

    def _sight(self, client: Any, assignment: Assignment, paused: bool) -> Sighting:
        partition = assignment.partition
        oldest = assignment.tracker.oldest
        position = client.position(partition, timeout_ms=0) if oldest is None else oldest
        end = max(client.highwater(partition) or 0, self._ends.get(partition) or 0)
        behind = 1 if position is None else max(0, end - position)
        telemetry.LAG.labels(partition.partition).set(behind)
        return Sighting(
            assignment=assignment,
            position=position,
            behind=0 if self._outage.active else behind,
            waiting=paused and oldest is None,
        )


def _details(seen: Sighting, now: float) -> dict[str, object]:
    assignment = seen.assignment
    return {
        "partition": assignment.partition.partition,
        "position": seen.position,
        "behind": seen.behind,
        "committed": assignment.committed,
        "oldest_in_flight": assignment.tracker.oldest,
        "oldest_uncommitted_s": round(now - assignment.arrivals[0][1], 1) if assignment.arrivals else None,
    }
