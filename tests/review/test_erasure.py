"""Deleting a person's data from a real queue, cache and ledger: whole, repeated, interrupted, with nothing there."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from calibration.ledger.place import LedgerUnavailableError
from calibration.settings import KafkaSettings, LedgerSettings
from calibration.standing.items import find, items
from review import erasure
from review.erasure import ErasureReceipt, erase_person
from review.lease import NotWaitingError
from review.settings import ValkeySettings
from tests.review.console.history import History, fill
from tests.review.console.platform import Platform
from tests.review.tasks import make_task

NOW = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
def platform(kafka_settings: KafkaSettings, valkey_settings: ValkeySettings, tmp_path: Path) -> Platform:
    from worker.stream.topics import ensure_topics  # not before the client's own warnings are filtered

    ensure_topics(kafka_settings, partitions=1)
    return Platform(kafka_settings, valkey_settings, tmp_path)


@pytest.fixture
def ledger(platform: Platform) -> LedgerSettings:
    return LedgerSettings(path=platform.environment["TIDEGATE_LEDGER_PATH"])


@pytest.fixture
def history(platform: Platform) -> History:
    return fill(platform, readings=300, waiting=3)


@pytest.fixture
def cached(platform: Platform, history: History) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(platform.valkey.url) as client:
        for each in history.decisions:
            client.set(f"{platform.valkey.key_prefix}:reading:v1:{each.content_sha256}", "a reading")
        yield client


def delete(platform: Platform, ledger: LedgerSettings, kind: str, given: str) -> ErasureReceipt:
    return platform.queue(
        lambda queue: erase_person(
            *(queue, platform.valkey, platform.kafka, ledger),
            kind,  # type: ignore[arg-type]  # one of two words
            given,
            now=NOW,
        )
    )


def waiting(platform: Platform) -> list[str]:
    async def names(queue: object) -> list[str]:
        return [entry.event_id for entry in await queue.waiting(100)]  # type: ignore[attr-defined]  # a ReviewQueue

    return platform.queue(names)


def test_an_event_is_gone_everywhere_and_only_it(
    platform: Platform, ledger: LedgerSettings, history: History, cached: redis.Redis
) -> None:
    theirs, *others = waiting(platform)
    rows = len(items(ledger, "scenes", limit=1_000))
    receipt = delete(platform, ledger, "event", theirs)
    assert (receipt.tasks, receipt.readings) == (1, 1)
    assert receipt.ledger is not None
    assert receipt.ledger.events == 1
    assert theirs not in receipt.model_dump_json()
    assert waiting(platform) == others
    assert find(ledger, theirs) is None
    assert len(items(ledger, "scenes", limit=1_000)) == rows - 1
    assert len(cached.keys("*:reading:*")) == len(history.decisions) - 1
    again = delete(platform, ledger, "event", theirs)
    assert (again.tasks, again.readings) == (0, 0)
    assert again.ledger is not None
    assert {table.rows for table in again.ledger.tables.values()} == {0}


def test_one_that_is_interrupted_is_finished_by_the_next(
    platform: Platform, ledger: LedgerSettings, cached: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = waiting(platform)[0]

    def away(*_: object, **__: object) -> None:
        raise LedgerUnavailableError("the store is away")

    with monkeypatch.context() as patch:
        patch.setattr(erasure, "erase", away)
        with pytest.raises(LedgerUnavailableError):
            delete(platform, ledger, "event", theirs)
    assert find(ledger, theirs) is not None
    receipt = delete(platform, ledger, "event", theirs)
    assert (receipt.tasks, receipt.ledger and receipt.ledger.events) == (0, 1)
    assert find(ledger, theirs) is None


def test_everything_of_an_uploader_without_a_ledger(platform: Platform, ledger: LedgerSettings) -> None:
    theirs = [make_task(f"theirs-{n}", uploader_id="u-17") for n in range(2)]
    platform.put(*theirs, make_task("others", uploader_id="u-18"))
    held = platform.queue(lambda queue: queue.take("theirs-1", "ada"))
    receipt = delete(platform, ledger, "uploader", "u-17")
    assert (receipt.tasks, receipt.ledger) == (2, None)
    assert "u-17" not in receipt.model_dump_json()
    assert waiting(platform) == ["others"]
    with pytest.raises(NotWaitingError):
        platform.queue(lambda queue: queue.extend("theirs-1", held.lease.token))
