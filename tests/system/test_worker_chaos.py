"""Everything that may happen to workers and servers, in any order. Heavy: a minute or two for each seed."""

from __future__ import annotations

import random
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from deploy.local import EmbeddedValkey
from tests.apache import ApacheKafka
from tests.system.plant import END_S, PARTITIONS, Plant, Worker
from worker.app import ExitCode
from worker.engine.scripted import Card, Faults, Script

pytestmark = [
    pytest.mark.system,
    pytest.mark.apache,
    pytest.mark.heavy,
    pytest.mark.timeout(900),
    # A refused connection leaves its socket to the garbage collector, in kafka-python 3.0.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

SCRIPT = Script(
    card=Card(images_per_s=100, in_flight=64, latency_s=0.2), faults=Faults(busy=0.05, unparsable=0.1, rejected=0.05)
)


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_happens_every_event_has_one_outcome(tmp_path: Path, apache: ApacheKafka, seed: int) -> None:
    chance = random.Random(seed)
    with EmbeddedValkey(tmp_path / "valkey", fsync="always") as valkey:
        async with Plant(tmp_path, apache.start(), valkey) as plant:
            alive: list[Worker] = []

            async def start() -> None:
                worker = await plant.start(SCRIPT)
                alive.append(worker)
                await plant.until(lambda: worker.logged("loading model"))  # earlier, a stop ends it without a word

            async def kill() -> None:
                worker = alive.pop(chance.randrange(len(alive)))
                worker.kill()
                await worker.wait(END_S)

            async def stop() -> None:
                assert await alive.pop(chance.randrange(len(alive))).stop(END_S) == ExitCode.DRAINED

            async def kill_kafka() -> None:
                apache.kill()
                apache.start()

            async def stop_kafka() -> None:
                apache.stop()
                apache.start()

            async def kill_valkey() -> None:
                valkey.kill()
                valkey.start()

            async def freeze() -> None:
                """Until others have taken its partitions, if there are others."""
                frozen, *others = chance.sample(alive, len(alive))
                if not others:
                    return

                async def moved() -> bool:
                    owned = [await worker.metric("tidegate_partitions_assigned") for worker in others]
                    return sum(owned) == PARTITIONS

                frozen.send(signal.SIGSTOP)
                await plant.until(moved)
                frozen.send(signal.SIGCONT)

            acts: list[Callable[[], Awaitable[None]]] = [
                start,
                start,
                kill,
                stop,
                freeze,
                kill_kafka,
                stop_kafka,
                kill_valkey,
            ]
            await plant.feed(500)
            await start()
            for _ in range(15):
                await plant.feed(100)
                reached = len(plant.account.outcomes) + chance.randrange(100)
                await plant.until_outcomes(min(reached, plant.sent))
                await chance.choice(acts)()
                if not alive or len(alive) > 3:
                    await (stop if alive else start)()
            await plant.until_outcomes()
            for worker in alive:
                assert await worker.stop(END_S) == ExitCode.DRAINED
            await plant.check(repeats=True)
