"""Topics as this room reads and writes them: raw bytes, chosen offsets, no consumer group."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Self

import structlog
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import KafkaError, KafkaTimeoutError, OffsetOutOfRangeError, UnknownTopicOrPartitionError

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings, TopicName

log = structlog.get_logger()

_BOOTSTRAP_MS = 10_000
_CLOSE_MS = 2_000
_SOON_MS = 20
"""How long a broker may wait for a record, where the end shall be found soon,"""
_CALM_MS = 200
"""and where the topic is followed."""


class TopicGapError(Exception):
    """A topic does not go on where it was left: it was made anew, or has lost what was not read yet."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record as it is."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None


@dataclass(frozen=True, slots=True)
class TopicIdentity:
    """A topic, told apart from another one that was made later under the same name."""

    topic_id: str
    partitions: tuple[int, ...]


def identify(kafka: KafkaSettings, name: TopicName) -> TopicIdentity:
    """Id and partitions of a topic. Blocks.

    Raises:
        kafka.errors.KafkaError: the cluster does not answer, or has no such topic.
    """
    topic = kafka.topic(name)
    admin = connect(KafkaAdminClient, **kafka.connection(), bootstrap_timeout_ms=_BOOTSTRAP_MS)
    try:
        found = admin.describe_topics([topic])
    finally:
        admin.close()
    if not found or found[0]["error_code"] or not found[0]["partitions"]:
        raise UnknownTopicOrPartitionError(f"the topic {topic} does not exist: `tidegate topics apply`")
    numbers = tuple(sorted(each["partition_index"] for each in found[0]["partitions"]))
    return TopicIdentity(str(found[0]["topic_id"]), numbers)


def retention(kafka: KafkaSettings, name: TopicName) -> timedelta | None:
    """How long the cluster keeps records of a topic; None: for ever, or it does not say. Blocks.

    Raises:
        kafka.errors.KafkaError: the cluster does not answer.
    """
    topic = kafka.topic(name)
    admin = connect(KafkaAdminClient, **kafka.connection(), bootstrap_timeout_ms=_BOOTSTRAP_MS)
    try:
        answer = admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
    finally:
        admin.close()
    value = answer["topic"].get(topic, {}).get("retention.ms", {}).get("value")
    return None if value is None or int(value) < 0 else timedelta(milliseconds=int(value))


class TopicReader:
    """All partitions of a topic, from given offsets on. For one thread; once a method has raised, make another."""

    def __init__(
        self,
        kafka: KafkaSettings,
        name: TopicName,
        partitions: tuple[int, ...],
        positions: Mapping[int, int],
        *,
        accept_gap: bool = False,
        calm: bool = False,
    ) -> None:
        """Connect, and begin at these offsets; where none is given, at the partition's earliest record.

        Args:
            accept_gap: where records at these offsets are gone, begin with the earliest that is left.
            calm: ask a broker that has nothing less often: for those who stay.

        Raises:
            kafka.errors.KafkaError: no broker answers, or it refuses us.
            TopicGapError: records at these offsets are gone already.
        """
        self.topic = kafka.topic(name)
        self._partitions = [TopicPartition(self.topic, number) for number in partitions]
        self._targets: dict[TopicPartition, int] = {}
        self._consumer: Any = connect(
            KafkaConsumer,
            **kafka.connection(),
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # a lost position is an error, not a jump
            allow_auto_create_topics=False,
            fetch_max_wait_ms=_CALM_MS if calm else _SOON_MS,
            bootstrap_timeout_ms=_BOOTSTRAP_MS,
            reconnect_backoff_max_ms=1_000,
            metrics_enabled=False,
        )
        try:
            self._consumer.assign(self._partitions)
            earliest = self._consumer.beginning_offsets(self._partitions)
            for partition in self._partitions:
                start = positions.get(partition.partition)
                if start is not None and start < earliest[partition]:
                    lost = (
                        f"{self.topic}, partition {partition.partition}: the records {start:,} to "
                        f"{earliest[partition] - 1:,} were not read before their retention ended"
                    )
                    if not accept_gap:
                        raise TopicGapError(f"{lost}. `tidegate ledger sync --accept-gap` goes on without them")
                    log.warning("records lost", note=lost)
                self._consumer.seek(partition, max(start or 0, earliest[partition]))
        except BaseException:
            self.close()
            raise

    def poll(self, wait_ms: int, limit: int) -> list[Record]:
        """At most `limit` further records, each partition's in order; empty after `wait_ms` without any.

        Raises:
            kafka.errors.KafkaError: they cannot be read.
            TopicGapError: the topic ends before our position, or begins after it.
        """
        try:
            batches = self._consumer.poll(wait_ms, max_records=limit)
        except OffsetOutOfRangeError as error:
            raise TopicGapError(f"{self.topic}: it has no records any more where we are: {error}") from error
        for partition in self._partitions:
            end, position = self._consumer.highwater(partition), self._position(partition)
            if end is None or position is None:
                continue
            if end < position:
                raise TopicGapError(
                    f"{self.topic}, partition {partition.partition} ends at {end:,}, but was read up to {position:,}: "
                    "the topic was made anew, or lost its end. `tidegate ledger rebuild` begins anew with it"
                )
            self._targets.setdefault(partition, end)
        return [
            Record(each.partition, each.offset, each.timestamp, each.key, each.value)
            for batch in batches.values()
            for each in batch
        ]

    @property
    def read_up(self) -> bool:
        """Whether everything was polled that there was when each partition first answered.

        By the high-water marks that come with fetched records: what the embedded broker says when it is asked for the
        ends of partitions is wrong.
        """
        return all(
            partition in self._targets and (self._position(partition) or 0) >= self._targets[partition]
            for partition in self._partitions
        )

    def close(self) -> None:
        """Disconnect."""
        self._consumer.close(autocommit=False, timeout_ms=_CLOSE_MS)

    def _position(self, partition: TopicPartition) -> int | None:
        offset: int | None = self._consumer.position(partition, timeout_ms=0)
        return offset

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def read_latest(kafka: KafkaSettings, name: TopicName, deadline_s: float = 30.0) -> dict[str, tuple[int, bytes]]:
    """The newest record of each key of a compacted topic, as (offset, value); keys that were deleted are absent.

    Raises:
        kafka.errors.KafkaError: it cannot be read, or not within the deadline.
    """
    latest: dict[str, tuple[int, bytes]] = {}
    give_up_at = time.monotonic() + deadline_s
    with TopicReader(kafka, name, identify(kafka, name).partitions, {}) as reader:
        while not reader.read_up:
            if time.monotonic() > give_up_at:
                raise KafkaTimeoutError(f"{reader.topic} could not be read within {deadline_s:.0f} s")
            for record in reader.poll(_SOON_MS, 1_000):
                key = (record.key or b"").decode(errors="replace")
                if record.value is None:
                    latest.pop(key, None)
                else:
                    latest[key] = record.offset, record.value
    return latest


def publish(kafka: KafkaSettings, name: TopicName, key: str, value: bytes | None, timeout_s: float = 10.0) -> int:
    """Write one record (None: a tombstone), acknowledged by all in-sync replicas, and return its offset. Blocks.

    Raises:
        kafka.errors.KafkaError: it may not be durable.
    """
    timeout_ms = int(timeout_s * 1000)
    producer = connect(
        KafkaProducer,
        **kafka.connection() | {"request_timeout_ms": min(kafka.request_timeout_ms, timeout_ms)},
        acks="all",
        allow_auto_create_topics=False,
        bootstrap_timeout_ms=timeout_ms,
        max_block_ms=timeout_ms,
        delivery_timeout_ms=timeout_ms,  # a record we gave up on must not arrive after a later one
        max_request_size=2_000_000,
    )
    try:
        sent = producer.send(kafka.topic(name), key=key.encode(), value=value)
        offset: int = sent.get(timeout=timeout_s).offset
    finally:
        _close(producer, timeout_s)
    return offset


def _close(producer: Any, timeout_s: float) -> None:
    try:
        producer.close(timeout=timeout_s)
    except KafkaError:
        producer._sender.force_close()  # its own `close` waits for a flush first, and gives up when that fails
        producer.close(1.0)
