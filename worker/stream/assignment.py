"""What the stream hands out, and what it remembers of a partition between its gain and its loss."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from kafka import TopicPartition

from review.task import RecordPosition
from worker.stream.offsets import OffsetTracker


class FatalStreamError(Exception):
    """The stream cannot go on, and waiting will not help; the message names topic, partition and offset."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One record as it came from Kafka: raw bytes, nothing decoded."""

    position: RecordPosition
    key: bytes | None
    value: bytes
    """Empty for a tombstone."""
    headers: tuple[tuple[str, bytes], ...]
    """In their order; Kafka's null is empty here."""
    timestamp_ms: int
    """The record's own time, in milliseconds since 1970."""
    received_at: float
    """Seconds on the stream's monotonic clock."""

    @property
    def size(self) -> int:
        """Bytes of key, value and headers."""
        headers = sum(len(name) + len(value) for name, value in self.headers) if self.headers else 0
        return len(self.value) + len(self.key or b"") + headers


@dataclass(eq=False, slots=True)
class Assignment:
    """One assignment of one partition to this worker."""

    partition: TopicPartition
    tracker: OffsetTracker = field(default_factory=OffsetTracker)
    committed: int | None = None
    """The offset that Kafka last acknowledged."""
    arrivals: deque[tuple[int, float]] = field(default_factory=deque)
    """Last offset and time of each poll's records that are not yet committed."""

    def to_commit(self) -> int | None:
        """The offset to commit; None when it would say nothing new."""
        offset = self.tracker.committable
        return None if offset == self.committed else offset

    def acknowledged(self, offset: int) -> None:
        """Take note that Kafka has committed `offset`."""
        self.committed = offset
        while self.arrivals and self.arrivals[0][0] < offset:
            self.arrivals.popleft()
