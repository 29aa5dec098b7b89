"""What became of the events that were sent: read from the topics themselves, independently of the worker."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

import structlog
from kafka import KafkaConsumer
from kafka.errors import KafkaError
from kafka.structs import TopicPartition

from calibration.settings import KafkaSettings, TopicName
from worker.events import DeadLetter, Decision

log = structlog.get_logger()

_RECENT = 500
_WATCHED: tuple[TopicName, ...] = ("decisions", "dead-letters", "verdicts")


@dataclass(slots=True)
class Tally:
    """Counts outcomes against what was sent. Not thread-safe: used from the event loop."""

    sent: int = 0
    decisions: int = 0
    dead_letters: int = 0
    verdicts: int = 0
    duplicates: int = 0
    """Outcomes of events that were never sent, or had one already."""
    routes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    waiting: set[str] = field(default_factory=set)
    """Events without an outcome."""
    latencies: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT))
    """Seconds from arrival at the worker to the decision, of the last decisions."""
    recent: deque[Decision] = field(default_factory=lambda: deque(maxlen=8))

    def send(self, event_id: str) -> None:
        """An event is about to be sent."""
        self.sent += 1
        self.waiting.add(event_id)

    def decide(self, decision: Decision) -> None:
        """A decision was read from its topic."""
        self._settle(decision.event_id)
        self.decisions += 1
        self.routes[decision.route.value] += 1
        self.reasons[decision.reason.value] += 1
        self.latencies.append(decision.timings.total)
        self.recent.appendleft(decision)

    def bury(self, letter: DeadLetter) -> None:
        """A dead letter was read from its topic."""
        self._settle(letter.event_id)
        self.dead_letters += 1
        self.reasons[letter.reason.value] += 1

    def _settle(self, event_id: str | None) -> None:
        if event_id in self.waiting:
            self.waiting.remove(event_id)
        else:
            self.duplicates += 1

    @property
    def settled(self) -> int:
        """Outcomes read so far."""
        return self.decisions + self.dead_letters

    def latency(self, quantile: float) -> float | None:
        """A quantile of the recent latencies, in seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else None


class OutcomeWatch:
    """Reads the outcome topics from their start, in a thread, into a tally on the event loop."""

    def __init__(self, kafka: KafkaSettings, tally: Tally) -> None:
        self._kafka = kafka
        self._tally = tally
        self._loop = asyncio.get_running_loop()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, name="outcomes", daemon=True)
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin to read."""
        self._thread.start()

    async def stop(self) -> None:
        """Read what is there by now, and end."""
        self._stopping.set()
        await asyncio.to_thread(self._thread.join)

    def _read(self) -> None:
        names: dict[str, TopicName] = {self._kafka.topic(name): name for name in _WATCHED}
        try:
            consumer = KafkaConsumer(
                **self._kafka.connection(),
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                fetch_max_wait_ms=50,
                reconnect_backoff_max_ms=1_000,  # the default is half a minute
            )
        except KafkaError as error:
            self.error = error
            return
        try:
            partitions = [TopicPartition(t, p) for t in names for p in sorted(consumer.partitions_for_topic(t) or ())]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            empty = 0
            while empty < 3:  # once asked to stop, three polls without a record mean that all is read
                batches = consumer.poll(timeout_ms=100, max_records=1000)
                records = [(names[at.topic], record) for at, batch in batches.items() for record in batch]
                if records:
                    self._loop.call_soon_threadsafe(self._take, records)
                empty = empty + 1 if self._stopping.is_set() and not records else 0
        except Exception as error:  # shown by the view, and the count fails
            log.exception("reading outcomes failed")
            self.error = error
        finally:
            consumer.close()

    def _take(self, records: list[tuple[TopicName, Any]]) -> None:
        for name, record in records:
            if name == "decisions":
                self._tally.decide(Decision.model_validate_json(record.value))
            elif name == "dead-letters":
                self._tally.bury(DeadLetter.from_record(record.value, record.headers))
            else:
                self._tally.verdicts += 1
