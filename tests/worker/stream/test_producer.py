from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition

from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker
from tests.apache import ApacheKafka
from tests.worker.stream.rig import refused
from worker import telemetry
from worker.stream import producer
from worker.stream.producer import Outbox, ProduceError, RecordTooLargeError


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(producer, "_BLOCK_MS", 500)


def _make_topic(kafka: KafkaSettings, configs: dict[str, str] | None = None) -> None:
    admin = KafkaAdminClient(bootstrap_servers=kafka.bootstrap_servers)
    try:
        options = {"num_partitions": 1, "replication_factor": 1, "configs": configs or {}}
        admin.create_topics({kafka.topic("decisions"): options}, wait_for_metadata=True)
    finally:
        admin.close()


def _read(kafka: KafkaSettings, count: int) -> list[tuple[bytes, bytes, object]]:
    consumer = KafkaConsumer(bootstrap_servers=kafka.bootstrap_servers, group_id=None, auto_offset_reset="earliest")
    try:
        consumer.assign([TopicPartition(kafka.topic("decisions"), 0)])
        records: list[tuple[bytes, bytes, object]] = []
        deadline = time.monotonic() + 10
        while len(records) < count and time.monotonic() < deadline:
            for polled in consumer.poll(100).values():
                records += [(record.key, record.value, list(record.headers)) for record in polled]
        return records
    finally:
        consumer.close()


@asynccontextmanager
async def _running(kafka: KafkaSettings) -> AsyncIterator[Outbox]:
    outbox = Outbox(kafka)
    await outbox.start()
    try:
        yield outbox
    finally:
        await outbox.close()


async def test_a_record_is_sent_whole_and_its_position_comes_back(kafka: KafkaSettings) -> None:
    _make_topic(kafka)
    async with _running(kafka) as outbox:
        first = await outbox.send("decisions", b"a", b"1", [("x", b"y"), ("x", b"z")])
        second = await outbox.send("decisions", b"b", b"2")
    assert first is not None
    assert second is not None
    assert (first.topic, first.partition, first.offset) == (kafka.topic("decisions"), 0, 0)
    assert second.offset == 1
    assert _read(kafka, 2) == [(b"a", b"1", [("x", b"y"), ("x", b"z")]), (b"b", b"2", [])]


async def test_many_at_once_are_each_acknowledged(kafka: KafkaSettings) -> None:
    _make_topic(kafka)
    before = telemetry.RECORDS_PRODUCED.labels("decisions")._value.get()
    async with _running(kafka) as outbox:
        positions = await asyncio.gather(*(outbox.send("decisions", b"%d" % n, b"v" * 1000) for n in range(2000)))
    assert sorted(position.offset for position in positions if position) == list(range(2000))
    assert telemetry.RECORDS_PRODUCED.labels("decisions")._value.get() - before == 2000
    assert len({key for key, _, _ in _read(kafka, 2000)}) == 2000


async def test_a_record_above_the_declared_size_is_not_even_sent(free_port: int) -> None:
    async with _running(KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port}")) as outbox:
        with pytest.raises(RecordTooLargeError, match=r"do not fit into tidegate\.verdicts"):
            await outbox.send("verdicts", b"k", b"v" * 1_100_000)


@pytest.mark.apache
async def test_a_record_that_the_broker_finds_too_large_does_not_take_others_with_it(apache: ApacheKafka) -> None:
    """One refusal spoils kafka-python's client: whatever else it has fails with the same error."""
    kafka = KafkaSettings(bootstrap_servers=apache.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    _make_topic(kafka, {"max.message.bytes": "5000"})
    async with _running(kafka) as outbox:
        for _ in range(3):
            sends = [outbox.send("decisions", b"k", b"v" * (9000 if n == 5 else 10)) for n in range(10)]
            outcomes = await asyncio.gather(*sends, return_exceptions=True)
            assert isinstance(outcomes.pop(5), RecordTooLargeError)
            assert not [outcome for outcome in outcomes if isinstance(outcome, RecordTooLargeError)]
            again = [outcome for outcome in outcomes if isinstance(outcome, ProduceError)]
            assert again
            await asyncio.gather(*(outbox.send("decisions", b"k", b"again") for _ in again))


@pytest.mark.apache  # the embedded broker makes topics by itself, asked or not
async def test_a_topic_that_is_not_there_is_said_so(apache: ApacheKafka) -> None:
    kafka = KafkaSettings(bootstrap_servers=apache.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    _make_topic(kafka)
    async with _running(kafka) as outbox:
        started = time.monotonic()
        absent = [outbox.send("gates", b"k", b"v") for _ in range(20)]
        present = [outbox.send("decisions", b"k", b"v") for _ in range(2)]
        outcomes = await asyncio.gather(*absent, *present, return_exceptions=True)
        assert time.monotonic() - started < 5  # one wait, not twenty
    assert all(isinstance(outcome, ProduceError) for outcome in outcomes[:20])
    assert kafka.topic("gates") in str(outcomes[0])
    assert not any(isinstance(outcome, BaseException) for outcome in outcomes[20:])


@refused
@pytest.mark.usefixtures("refused_connections")
async def test_kafka_may_come_later_go_and_come_back(tmp_path: Path) -> None:
    broker = EmbeddedBroker(tmp_path)
    kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, request_timeout_ms=1000)
    try:
        async with _running(kafka) as outbox:
            with pytest.raises(ProduceError, match="cannot reach Kafka"):
                await outbox.send("decisions", b"k", b"early")
            broker.start()
            _make_topic(kafka)
            assert await outbox.send("decisions", b"k", b"now") is not None
            broker.kill()
            lost = await asyncio.gather(
                *(outbox.send("decisions", b"k", b"lost") for _ in range(3)), return_exceptions=True
            )
            assert all(isinstance(outcome, ProduceError) for outcome in lost)
            broker.start()
            _make_topic(kafka)
            deadline = time.monotonic() + 20
            while True:
                try:
                    await outbox.send("decisions", b"k", b"back")
                    break
                except ProduceError:
                    assert time.monotonic() < deadline
        assert (b"k", b"back", []) in _read(kafka, 1)
    finally:
        broker.stop()


@refused
@pytest.mark.usefixtures("refused_connections")
async def test_close_does_not_wait_for_a_kafka_that_is_gone(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap)
        _make_topic(kafka)
        outbox = Outbox(kafka)
        await outbox.start()
        await outbox.send("decisions", b"k", b"v")
        broker.kill()
        late = asyncio.create_task(outbox.send("decisions", b"k", b"late"))
        await asyncio.sleep(0)
        started = time.monotonic()
        await outbox.close(0.5)
        assert time.monotonic() - started < 5
        with pytest.raises(ProduceError):
            await late
        with pytest.raises(ProduceError, match="closed"):
            await outbox.send("decisions", b"k", b"v")


async def test_close_without_start() -> None:
    await Outbox(KafkaSettings()).close()
