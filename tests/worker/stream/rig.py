"""A stream under test: real Kafka on one side, events that end when the test says so on the other."""

from __future__ import annotations

import asyncio
from collections import Counter
from types import TracebackType
from typing import Any, Self

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition

from calibration.settings import KafkaSettings
from tests.waiting import eventually
from worker.settings import StreamSettings
from worker.stream.consumer import Arrival, ImageStream

# A join on the embedded broker takes half of the session timeout.
_QUICK = {
    "poll_ms": 20,
    "fetch_max_wait_ms": 50,
    "session_timeout_ms": 2000,
    "heartbeat_interval_ms": 200,
    "commit_interval_s": 0.05,
}


refused = pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")
"""For tests in which connections are refused, beside the fixture `refused_connections`."""


def make_topic(kafka: KafkaSettings, partitions: int = 1) -> None:
    """Create the images topic."""
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        options = {"num_partitions": partitions, "replication_factor": 1}
        admin.create_topics({kafka.topic("images"): options}, wait_for_metadata=True)
    finally:
        admin.close()


def fill(kafka: KafkaSettings, count: int, partition: int = 0, size: int = 10) -> None:
    """Put records on one partition of the images topic."""
    producer = KafkaProducer(bootstrap_servers=kafka.bootstrap_servers, linger_ms=5)
    try:
        value = b"v" * size
        sent = [producer.send(kafka.topic("images"), value, b"k", [("h", b"1")], partition) for _ in range(count)]
        for each in sent:
            each.get(10)
    finally:
        producer.close()


def committed(kafka: KafkaSettings, partition: int = 0) -> int | None:
    """What the group has committed, as Kafka tells it."""
    consumer = KafkaConsumer(
        bootstrap_servers=kafka.bootstrap_servers, group_id=kafka.topic_prefix, enable_auto_commit=False
    )
    try:
        offset = consumer.committed(TopicPartition(kafka.topic("images"), partition))
        assert offset is None or isinstance(offset, int)
        return offset
    finally:
        consumer.close()


async def until(condition: Any, deadline_s: float = 10.0) -> Any:
    """Wait for a condition beside the event loop, so that the stream under test goes on."""
    return await asyncio.to_thread(eventually, condition, deadline_s)


class Rig:
    """One worker's stream, running for the length of its block and drained at the end unless it ended by itself."""

    def __init__(self, kafka: KafkaSettings, **settings: Any) -> None:
        self.stream = ImageStream(
            kafka, StreamSettings(group_id=kafka.topic_prefix, **{**_QUICK, **settings}), self._handle
        )
        self.arrivals: list[Arrival] = []
        self.cancelled: set[tuple[int, int]] = set()
        self.finishing = False
        """Whether events end at once."""
        self.stubborn = False
        """Whether events refuse to be cancelled."""
        self._gates: dict[tuple[int, int], asyncio.Future[None]] = {}

    async def _handle(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        if self.finishing:
            return
        at = arrival.position.partition, arrival.position.offset
        gate = self._gates[at] = asyncio.get_running_loop().create_future()
        while True:
            try:
                await asyncio.shield(gate)
            except asyncio.CancelledError:
                if gate.cancelled():
                    raise
                self.cancelled.add(at)
                if not self.stubborn:
                    raise
            else:
                return
            finally:
                if gate.done():
                    self._gates.pop(at, None)

    @property
    def seen(self) -> list[tuple[int, int]]:
        """Partition and offset of all events so far, in their order."""
        return [(each.position.partition, each.position.offset) for each in self.arrivals]

    @property
    def waiting(self) -> set[tuple[int, int]]:
        """Events that have not ended."""
        return set(self._gates) - self.cancelled

    def finish(self, *offsets: int, partition: int = 0) -> None:
        """Let these events end well."""
        for offset in offsets:
            self._gates[partition, offset].set_result(None)

    def finish_all(self) -> None:
        """Let all events end well from now on."""
        self.finishing = True
        for gate in list(self._gates.values()):
            if not gate.done():
                gate.set_result(None)

    def fail(self, offset: int, error: BaseException | None, partition: int = 0) -> None:
        """Let an event end badly; without an error it is cancelled from inside."""
        gate = self._gates[partition, offset]
        gate.cancel() if error is None else gate.set_exception(error)

    async def ended(self) -> None:
        """Wait for the end of `run`, and raise what it raises."""
        await asyncio.wait_for(asyncio.shield(self.task), 30)

    async def stop(self) -> None:
        """Stop, and wait for the end."""
        self.stream.stop()
        await self.ended()

    async def __aenter__(self) -> Self:
        self.task = asyncio.create_task(self.stream.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        if not self.task.done():
            self.finish_all()
            self.stubborn = False
            await self.stop()


def duplicates(*rigs: Rig) -> dict[tuple[int, int], int]:
    """Events that were given out more than once, and how often."""
    return {at: count for at, count in Counter(at for rig in rigs for at in rig.seen).items() if count > 1}
