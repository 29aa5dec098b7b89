"""Writing to Kafka so that what is written stays: acknowledged by all in-sync replicas before it counts."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import KafkaError

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings, TopicName

log = structlog.get_logger()

_AT_ONCE = 32


class DurableWriter:
    """Writes records one by one. Threads and tasks may share one; connects when first used.

    `timeout_s` bounds each of: connecting, finding the topic, being acknowledged.
    """

    def __init__(self, kafka: KafkaSettings, timeout_s: float = 10.0) -> None:
        self.longest_s = 3 * timeout_s
        self.kafka = kafka
        self._timeout_s = timeout_s
        self._producer: Any = None
        self._connecting = Lock()
        # Threads of its own: while Kafka is away they all wait, and nothing else may wait for them.
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="tidegate-durable")

    def write(self, name: TopicName, key: str, value: bytes | None) -> int:
        """Return the offset of the record (None: a tombstone) when it is durable; blocks for `longest_s` at most.

        Raises:
            kafka.errors.KafkaError, OSError: it may not be durable.
        """
        sent = self._connected().send(self.kafka.topic(name), key=key.encode(), value=value)
        offset: int = sent.get(timeout=self._timeout_s).offset
        return offset

    async def written(self, name: TopicName, key: str, value: bytes | None) -> int:
        """The same, without blocking."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self.write, name, key, value)

    def close(self) -> None:
        """Disconnect."""
        self._threads.shutdown()
        if self._producer is None:
            return
        try:
            self._producer.close(timeout=self._timeout_s)
        except KafkaError as error:  # what was not acknowledged was refused to its caller already
            log.warning("producer not closed cleanly", error=repr(error))

    def _connected(self) -> Any:
        with self._connecting:
            if self._producer is None:
                timeout_ms = int(self._timeout_s * 1000)
                self._producer = connect(
                    KafkaProducer,
                    **self.kafka.connection() | {"request_timeout_ms": min(self.kafka.request_timeout_ms, timeout_ms)},
                    acks="all",
                    allow_auto_create_topics=False,
                    bootstrap_timeout_ms=timeout_ms,
                    max_block_ms=timeout_ms,
                    delivery_timeout_ms=timeout_ms,  # a record we gave up on must not arrive after a later one
                )
            return self._producer
