"""Kafka and Valkey go away while workers run: they wait and go on by themselves, or give up and lose nothing."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from deploy.local import EmbeddedBroker, EmbeddedValkey
from tests.apache import ApacheKafka
from tests.system.plant import END_S, Plant
from worker.app import ExitCode
from worker.engine.scripted import Card, Script

pytestmark = [
    pytest.mark.system,
    # A refused connection leaves its socket to the garbage collector, in kafka-python 3.0.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

STEADY = Script(card=Card(images_per_s=100, in_flight=64, latency_s=0.2))


@pytest.mark.apache
@pytest.mark.parametrize("how", ["stop", "kill"])
async def test_apache_kafka_restarts_and_the_worker_goes_on(
    apache_plant: Plant, apache: ApacheKafka, how: Literal["stop", "kill"]
) -> None:
    plant = apache_plant
    await plant.feed(400)
    worker = await plant.start(STEADY)
    await plant.until_outcomes(100)
    getattr(apache, how)()
    apache.start()
    await plant.until_outcomes()
    await plant.feed(50)  # not only what it had fetched before
    await plant.until_outcomes()
    assert await worker.problems("/live") == []
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)


@pytest.fixture
def durable_valkey(tmp_path: Path) -> Iterator[EmbeddedValkey]:
    """A server that has lost nothing when it comes back."""
    with EmbeddedValkey(tmp_path / "valkey", fsync="always") as server:
        yield server


EVERYTHING_TO_REVIEW = {"GATE_UNCERTIFIED_THRESHOLD": ""}


async def test_valkey_restarts_and_the_worker_goes_on(
    tmp_path: Path, broker: EmbeddedBroker, durable_valkey: EmbeddedValkey
) -> None:
    async with Plant(tmp_path, broker, durable_valkey) as plant:
        await plant.feed(400)
        worker = await plant.start(STEADY, EVERYTHING_TO_REVIEW)
        await plant.until_outcomes(100)
        durable_valkey.kill()
        await plant.until(lambda: [line for line in worker.logged("waiting") if line["part"] == "review queue"])
        assert await worker.problems("/live") == []
        durable_valkey.start()
        await plant.until_outcomes()
        assert await worker.stop(END_S) == ExitCode.DRAINED
        await plant.check(repeats=False)


async def test_a_valkey_that_stays_away_ends_the_worker_uncommitted(
    tmp_path: Path, broker: EmbeddedBroker, durable_valkey: EmbeddedValkey
) -> None:
    async with Plant(tmp_path, broker, durable_valkey) as plant:
        await plant.feed(200)
        worker = await plant.start(STEADY, EVERYTHING_TO_REVIEW | {"STREAM_OUTAGE_S": "2"})
        await plant.until_outcomes(50)
        durable_valkey.kill()
        assert await worker.wait(END_S) == ExitCode.OUTAGE
        (last,) = worker.logged("stopped")
        assert last["meaning"] == "outage"
        assert "review queue has been failing" in last["error"]
        committed = await plant.check_committed()
        assert sum(committed.values()) < 200
        second = await plant.start(STEADY, EVERYTHING_TO_REVIEW)
        await plant.until(lambda: second.logged("waiting"))
        durable_valkey.start()
        await plant.until_outcomes()
        assert await second.stop(END_S) == ExitCode.DRAINED
        await plant.check(repeats=True)


@pytest.mark.apache
@pytest.mark.heavy
async def test_a_kafka_that_stays_away_ends_the_worker_uncommitted(apache_plant: Plant, apache: ApacheKafka) -> None:
    plant = apache_plant
    await plant.feed(200)
    worker = await plant.start(STEADY, {"STREAM_OUTAGE_S": "3", "STREAM_DRAIN_S": "2"})
    await plant.until_outcomes(50)
    apache.kill()
    assert await worker.wait(END_S) == ExitCode.OUTAGE
    second = await plant.start(STEADY)
    await plant.until(lambda: second.logged("kafka away"))
    apache.start()
    await plant.check_committed()
    await plant.until_outcomes()
    assert await second.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=True)
