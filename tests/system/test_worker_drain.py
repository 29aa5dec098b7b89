"""A worker's life from start to drain: what its probes say, what it holds at once, and that a stop repeats nothing."""

from __future__ import annotations

import signal

import pytest

from tests.system.plant import END_S, PARTITIONS, Plant, bitmap, image_event
from worker.app import ExitCode
from worker.engine.scripted import Card, Script

pytestmark = pytest.mark.system

QUICK = Script(card=Card(images_per_s=300, in_flight=64, latency_s=0.1))


async def test_a_stop_finishes_and_commits_what_is_in_flight(plant: Plant) -> None:
    await plant.feed(600)
    for number, outcomes in ((signal.SIGTERM, 100), (signal.SIGINT, 300)):
        worker = await plant.start(QUICK)
        await plant.until_outcomes(outcomes)
        worker.send(number)
        assert await worker.wait(END_S) == ExitCode.DRAINED
        assert worker.logged("draining")[0]["events"] > 0
        assert not worker.logged("event given up")
        assert sum((await plant.check_committed()).values()) == len(plant.account.outcomes) < plant.sent
    last = await plant.start(QUICK)
    await plant.until_outcomes()
    assert await last.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


async def test_what_outlasts_the_drain_deadline_comes_again(plant: Plant) -> None:
    await plant.feed(30)
    worker = await plant.start(Script(card=Card(latency_s=60)), {"STREAM_DRAIN_S": "0.5"})

    async def all_in_the_engine() -> bool:
        return await worker.metric("tidegate_engine_in_flight") == 30

    await plant.until(all_in_the_engine)
    assert await worker.stop(END_S) == ExitCode.DRAINED
    given_up = {(line["partition"], line["offset"]) for line in worker.logged("event given up")}
    assert len(given_up) == 30
    assert sum(plant.committed().values()) == 0
    assert not plant.account.outcomes
    second = await plant.start(QUICK)
    await plant.until_outcomes()
    assert await second.stop(END_S) == ExitCode.DRAINED
    assert plant.account.outcomes.keys() == given_up
    await plant.check(repeats=False)


async def test_the_probes_tell_what_a_worker_is_doing(plant: Plant) -> None:
    worker = await plant.start(Script(card=Card(latency_s=4)))

    async def lives() -> bool:
        return await worker.problems("/live") == []

    await plant.until(lives)
    seen = await worker.problems("/ready")
    assert seen in (["the model is loading"], ["no partition is assigned"], [])
    await plant.until(worker.ready)
    assert await worker.problems("/live") == []
    assert await worker.state() == "working"
    await plant.until(lambda: worker.metric("tidegate_partitions_assigned"))
    assert await worker.metric("tidegate_partitions_assigned") == PARTITIONS

    await plant.feed(10)

    async def all_in_the_engine() -> bool:
        return await worker.metric("tidegate_engine_in_flight") == 10

    await plant.until(all_in_the_engine)
    worker.send(signal.SIGTERM)

    async def drains() -> bool:
        return await worker.problems("/ready") == ["draining"]

    await plant.until(drains)
    assert await worker.problems("/live") == []
    assert await worker.wait(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


async def test_a_stop_before_the_first_event(plant: Plant) -> None:
    worker = await plant.start()
    await plant.until(lambda: worker.logged("loading model"))
    worker.send(signal.SIGTERM)
    assert await worker.wait(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


async def test_a_slow_engine_holds_no_more_than_its_window_and_stays_in_the_group(plant: Plant) -> None:
    """Paused for longer than a poll may take, with a hundred megabytes waiting in the topic."""
    window = 16
    settings = {
        "STREAM_WINDOW_EVENTS": str(window),
        "STREAM_WINDOW_BYTES": "4000000",
        "STREAM_MAX_POLL_INTERVAL_MS": "1500",
        "STREAM_SESSION_TIMEOUT_MS": "1200",
        "INTAKE_READING_CACHE_TTL_S": "0",
    }
    data = bitmap(0, side=224)  # 150 kB, 200 kB in its event
    await plant.feed_events(image_event(number, data) for number in range(window))
    worker = await plant.start(Script(card=Card(latency_s=2.5)), settings)
    await plant.until_outcomes(window)
    before_mb = worker.resident_mb()

    await plant.feed_events(image_event(number, data) for number in range(window, 500))
    held, resident_mb = [], []

    async def three_more_rounds() -> bool:
        held.append(await worker.metric("tidegate_events_in_flight"))
        resident_mb.append(worker.resident_mb())
        return len(plant.account.outcomes) >= 4 * window

    await plant.until(three_more_rounds)
    assert max(held) == window
    assert max(resident_mb) - before_mb < 40
    assert await worker.metric("tidegate_rebalances_total", kind="assigned") == 1
    assert await worker.metric("tidegate_rebalances_total", kind="lost") == 0
    assert await worker.stop(END_S) == ExitCode.DRAINED
    assert plant.account.repeats == 0
    assert sum((await plant.check_committed()).values()) == len(plant.account.outcomes)
