"""Workers and engines that die in mid-flight: every event still has one effective outcome."""

from __future__ import annotations

import signal

import pytest

from tests.system.plant import END_S, PARTITIONS, Plant, Worker, kill_points
from worker.app import ExitCode
from worker.engine.scripted import Card, Faults, Script

pytestmark = pytest.mark.system

CARD = Card(images_per_s=200, in_flight=64, latency_s=0.1)
FAULTS = Faults(busy=0.05, unparsable=0.1, rejected=0.05)
BUSY = Script(card=CARD, faults=FAULTS)
"""Dead letters, second tries and waiting: whatever a kill can meet."""


async def _kill_again_and_again(plant: Plant, events: int, points: list[int]) -> None:
    await plant.feed(events)
    for count in points:
        worker = await plant.start(BUSY)
        await plant.until_outcomes(count)
        worker.kill()
        assert await worker.wait(END_S) == -9
        await plant.check_committed()
    last = await plant.start(BUSY)
    await plant.until_outcomes()
    assert await last.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)


async def test_a_worker_is_killed_again_and_again(plant: Plant) -> None:
    await _kill_again_and_again(plant, 600, kill_points(1, 2, 600))


@pytest.mark.apache
async def test_a_worker_is_killed_again_and_again_on_apache_kafka(apache_plant: Plant) -> None:
    await _kill_again_and_again(apache_plant, 600, kill_points(2, 2, 600))


@pytest.mark.apache
@pytest.mark.heavy
@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(3, 6))
async def test_a_worker_is_killed_ten_times_on_apache_kafka(apache_plant: Plant, seed: int) -> None:
    await _kill_again_and_again(apache_plant, 4000, kill_points(seed, 10, 4000))


async def _two_workers(plant: Plant) -> tuple[Worker, Worker]:
    """Both at work, with half of the partitions each."""
    first, second = await plant.start(BUSY), await plant.start(BUSY)

    async def halves() -> bool:
        owned = [await worker.metric("tidegate_partitions_assigned") for worker in (first, second)]
        return owned == [PARTITIONS / 2] * 2

    await plant.until(halves)
    return first, second


@pytest.mark.apache
async def test_the_partitions_of_a_killed_worker_move_to_the_other(apache_plant: Plant) -> None:
    plant = apache_plant
    first, second = await _two_workers(plant)
    await plant.feed(600)
    await plant.until_outcomes(200)
    first.kill()
    await first.wait(END_S)
    await plant.until_outcomes()

    async def has_all() -> bool:  # the gauge is set once a second
        return await second.metric("tidegate_partitions_assigned") == PARTITIONS

    await plant.until(has_all)
    assert await second.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)


@pytest.mark.apache
async def test_a_worker_that_was_frozen_finds_its_partitions_gone_and_goes_on(apache_plant: Plant) -> None:
    """It still has events of them in flight, and may not commit them."""
    plant = apache_plant
    first, second = await _two_workers(plant)
    await plant.feed(600)
    await plant.until_outcomes(200)
    first.send(signal.SIGSTOP)

    async def all_moved() -> bool:
        return await second.metric("tidegate_partitions_assigned") == PARTITIONS

    await plant.until(all_moved)
    first.send(signal.SIGCONT)
    await plant.until_outcomes()
    await plant.until(lambda: first.metric("tidegate_rebalances_total", kind="lost"))
    await plant.until(lambda: first.metric("tidegate_partitions_assigned"))
    for worker in (first, second):
        assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)


@pytest.mark.apache
async def test_workers_that_come_and_go_in_good_order_repeat_nothing(apache_plant: Plant) -> None:
    plant = apache_plant
    first = await plant.start(BUSY)
    await plant.feed(100)
    await plant.until_outcomes(1)
    second = await plant.start(BUSY)

    async def shares_the_work() -> bool:
        if plant.sent - len(plant.account.outcomes) < 100:
            await plant.feed(100)  # so that partitions move while the first is at work
        return await second.metric("tidegate_decisions_total") > 0

    await plant.until(shares_the_work)
    await plant.feed(400)
    assert await first.stop(END_S) == ExitCode.DRAINED
    assert first.logged("draining")[0]["events"] > 0
    await plant.until_outcomes()
    assert await second.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)


async def test_an_engine_that_dies_ends_the_worker_uncommitted(plant: Plant) -> None:
    await plant.feed(300)
    worker = await plant.start(Script(card=CARD, faults=FAULTS.model_copy(update={"die_after": 100})))
    assert await worker.wait(END_S) == ExitCode.ENGINE
    (last,) = worker.logged("stopped")
    assert last["meaning"] == "engine"
    assert last["error"] == "the script let the engine die"
    committed = await plant.check_committed()
    assert sum(committed.values()) < 100
    healthy = await plant.start(BUSY)
    await plant.until_outcomes()
    assert await healthy.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)


async def test_an_engine_that_answers_nobody_counts_as_dead(plant: Plant) -> None:
    await plant.feed(20)
    settings = {"STREAM_OUTAGE_S": "1", "STREAM_DRAIN_S": "1", "ENGINE_ATTEMPTS": "1000"}
    worker = await plant.start(Script(faults=Faults(busy=1.0)), settings)
    assert await worker.wait(END_S) == ExitCode.ENGINE
    assert "no answer for" in worker.logged("stopped")[0]["error"]
    assert sum((await plant.check_committed()).values()) == 0
    healthy = await plant.start()
    await plant.until_outcomes()
    assert await healthy.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
