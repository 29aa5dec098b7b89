"""Single records of Kafka topics, by their positions: the ledger keeps where a decision stands, not what it says."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from typing import Any

from kafka import KafkaConsumer, TopicPartition
from kafka.errors import KafkaTimeoutError, OffsetOutOfRangeError

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings
from review.task import RecordPosition

_BOOTSTRAP_MS = 10_000
_PATIENCE_S = 10.0
_SOON_MS = 200
_NEAR = 500
"""Records that are rather read and passed over than jumped over, which takes a round trip."""


def records_at(kafka: KafkaSettings, positions: Iterable[RecordPosition]) -> Iterator[tuple[RecordPosition, bytes]]:
    """The values of those records that are still there, in the order of topics, partitions and offsets. Blocks.

    Raises:
        kafka.errors.KafkaError: the cluster does not answer, or refuses.
    """
    wanted: defaultdict[TopicPartition, set[int]] = defaultdict(set)
    for position in positions:
        wanted[TopicPartition(position.topic, position.partition)].add(position.offset)
    if not wanted:
        return
    consumer = connect(
        KafkaConsumer,
        **kafka.connection(),
        group_id=None,
        enable_auto_commit=False,
        auto_offset_reset="none",  # a record that is gone is missing, and never another one instead
        allow_auto_create_topics=False,
        bootstrap_timeout_ms=_BOOTSTRAP_MS,
        metrics_enabled=False,
    )
    try:
        for partition in sorted(wanted):
            if partition.partition not in (consumer.partitions_for_topic(partition.topic) or ()):
                continue
            consumer.assign([partition])
            earliest = consumer.beginning_offsets([partition])[partition]
            offsets = sorted(offset for offset in wanted[partition] if offset >= earliest)
            for offset, value in _of_partition(consumer, partition, offsets):
                yield RecordPosition(topic=partition.topic, partition=partition.partition, offset=offset), value
    finally:
        consumer.close(autocommit=False)


def _of_partition(consumer: Any, partition: TopicPartition, offsets: list[int]) -> Iterator[tuple[int, bytes]]:
    waiting = deque(offsets)
    behind: int | None = None  # where the client would read on
    while waiting:
        if behind is None or waiting[0] > behind + _NEAR:
            consumer.seek(partition, waiting[0])
        batch = _poll(consumer, partition, waiting[0])
        if not batch:
            return
        for record in batch:
            while waiting and waiting[0] < record.offset:
                waiting.popleft()
            if waiting and waiting[0] == record.offset:
                waiting.popleft()
                if record.value is not None:
                    yield record.offset, record.value
        behind = batch[-1].offset + 1


def _poll(consumer: Any, partition: TopicPartition, offset: int) -> list[Any]:
    """The next records, from this offset on; empty where the partition ends before."""
    give_up_at = time.monotonic() + _PATIENCE_S
    while time.monotonic() < give_up_at:
        try:
            batch: list[Any] = consumer.poll(_SOON_MS, max_records=_NEAR).get(partition, [])
        except OffsetOutOfRangeError:
            return []
        end = consumer.highwater(partition)
        if batch or (end is not None and end <= offset):
            return batch
    where = f"{partition.topic}, partition {partition.partition}, offset {offset}"
    raise KafkaTimeoutError(f"no record came from {where} within {_PATIENCE_S:.0f} s")
