"""Short ways to topics, producers and consumers, for tests that talk to a broker through kafka-python itself."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.consumer.fetcher import ConsumerRecord
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor

# A killed member is missed after the session timeout, and a join on the embedded broker takes half of it.
SESSION_S = 1.2
QUICK_GROUP = {"session_timeout_ms": 1200, "heartbeat_interval_ms": 200, "fetch_max_wait_ms": 50}


class Cluster:
    """A broker under test. Topics and groups get names of their own; clients close with the block."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self._open = ExitStack()
        self.admin = self._closing(KafkaAdminClient(bootstrap_servers=bootstrap))

    def topic(self, partitions: int = 1, configs: dict[str, str] | None = None) -> str:
        """A new topic, ready to use."""
        name = f"topic-{uuid4().hex[:8]}"
        options = {"num_partitions": partitions, "replication_factor": 1, "configs": configs or {}}
        self.admin.create_topics({name: options}, wait_for_metadata=True)
        return name

    def producer(self, **options: Any) -> KafkaProducer:
        """A producer with the library's defaults, which are acks=all and idempotence."""
        return self._closing(KafkaProducer(bootstrap_servers=self.bootstrap, reconnect_backoff_max_ms=500, **options))

    def consumer(self, topic: str, group: str, listener: Any = None, **options: Any) -> KafkaConsumer:
        """A member of a group, which joins at its first poll."""
        strategy = [CooperativeStickyAssignor]  # the worker's
        consumer = self._consumer(group_id=group, partition_assignment_strategy=strategy, **QUICK_GROUP, **options)
        consumer.subscribe([topic], listener=listener)
        consumer.topics()  # a first join that knows the partitions needs no second one, which can be forgotten
        return consumer

    def reader(self, topic: str, partitions: int = 1, **options: Any) -> KafkaConsumer:
        """A consumer of these partitions that is in no group, and need not wait for one."""
        reader = self._consumer(group_id=None, fetch_max_wait_ms=50, **options)
        reader.assign([TopicPartition(topic, n) for n in range(partitions)])
        return reader

    def _consumer(self, **options: Any) -> KafkaConsumer:
        """A consumer of raw bytes that reads from the start and commits nothing by itself."""
        defaults = {"enable_auto_commit": False, "auto_offset_reset": "earliest", "reconnect_backoff_max_ms": 500}
        return self._closing(KafkaConsumer(bootstrap_servers=self.bootstrap, **{**defaults, **options}))

    def fill(self, topic: str, count: int, partition: int = 0) -> list[bytes]:
        """Send `count` distinct values to a partition; return them when they are acknowledged."""
        producer = self.producer()
        values = [b"%d" % n for n in range(count)]
        for sent in [producer.send(topic, value, partition=partition) for value in values]:
            sent.get(10)
        return values

    def _closing(self, client: Any) -> Any:
        self._open.callback(client.close)
        return client

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._open.close()


def read(consumer: KafkaConsumer, count: int, deadline_s: float = 20.0) -> list[ConsumerRecord]:
    """Poll until `count` records have come; fail with what has come by the deadline."""
    records: list[ConsumerRecord] = []
    deadline = time.monotonic() + deadline_s
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records within {deadline_s} s: {records}"
        for batch in consumer.poll(2_000).values():
            records += batch
    return records


class Member(threading.Thread):
    """A member of a group that polls in a thread of its own until its block ends, and then leaves."""

    def __init__(self, consumer: KafkaConsumer) -> None:
        super().__init__(daemon=True)
        self.consumer = consumer
        self.records: list[ConsumerRecord] = []
        self.error: BaseException | None = None
        self._leave = threading.Event()

    @property
    def owns(self) -> set[TopicPartition]:
        """The partitions that it has now."""
        return set(self.consumer.assignment())

    def run(self) -> None:
        try:
            while not self._leave.is_set():
                for batch in self.consumer.poll(500).values():
                    self.records += batch
        except Exception as error:
            self.error = error
        finally:
            self.consumer.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._leave.set()
        self.join(30)
        assert not self.is_alive(), "the member did not leave"
        if self.error is not None and kind is None:
            raise self.error
