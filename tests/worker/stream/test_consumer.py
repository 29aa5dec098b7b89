"""The stream on a real broker: nothing lost, nothing committed too early, membership kept."""

from __future__ import annotations

import asyncio
import threading
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import structlog
from kafka import KafkaConsumer
from kafka.errors import KafkaConnectionError
from kafka.record.default_records import DefaultRecordBatch

from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker
from tests.apache import ApacheKafka
from tests.worker.stream.rig import Rig, committed, duplicates, fill, make_topic, refused, until
from worker import telemetry
from worker.retry import OutageError
from worker.stream import lookout
from worker.stream.consumer import FatalStreamError


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "_LOOK_S", 0.1)
    monkeypatch.setattr(lookout, "_ASK_S", 1)


def _value(metric: Any) -> float:
    return float(metric._value.get())


def _changes(logs: list[Any]) -> list[str]:
    """How reading came and went."""
    return [entry["event"] for entry in logs if entry.get("part") == "reading"]


async def test_only_the_done_prefix_is_committed_and_the_rest_comes_again(kafka: KafkaSettings) -> None:
    make_topic(kafka)
    fill(kafka, 6)
    unfinished = _value(telemetry.UNFINISHED)
    async with Rig(kafka, drain_s=0.3) as first:
        await until(lambda: len(first.waiting) == 6)
        first.finish(1, 3)
        assert committed(kafka) is None
        first.finish(0)
        await until(lambda: committed(kafka) == 2)
        with structlog.testing.capture_logs() as logs:
            await first.stop()
    assert first.cancelled == {(0, 2), (0, 4), (0, 5)}
    assert _value(telemetry.UNFINISHED) - unfinished == 3
    assert {entry["offset"] for entry in logs if entry["event"] == "event given up"} == {2, 4, 5}
    assert committed(kafka) == 2
    async with Rig(kafka) as second:
        second.finish_all()
        await until(lambda: committed(kafka) == 6)
    assert second.seen == [(0, 2), (0, 3), (0, 4), (0, 5)]


async def test_an_arrival_is_the_record_as_it_was_sent(kafka_settings: KafkaSettings) -> None:
    make_topic(kafka_settings)
    fill(kafka_settings, 1, size=3)
    async with Rig(kafka_settings) as rig:
        await until(lambda: rig.arrivals)
        (arrival,) = rig.arrivals
        assert (arrival.key, arrival.value, arrival.headers) == (b"k", b"vvv", (("h", b"1"),))
        assert arrival.position.topic == kafka_settings.topic("images")
        assert abs(arrival.timestamp_ms / 1000 - time.time()) < 60
        assert 0 <= time.monotonic() - arrival.received_at < 60
        assert arrival.size == 6


async def test_stop_finishes_what_is_in_flight_and_commits_it(kafka: KafkaSettings) -> None:
    make_topic(kafka)
    fill(kafka, 5)
    async with Rig(kafka, commit_interval_s=60) as rig:
        await until(lambda: len(rig.waiting) == 5)
        rig.stream.stop()
        fill(kafka, 1)  # comes too late to be taken
        rig.finish(4, 3, 2, 1, 0)
        await rig.ended()
    assert rig.cancelled == set()
    assert len(rig.arrivals) == 5
    assert committed(kafka) == 5
    assert _value(telemetry.EVENTS_IN_FLIGHT) == _value(telemetry.BYTES_IN_FLIGHT) == 0


async def test_cancelling_run_drains_as_well(kafka_settings: KafkaSettings) -> None:
    make_topic(kafka_settings)
    fill(kafka_settings, 2)
    async with Rig(kafka_settings, commit_interval_s=60) as rig:
        await until(lambda: len(rig.waiting) == 2)
        rig.task.cancel()
        await until(lambda: rig.stream._stop_asked)
        rig.finish_all()
        with pytest.raises(asyncio.CancelledError):
            await rig.ended()
    assert committed(kafka_settings) == 2


async def test_a_failing_event_stops_the_stream_and_the_others_are_committed(kafka_settings: KafkaSettings) -> None:
    make_topic(kafka_settings)
    fill(kafka_settings, 5)
    async with Rig(kafka_settings) as rig:
        await until(lambda: len(rig.waiting) == 5)
        rig.fail(2, LookupError("the engine died"))
        await until(lambda: rig.stream._stop_asked)
        rig.finish(0, 1, 3, 4)
        with pytest.raises(LookupError, match="the engine died"):
            await rig.ended()
    assert committed(kafka_settings) == 2


async def test_an_event_that_cancels_itself_is_a_failure(kafka_settings: KafkaSettings) -> None:
    make_topic(kafka_settings)
    fill(kafka_settings, 1)
    async with Rig(kafka_settings) as rig:
        await until(lambda: rig.waiting)
        rig.fail(0, None)
        with pytest.raises(RuntimeError, match=r"offset=0.*cancelled from inside"):
            await rig.ended()
    assert committed(kafka_settings) is None


async def test_backpressure_bounds_what_is_in_flight_and_keeps_the_membership(kafka: KafkaSettings) -> None:
    """Paused for longer than a poll may take."""
    make_topic(kafka, partitions=2)
    for partition in (0, 1):
        fill(kafka, 10, partition)
    assignments = _value(telemetry.REBALANCES.labels("assigned"))
    async with Rig(kafka, max_poll_interval_ms=1000, window_events=4) as rig:
        await until(lambda: len(rig.waiting) == 4)
        paused_at = time.monotonic()
        await until(lambda: time.monotonic() - paused_at > 2)
        assert len(rig.waiting) == 4
        assert rig.stream.assigned == (0, 1)
        assert _value(telemetry.PARTITIONS_PAUSED) == 2
        assert _value(telemetry.EVENTS_IN_FLIGHT) == 4
        rig.finish_all()
        await until(lambda: committed(kafka, 0) == committed(kafka, 1) == 10)
    assert len(rig.arrivals) == 20
    assert duplicates(rig) == {}
    assert _value(telemetry.REBALANCES.labels("assigned")) - assignments == 1


async def test_bytes_bound_what_is_in_flight_too(kafka_settings: KafkaSettings) -> None:
    make_topic(kafka_settings)
    for _ in range(5):
        fill(kafka_settings, 1, size=600_000)  # a fetch brings one or two of them
    async with Rig(kafka_settings, window_bytes=1_000_000) as rig:
        await until(lambda: len(rig.waiting) >= 2)
        await until(lambda: _value(telemetry.PARTITIONS_PAUSED) == 1)
        assert len(rig.waiting) <= 3
        rig.finish_all()
        await until(lambda: committed(kafka_settings) == 5)


async def test_a_second_worker_takes_its_share_and_nothing_is_lost_or_doubled(kafka: KafkaSettings) -> None:
    """The first worker keeps its events of a partition that moves until they are done, and commits them."""
    make_topic(kafka, partitions=4)
    for partition in range(4):
        fill(kafka, 3, partition)
    async with Rig(kafka, window_events=12) as first:  # full, hence paused
        await until(lambda: len(first.waiting) == 12)
        async with Rig(kafka) as second:
            revoked = _value(telemetry.REBALANCES.labels("revoked"))
            await until(lambda: _value(telemetry.REBALANCES.labels("revoked")) > revoked)
            for partition in range(4):
                first.finish(0, 1, 2, partition=partition)
            await until(lambda: (len(first.stream.assigned), len(second.stream.assigned)) == (2, 2))
            assert {*first.stream.assigned, *second.stream.assigned} == {0, 1, 2, 3}
            second.finish_all()
            first.finish_all()
            for partition in range(4):
                fill(kafka, 3, partition)
            await until(lambda: [committed(kafka, partition) for partition in range(4)] == [6] * 4)
            assert {partition for partition, _ in second.seen} == set(second.stream.assigned)
    assert len(first.arrivals) + len(second.arrivals) == 24
    assert duplicates(first, second) == {}
    assert not first.cancelled


async def test_what_is_not_admitted_waits_in_kafka_and_the_worker_stays_a_member(kafka: KafkaSettings) -> None:
    make_topic(kafka)
    fill(kafka, 1)
    async with Rig(kafka) as rig:
        rig.finishing = True
        await until(lambda: committed(kafka) == 1)
        rig.stream.admit(False)
        await until(lambda: rig.stream._member._paused)
        fill(kafka, 3)
        turned = rig.stream._member.turned_at
        await until(lambda: rig.stream._member.turned_at > turned + 0.2)
        assert (len(rig.arrivals), rig.stream.assigned, rig.stream.problems()) == (1, (0,), [])
        rig.stream.admit(True)
        await until(lambda: committed(kafka) == 4)


async def test_a_completion_after_the_partition_has_moved_commits_nothing(kafka: KafkaSettings) -> None:
    make_topic(kafka, partitions=2)
    for partition in (0, 1):
        fill(kafka, 2, partition)
    patient = {"drain_s": 0.2, "session_timeout_ms": 3000}  # a member taken for dead would be given its events again
    async with Rig(kafka, **patient) as first:
        first.stubborn = True
        await until(lambda: len(first.waiting) == 4)
        async with Rig(kafka, **patient) as second:
            await until(lambda: len(second.waiting) == 2)
            (moved,) = second.stream.assigned
            assert first.cancelled == {(moved, 0), (moved, 1)}
            first.finish(0, 1, partition=moved)  # all the same, it ends well
            first.finish(0, 1, partition=1 - moved)
            await until(lambda: committed(kafka, 1 - moved) == 2)
            assert committed(kafka, moved) is None
            second.finish(0, partition=moved)
            await until(lambda: committed(kafka, moved) == 1)


async def test_a_lost_partition_is_dropped_without_a_commit(
    kafka: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that does not poll for too long loses its partitions; what it had is given out again."""
    make_topic(kafka)
    fill(kafka, 2)
    frozen = False
    poll = KafkaConsumer.poll

    def slow_poll(self: KafkaConsumer, *args: Any, **options: Any) -> Any:
        while frozen:
            time.sleep(0.01)
        return poll(self, *args, **options)

    monkeypatch.setattr(KafkaConsumer, "poll", slow_poll)
    lost = _value(telemetry.REBALANCES.labels("lost"))
    async with Rig(kafka, max_poll_interval_ms=1000, commit_interval_s=60) as rig:
        await until(lambda: len(rig.waiting) == 2)
        rig.finish(0)
        frozen = True
        frozen_at = time.monotonic()
        await until(lambda: time.monotonic() - frozen_at > 1.5)
        frozen = False
        await until(lambda: _value(telemetry.REBALANCES.labels("lost")) > lost)
        await until(lambda: rig.seen.count((0, 0)) == 2)
        assert rig.cancelled == {(0, 1)}
        assert committed(kafka) is None
        rig.cancelled.clear()
        rig.finish_all()
        await rig.stop()
    assert rig.seen == [(0, 0), (0, 1), (0, 0), (0, 1)]
    assert committed(kafka) == 2


async def test_a_frozen_partition_is_named_and_liveness_fails(kafka_settings: KafkaSettings) -> None:
    make_topic(kafka_settings)
    fill(kafka_settings, 3)
    with structlog.testing.capture_logs() as logs:
        async with Rig(kafka_settings, stall_warn_s=0.5, stall_fatal_s=1) as rig:
            await until(lambda: len(rig.waiting) == 3)
            rig.finish(0, 2)
            await until(lambda: rig.stream.stalled)
            assert _value(telemetry.PARTITIONS_STALLED) == 1
            await until(rig.stream.problems)
            assert "partition 0 has been behind without moving" in rig.stream.problems()[0]
            rig.finish(1)
            await until(lambda: not rig.stream.stalled)
            assert rig.stream.problems() == []
    (warning,) = [entry for entry in logs if entry["event"] == "partition stalled"]
    assert warning["partition"] == 0
    assert warning["position"] == warning["committed"] == warning["oldest_in_flight"] == 1
    assert warning["behind"] == 2
    assert warning["paused"] is False
    assert [entry["event"] for entry in logs].count("partition moves again") == 1


async def test_a_corrupt_record_stops_the_stream_and_is_named(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Polled again, the client would spin for ever."""
    make_topic(kafka_settings)
    fill(kafka_settings, 2)
    for _ in range(2):
        fill(kafka_settings, 1)  # a batch of its own
    valid = DefaultRecordBatch.validate_crc
    monkeypatch.setattr(DefaultRecordBatch, "validate_crc", lambda batch: batch.base_offset != 3 and valid(batch))
    async with Rig(kafka_settings) as rig:
        rig.finish_all()
        with pytest.raises(FatalStreamError, match=r"images\[0\]@3.*CorruptRecordError.*offset 3"):
            await rig.ended()
    assert [offset for _, offset in rig.seen] == [0, 1, 2]
    assert committed(kafka_settings) == 3


async def test_a_corrupt_record_is_named_also_when_the_window_closes_before_it(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topic(kafka_settings)
    for _ in range(3):
        fill(kafka_settings, 1, size=100)
    valid = DefaultRecordBatch.validate_crc
    monkeypatch.setattr(DefaultRecordBatch, "validate_crc", lambda batch: batch.base_offset != 2 and valid(batch))
    async with Rig(kafka_settings, window_bytes=150, drain_s=5) as rig:
        await until(lambda: rig.seen == [(0, 0), (0, 1)])
        rig.finish_all()
        with pytest.raises(FatalStreamError, match=r"CorruptRecordError.*offset 2"):
            await rig.ended()
    assert committed(kafka_settings) == 2


async def test_errors_that_pass_are_retried_and_said_once(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topic(kafka_settings)
    fill(kafka_settings, 2)
    failures = 4
    poll = KafkaConsumer.poll

    def failing_poll(self: KafkaConsumer, *args: Any, **options: Any) -> Any:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise KafkaConnectionError("the cable is loose")
        return poll(self, *args, **options)

    monkeypatch.setattr(KafkaConsumer, "poll", failing_poll)
    with structlog.testing.capture_logs() as logs:
        async with Rig(kafka_settings) as rig:
            rig.finish_all()
            await until(lambda: committed(kafka_settings) == 2)
    assert _changes(logs) == ["kafka away", "kafka back"]


async def test_the_death_of_the_client_thread_ends_run(
    kafka_settings: KafkaSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_topic(kafka_settings)

    def die(*_: Any, **__: Any) -> None:
        raise SystemExit("gone")

    monkeypatch.setattr(KafkaConsumer, "poll", die)
    async with Rig(kafka_settings) as rig:
        with pytest.raises(FatalStreamError, match="gone"):
            await rig.ended()


async def test_stop_before_run(kafka_settings: KafkaSettings) -> None:
    rig = Rig(kafka_settings)
    rig.stream.stop()
    async with rig:
        await rig.ended()
    assert rig.arrivals == []


@refused
@pytest.mark.usefixtures("refused_connections")
async def test_a_kafka_that_is_not_there_is_waited_for_and_then_an_outage(free_port: int) -> None:
    nowhere = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port}")
    async with Rig(nowhere, outage_s=0.5) as rig:
        with pytest.raises(OutageError, match="reading has been failing"):
            await rig.ended()


@refused
@pytest.mark.usefixtures("refused_connections")
async def test_stop_while_connecting(free_port: int) -> None:
    nowhere = KafkaSettings(bootstrap_servers=f"127.0.0.1:{free_port}")
    async with Rig(nowhere, outage_s=2) as rig:
        await until(lambda: any(thread.name.startswith("kafka-io") for thread in threading.enumerate()))
        await rig.stop()


@refused
@pytest.mark.usefixtures("refused_connections")
async def test_a_kafka_that_goes_away_for_too_long_is_an_outage(tmp_path: Path) -> None:
    with EmbeddedBroker(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap)
        make_topic(kafka)
        fill(kafka, 1)
        with structlog.testing.capture_logs() as logs:
            async with Rig(kafka, outage_s=1.5) as rig:
                await until(lambda: len(rig.waiting) == 1)
                broker.kill()
                with pytest.raises(OutageError, match="reading has been failing"):
                    await rig.ended()
    assert _changes(logs) == ["kafka away"]


@pytest.mark.apache
@refused
@pytest.mark.usefixtures("refused_connections")
async def test_a_restart_of_kafka_is_survived(apache: ApacheKafka) -> None:
    kafka = KafkaSettings(bootstrap_servers=apache.bootstrap, topic_prefix=f"{uuid4().hex[:8]}.")
    make_topic(kafka)
    fill(kafka, 3)
    with structlog.testing.capture_logs() as logs:
        async with Rig(kafka, outage_s=60) as rig:
            await until(lambda: len(rig.waiting) == 3)
            apache.kill()
            rig.finish(0, 1)
            await until(lambda: any(entry["event"] == "kafka away" for entry in logs))
            apache.start()  # in this thread, with which it would die
            rig.finish_all()
            fill(kafka, 3)
            await until(lambda: committed(kafka) == 6, 30)
    assert {offset for _, offset in rig.seen} == set(range(6))
    assert _changes(logs) == ["kafka away", "kafka back"]
