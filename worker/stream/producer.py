"""Records out to Kafka: sent from the event loop, acknowledged by all in-sync replicas."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
from kafka import KafkaProducer
from kafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RetriableError,
)

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings, TopicName
from review.task import RecordPosition
from worker import telemetry
from worker.stream.topics import TOPICS

log = structlog.get_logger()

_BLOCK_MS = 5_000  # what connecting may take, or one send while the cluster's metadata is away
_OVERHEAD = 256  # bytes of a batch with one record beside the record's own, generously


class ProduceError(Exception):
    """Kafka did not acknowledge a record; it may be written all the same. Sending it again may help."""


class RecordTooLargeError(Exception):
    """The topic takes no record of this size; sending it again will not help."""


@dataclass(eq=False, slots=True)
class _Record:
    name: TopicName
    topic: str
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]
    outcome: asyncio.Future[RecordPosition | None]


class Outbox:
    """Sends records; lives on one event loop.

    A thread owns the Kafka client, whose `send` may block. Records go to it once per turn of the event loop, and
    acknowledgements come back in batches too.
    """

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        delivery_ms = kafka.request_timeout_ms + _BLOCK_MS
        self._patience_s = (delivery_ms + 2 * _BLOCK_MS) / 1000
        self._options = kafka.connection() | {
            "acks": "all",
            "enable_idempotence": True,
            "linger_ms": 5,
            "batch_size": 131_072,
            "max_block_ms": _BLOCK_MS,
            "delivery_timeout_ms": delivery_ms,
            "max_request_size": max(topic.max_message_bytes for topic in TOPICS.values()),
            "allow_auto_create_topics": False,
            "bootstrap_timeout_ms": _BLOCK_MS,
            "reconnect_backoff_max_ms": 5_000,
            "metrics_enabled": False,
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended = asyncio.Event()
        self._close_by: float | None = None
        self._outgoing: list[_Record] = []
        self._queue: queue.SimpleQueue[list[_Record] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._settled: list[tuple[_Record, RecordPosition | Exception | None]] = []
        self._broken = False
        self._last_error: Exception | None = None

    async def start(self) -> None:
        """Begin. The client connects in the background: Kafka need not be there yet."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._own_client, name="tidegate-outbox", daemon=True).start()

    async def send(
        self, topic_name: TopicName, key: bytes, value: bytes, headers: Sequence[tuple[str, bytes]] = ()
    ) -> RecordPosition | None:
        """Send one record; returns when all in-sync replicas have it.

        Returns:
            Where it stands; None when Kafka had it from an earlier try and does not tell.

        Raises:
            RecordTooLargeError: the topic does not take it.
            ProduceError: it was refused, or not acknowledged for somewhat longer than `request_timeout_ms`.
        """
        if self._loop is None or self._close_by is not None or self._ended.is_set():
            raise ProduceError("the outbox is closed, or was never started")
        topic = self._kafka.topic(topic_name)
        size = len(key) + len(value) + sum(len(name) + len(text) + 8 for name, text in headers) + _OVERHEAD
        if size > TOPICS[topic_name].max_message_bytes:
            raise RecordTooLargeError(
                f"{size:,} bytes do not fit into {topic}, which takes {TOPICS[topic_name].max_message_bytes:,}"
            )
        if not self._outgoing:
            self._loop.call_soon(self._hand_over)
        record = _Record(topic_name, topic, key, value, list(headers), self._loop.create_future())
        self._outgoing.append(record)
        try:
            async with asyncio.timeout(self._patience_s):
                return await record.outcome
        except TimeoutError:
            self._broken = True  # the client gives up earlier by itself, unless it is stuck
            raise ProduceError(f"{topic}: no answer within {self._patience_s:.0f} s") from None

    async def close(self, timeout_s: float = 5.0) -> None:
        """Wait for what is under way, at most so long, and close the client. What is late raises ProduceError."""
        if self._loop is None or self._close_by is not None:
            return
        self._close_by = time.monotonic() + timeout_s
        self._queue.put(None)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ended.wait(), timeout_s + 2 * _BLOCK_MS / 1000)
        if not self._ended.is_set():
            log.error("kafka producer did not close", note="left behind")

    def _hand_over(self) -> None:
        records, self._outgoing = self._outgoing, []
        self._queue.put(records)

    def _resolve(self) -> None:
        """Tell the senders what became of their records. On the event loop."""
        with self._lock:
            settled, self._settled = self._settled, []
        for record, outcome in settled:
            if not isinstance(outcome, Exception):
                telemetry.RECORDS_PRODUCED.labels(record.name).inc()
            if record.outcome.done():
                continue  # its sender has gone
            if isinstance(outcome, Exception):
                record.outcome.set_exception(outcome)
            else:
                record.outcome.set_result(outcome)

    # What follows runs on the thread that owns the client, and the two callbacks on the client's own.

    def _own_client(self) -> None:
        assert self._loop is not None
        producer: Any = None
        try:
            while (records := self._queue.get()) is not None:
                if producer is not None and self._broken:
                    log.warning("kafka producer replaced", error=repr(self._last_error))
                    self._discard(producer)
                    producer = None
                if producer is None:
                    self._broken = False
                    producer = self._connect(records)
                if producer is not None:
                    self._send(producer, records)
        except Exception:
            log.exception("the thread of the Kafka producer died")
        finally:
            if producer is not None:
                self._close(producer)
            while not self._queue.empty():
                for record in self._queue.get() or ():
                    self._settle(record, ProduceError(f"{record.topic}: the outbox is closed"))
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._ended.set)

    def _connect(self, records: list[_Record]) -> Any:
        """A new client; None, and these records and all others that wait have failed, when Kafka is not there."""
        try:
            return connect(KafkaProducer, **self._options)
        except KafkaError as error:
            while True:
                for record in records:
                    self._settle(record, ProduceError(f"{record.topic}: cannot reach Kafka: {error!r}"))
                if self._queue.empty():
                    return None
                if (waiting := self._queue.get()) is None:
                    self._queue.put(None)
                    return None
                records = waiting

    def _send(self, producer: Any, records: list[_Record]) -> None:
        absent: set[str] = set()
        for record in records:
            if record.topic in absent:  # the others need not wait as long again
                self._settle(record, ProduceError(f"{record.topic}: no leader or no such topic"))
                continue
            try:
                sent = producer.send(record.topic, record.value, record.key, record.headers)
            except Exception as error:
                if isinstance(error, KafkaTimeoutError):
                    absent.add(record.topic)
                self._settle(record, ProduceError(f"{record.topic}: {error!r}"))
            else:
                sent.add_callback(self._acknowledged, record)
                sent.add_errback(self._refused, record)

    def _acknowledged(self, record: _Record, where: Any) -> None:
        known = where.offset >= 0
        position = RecordPosition(topic=where.topic, partition=where.partition, offset=where.offset) if known else None
        self._settle(record, position)

    def _refused(self, record: _Record, error: Exception) -> None:
        """One record can spoil an idempotent client for good: after an error that is not retriable it fails whatever
        it has and gets with that same error. The first to fail is the one that it is about."""
        first = error is not self._last_error
        self._last_error = error
        if not isinstance(error, RetriableError):
            self._broken = True
        if first and isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
            size = len(record.key) + len(record.value)
            self._settle(record, RecordTooLargeError(f"{record.topic} refused a record of {size:,} bytes: {error!r}"))
        else:
            self._settle(record, ProduceError(f"{record.topic}: {error!r}"))

    def _settle(self, record: _Record, outcome: RecordPosition | Exception | None) -> None:
        assert self._loop is not None
        with self._lock:
            self._settled.append((record, outcome))
            first = len(self._settled) == 1
        if first:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                self._loop.call_soon_threadsafe(self._resolve)

    def _close(self, producer: Any) -> None:
        try:
            producer.close(max(0.0, (self._close_by or 0.0) - time.monotonic()))
        except KafkaError as error:
            log.warning("kafka producer closed with records unacknowledged", error=repr(error))
            self._discard(producer)

    @staticmethod
    def _discard(producer: Any) -> None:
        """Close without waiting. The client's own `close` waits for a flush first, and gives up when that fails."""
        producer._sender.force_close()
        with contextlib.suppress(KafkaError):
            producer.close(1.0)
