"""The `gates` topic, read from its start: every partition, no consumer group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings

_BOOTSTRAP_MS = 5_000
_ASK_MS = 2_000
_CLOSE_MS = 2_000
_WITHHELD = 20
"""Polls in a row that bring nothing, although there is something: the client has forgotten to fetch."""


class TopicReplacedError(Exception):
    """The topic ends before what was read of it: it was deleted and made again, or has lost records."""


@dataclass(frozen=True, slots=True)
class GateRecord:
    """One record as it is."""

    partition: int
    offset: int
    key: bytes | None
    value: bytes | None


class GatesTopic:
    """A connected reader. For one thread; once a method has raised, close it and make another."""

    def __init__(self, kafka: KafkaSettings, positions: Mapping[int, int]) -> None:
        """Connect, and begin at these offsets; where none is given, at the start.

        Raises:
            kafka.errors.KafkaError: no broker answers, or it refuses us, or the topic does not exist.
        """
        self._topic = kafka.topic("gates")
        self._withheld = 0
        self._consumer: Any = connect(
            KafkaConsumer,
            **kafka.connection(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # to go back without a word would be to take earlier steps for new ones
            allow_auto_create_topics=False,
            fetch_max_wait_ms=500,
            bootstrap_timeout_ms=_BOOTSTRAP_MS,
            reconnect_backoff_max_ms=1_000,
            metrics_enabled=False,
        )
        try:
            numbers = self._consumer.partitions_for_topic(self._topic)
            if not numbers:
                raise UnknownTopicOrPartitionError(f"the topic {self._topic} does not exist: `tidegate topics apply`")
            self._partitions = [TopicPartition(self._topic, number) for number in sorted(numbers)]
            self._consumer.assign(self._partitions)
            for partition in self._partitions:
                if (offset := positions.get(partition.partition)) is None:
                    self._consumer.seek_to_beginning(partition)
                else:
                    self._consumer.seek(partition, offset)
        except BaseException:
            self.close()
            raise

    def poll(self, wait_ms: int) -> list[GateRecord]:
        """The next records of each partition in their order; empty after `wait_ms` without any.

        Raises:
            kafka.errors.KafkaError: a record cannot be read.
            TopicReplacedError: begin again at the start.
        """
        try:
            batches = self._consumer.poll(wait_ms)
        except OffsetOutOfRangeError as error:
            raise TopicReplacedError(f"{self._topic} does not have what comes next: {error}") from error
        records = [each for batch in batches.values() for each in batch]
        self._withheld = 0 if records else self._withheld
        return [GateRecord(each.partition, each.offset, each.key, each.value) for each in records]

    def check(self) -> None:
        """Make sure that Kafka is there and gives what it has: polls pass over both in silence.

        Raises:
            kafka.errors.KafkaError: it does not.
            TopicReplacedError: begin again at the start.
        """
        ends = self._consumer.end_offsets(self._partitions, timeout_ms=_ASK_MS)
        positions = self.positions()
        for partition, end in ends.items():
            if (position := positions.get(partition.partition, 0)) > end:
                raise TopicReplacedError(
                    f"{self._topic}[{partition.partition}] ends at {end}, and was read to {position}"
                )
        behind = [each for each, end in ends.items() if positions.get(each.partition, 0) < end]
        self._withheld = self._withheld + 1 if behind else 0
        if self._withheld >= _WITHHELD:
            raise KafkaTimeoutError(f"{self._topic} has records that do not come: {behind}")

    @property
    def read_up(self) -> bool:
        """Whether everything has been polled that there was when Kafka last answered."""
        for partition in self._partitions:
            position, end = self._position(partition), self._consumer.highwater(partition)
            if position is None or end is None or position < end:
                return False
        return True

    def positions(self) -> dict[int, int]:
        """For each partition the offset of the next record, where it is known."""
        found = {each.partition: self._position(each) for each in self._partitions}
        return {number: offset for number, offset in found.items() if offset is not None}

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)

    def _position(self, partition: TopicPartition) -> int | None:
        offset: int | None = self._consumer.position(partition, timeout_ms=0)
        return offset


def read_all(kafka: KafkaSettings, deadline_s: float) -> list[GateRecord]:
    """Everything on the topic by now. Blocks.

    Raises:
        kafka.errors.KafkaError: it cannot be read, or not within the deadline.
    """
    give_up_at = time.monotonic() + deadline_s
    topic = GatesTopic(kafka, {})
    try:
        records: list[GateRecord] = []
        while not topic.read_up:
            if time.monotonic() > give_up_at:
                raise KafkaTimeoutError(f"{kafka.topic('gates')} could not be read within {deadline_s:.0f} s")
            records += topic.poll(200)
        return records
    finally:
        topic.close()
