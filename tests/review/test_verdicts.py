"""A verdict reaches the topic before its task leaves the queue, whatever fails in between."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from calibration.settings import KafkaSettings, TopicName
from deploy.local import EmbeddedBroker, EmbeddedValkey
from review.lease import AlreadyDecidedError, NotHeldError
from review.queue import Next, PutResult, ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import Verdict
from review.verdicts import (
    UnknownLabelError,
    VerdictNotSettledError,
    VerdictNotWrittenError,
    VerdictWriter,
    give_verdict,
)
from tests.review.tasks import blind_task, claimed, make_task, until
from tests.review.topic import create_topics, read_verdicts

Written = Callable[[], list[Verdict]]


@pytest.fixture
async def writer(kafka_settings: KafkaSettings) -> AsyncIterator[VerdictWriter]:
    writer = VerdictWriter(kafka_settings)
    yield writer
    await asyncio.to_thread(writer.close)


async def test_a_verdict_carries_all_that_calibration_needs(
    queue: ReviewQueue, writer: VerdictWriter, written: Written
) -> None:
    task = blind_task().model_copy(update={"source": "stories"})
    await queue.put(task)
    claim = await claimed(queue)
    given = await give_verdict(queue, writer, "event-1", claim.lease.token, "fear", note="dark")
    assert await asyncio.to_thread(written) == [given]
    assert (given.reviewer, given.label, given.note, given.blind) == ("ada", "fear", "dark", True)
    for name in ("reason", "taxonomy", "source", "signals", "audit", "versions", "decided_at"):
        assert getattr(given, name) == getattr(task, name)
    assert given.decided_label == task.label
    assert given.given_at >= claim.lease.claimed_at
    assert given.seconds_spent == (given.given_at - claim.lease.claimed_at).total_seconds()
    assert await queue.put(task) is PutResult.ALREADY_DECIDED
    with pytest.raises(AlreadyDecidedError):
        await give_verdict(queue, writer, "event-1", claim.lease.token, "fear")


async def test_a_label_of_another_taxonomy_is_refused_with_the_list(
    queue: ReviewQueue, writer: VerdictWriter, written: Written
) -> None:
    await queue.put(make_task())
    claim = await claimed(queue)
    with pytest.raises(UnknownLabelError, match="'joy' is not one of its labels: amusement, awe, "):
        await give_verdict(queue, writer, "event-1", claim.lease.token, "joy")
    assert await asyncio.to_thread(written) == []
    assert (await give_verdict(queue, writer, "event-1", claim.lease.token, None)).label is None


async def test_a_reviewer_who_lost_the_task_writes_nothing(
    queue: ReviewQueue, hasty: ReviewQueue, writer: VerdictWriter, written: Written
) -> None:
    await hasty.put(make_task())
    lost = await claimed(hasty, "ada")

    async def taken() -> bool:
        return await queue.claim("bob") is not None

    await until(taken)
    with pytest.raises(NotHeldError, match="bob holds it now"):
        await give_verdict(queue, writer, "event-1", lost.lease.token, "awe")
    assert await asyncio.to_thread(written) == []


async def test_a_broker_that_hangs_leaves_the_task_with_its_reviewer(queue: ReviewQueue, tmp_path: Path) -> None:
    for event_id in ("event-1", "event-2"):
        await queue.put(make_task(event_id))
    first, second = await claimed(queue), await claimed(queue)
    with EmbeddedBroker(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap)
        await asyncio.to_thread(create_topics, kafka)
        writer = VerdictWriter(kafka, timeout_s=0.5)
        await give_verdict(queue, writer, first.task.event_id, first.lease.token, "awe")
        assert broker._process is not None
        broker._process.send_signal(signal.SIGSTOP)
        with pytest.raises(VerdictNotWrittenError, match=r"the verdict could not be written .* try again"):
            await give_verdict(queue, writer, second.task.event_id, second.lease.token, "awe")
        assert await queue.claim("bob") is None
        broker._process.send_signal(signal.SIGCONT)

        async def goes_on() -> bool:
            try:
                await give_verdict(queue, writer, second.task.event_id, second.lease.token, "fear")
            except VerdictNotWrittenError:
                return False
            return True

        await until(goes_on)
        verdicts = await asyncio.to_thread(read_verdicts, kafka)
        assert (verdicts[-1].event_id, verdicts[-1].label) == (second.task.event_id, "fear")
        assert (await queue.figures()).depth == 0
        await asyncio.to_thread(writer.close)


async def test_a_crash_after_the_verdict_brings_the_task_back_and_the_last_verdict_counts(
    valkey: EmbeddedValkey, queue: ReviewQueue, writer: VerdictWriter, written: Written
) -> None:
    class CrashError(Exception):
        pass

    class Crashing(ReviewQueue):
        async def complete(self, *arguments: Any, **options: Any) -> Next:
            raise CrashError

    await queue.put(make_task())
    claim = await claimed(queue, "ada")
    crashing = Crashing(ValkeySettings(url=valkey.url), ReviewSettings())
    with pytest.raises(CrashError):
        await give_verdict(crashing, writer, "event-1", claim.lease.token, "awe")
    await crashing.close()
    assert await queue.claim("bob") is None  # the lease covers the time that writing may take
    with Redis.from_url(valkey.url) as server:
        assert server.zadd("{tidegate}:review:leases", {"event-1": 1}, xx=True, ch=True) == 1  # it has passed
    second = await claimed(queue, "bob")
    await give_verdict(queue, writer, "event-1", second.lease.token, "fear")
    verdicts = await asyncio.to_thread(written)
    assert [(verdict.reviewer, verdict.label) for verdict in verdicts] == [("ada", "awe"), ("bob", "fear")]
    assert await queue.put(make_task()) is PutResult.ALREADY_DECIDED


async def test_valkey_dying_after_the_verdict_is_said_and_the_verdict_can_be_given_again(
    tmp_path: Path, kafka_settings: KafkaSettings, written: Written
) -> None:
    class Fatal(VerdictWriter):
        def write(self, name: TopicName, key: str, value: bytes | None) -> int:
            offset = super().write(name, key, value)
            valkey.kill()
            return offset

    with EmbeddedValkey(tmp_path, fsync="always") as valkey:
        queue = ReviewQueue(ValkeySettings(url=valkey.url), ReviewSettings())
        await queue.put(make_task())
        claim = await claimed(queue)
        writer = Fatal(kafka_settings)
        with pytest.raises(VerdictNotSettledError, match="event-1: your verdict is written and counts"):
            await give_verdict(queue, writer, "event-1", claim.lease.token, "awe")
        valkey.start()
        again = VerdictWriter(kafka_settings)
        await give_verdict(queue, again, "event-1", claim.lease.token, "awe")
        assert [verdict.label for verdict in await asyncio.to_thread(written)] == ["awe", "awe"]
        assert (await queue.figures()).depth == 0
        for part in (writer, again):
            await asyncio.to_thread(part.close)
        await queue.close()
