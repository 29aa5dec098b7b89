"""What the console's process does by itself, on a real broker and Valkey."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from calibration.ledger.topic import publish
from calibration.settings import KafkaSettings
from review.golden import GoldenItem, write_items
from review.queue import ReviewQueue
from review.settings import ConsoleSettings
from review.task import KeyReference
from review.telemetry import exposition
from review.upkeep import Upkeep
from tests.review.tasks import LABELS, claimed, decide, make_task, until


@pytest.fixture
def topics(kafka_settings: KafkaSettings) -> KafkaSettings:
    from worker.stream.topics import ensure_topics  # not before the client's own warnings are filtered

    ensure_topics(kafka_settings, partitions=1)
    return kafka_settings


async def test_a_task_that_the_queue_lacks_is_found(topics: KafkaSettings, queue: ReviewQueue) -> None:
    old = make_task("lost-1", waiting_s=3_600)
    record = json.dumps(old.model_dump(mode="json") | {"route": "review"}).encode()
    publish(topics, "decisions", old.event_id, record)
    await queue.put(make_task("there-1"))
    watching = Upkeep(topics, queue, ConsoleSettings(check_queue_every_s=1))
    watching.start()

    async def compared() -> bool:
        return watching.difference is not None

    try:
        await until(compared)
    finally:
        await watching.close()
    assert watching.difference is not None
    assert (watching.difference.missing, watching.difference.missing_ids) == (1, ("lost-1",))
    assert watching.compared_at is not None
    metrics = exposition().decode()
    assert "tidegate_review_missing_tasks 1.0" in metrics
    assert "tidegate_review_queue_tasks 1.0" in metrics


async def test_golden_items_are_mixed_in_as_work_is_done(
    topics: KafkaSettings, queue: ReviewQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    item = GoldenItem(
        golden_id="known-1",
        image=KeyReference(key="photos/known-1.jpg"),
        taxonomy="emoset-8",
        labels=LABELS,
        label="awe",
        author="lead",
        added_at=datetime.now(UTC),
    )
    write_items(topics, [item])
    settings = ConsoleSettings(check_queue_every_s=0, golden_share=0.5, golden_every_s=10)
    settings = settings.model_copy(update={"golden_every_s": 0.05})
    mixing = Upkeep(topics, queue, settings)
    for number in range(6):
        await queue.put(make_task(f"plain-{number}"))
    begun = []
    figures = queue.figures

    async def counted() -> object:
        begun.append(1)
        return await figures()

    monkeypatch.setattr(queue, "figures", counted)
    mixing.start()

    async def looked() -> bool:
        return len(begun) > 2

    async def mixed() -> bool:
        return (await figures()).depth == 6 - 2 + 1

    try:
        await until(looked)
        for _ in range(2):
            await decide(queue, await claimed(queue))
        await until(mixed)
    finally:
        await mixing.close()
