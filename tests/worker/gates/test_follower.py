"""A worker follows the gates topic: replay, reload, refusal, outage. On real brokers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from prometheus_client import REGISTRY
from structlog.testing import LogCapture

from calibration.gate import Gate
from calibration.policy import Stage
from calibration.rollout import StepKind
from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker
from tests.calibration.gates import NOW, READER, certified_gate, make_policy, make_rollout
from tests.waiting import eventually
from tests.worker.gates.test_book import KEY, TAXONOMIES, route
from tests.worker.gates.topic import make_topic, remove_topic, write
from tests.worker.stream.rig import refused
from worker.gates.book import GateBook
from worker.gates.follower import GateFollower
from worker.gates.topic import read_all

if TYPE_CHECKING:
    from tests.apache import ApacheKafka

FIRST = make_rollout()
SECOND = FIRST.step(NOW, StepKind.FULL, "gate-2", "promoted", live=certified_gate("gate-2"))
SHUT = SECOND.step(
    NOW,
    StepKind.SHUT,
    "gate-2",
    "9 of 60 audits were wrong",
    live=Gate(gate_id="closed-3", created_at=NOW, taxonomy="scenes", policy=make_policy(), audit_rate=0.5),
)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    """What is logged, from any thread."""
    before = structlog.get_config()
    capture = LogCapture()
    structlog.configure(processors=[capture])
    yield capture.entries
    structlog.configure(**before)


def gate_in_force(book: GateBook, taxonomy: str = "scenes") -> str:
    return route(book, taxonomy=taxonomy).gate.gate_id


def shows(book: GateBook, gate: str) -> bool:
    return gate_in_force(book) == gate


async def until(condition: Callable[[], object], deadline_s: float = 10.0) -> None:
    await asyncio.to_thread(eventually, condition, deadline_s)


@asynccontextmanager
async def following(kafka: KafkaSettings, key: bytes | None = KEY, replay_s: float = 10.0) -> AsyncIterator[GateBook]:
    book = GateBook(READER, key, TAXONOMIES)
    follower = GateFollower(kafka, book, has_key=key is not None, replay_s=replay_s)
    await follower.start()
    try:
        yield book
    finally:
        await follower.close()


async def test_a_start_replays_the_topic_and_knows_only_its_end(kafka: KafkaSettings, logs: list[Any]) -> None:
    await asyncio.to_thread(make_topic, kafka)
    await asyncio.to_thread(write, kafka, FIRST, b"damaged", SECOND, SHUT)
    async with following(kafka) as book:
        assert gate_in_force(book) == "closed-3"
    assert [line["step"] for line in logs if line["event"] == "gate"] == ["shut"]
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["gate refused"]


async def test_an_empty_topic_is_read_at_once(kafka: KafkaSettings, logs: list[Any]) -> None:
    await asyncio.to_thread(make_topic, kafka)
    async with following(kafka) as book:
        assert gate_in_force(book) == "closed"
    assert not logs


async def test_each_record_takes_effect_as_it_comes(kafka: KafkaSettings) -> None:
    await asyncio.to_thread(make_topic, kafka)
    async with following(kafka) as book:
        for rollout, gate in ((FIRST, "gate-1"), (SECOND, "gate-2"), (SHUT, "closed-3")):
            await asyncio.to_thread(write, kafka, rollout)
            await until(partial(shows, book, gate))
        await asyncio.to_thread(write, kafka, None)
        await until(lambda: gate_in_force(book) == "closed")
        await asyncio.to_thread(write, kafka, FIRST)
        await until(lambda: gate_in_force(book) == "gate-1")


async def test_taxonomies_on_several_partitions_go_their_own_ways(kafka: KafkaSettings) -> None:
    await asyncio.to_thread(make_topic, kafka, partitions=3)
    names = [f"mood-{number}" for number in range(5)]
    for name in names:
        gate = certified_gate(f"gate-of-{name}", taxonomy=name, policy=make_policy(taxonomy=name))
        await asyncio.to_thread(write, kafka, make_rollout(gate), key=name.encode())
    async with following(kafka) as book:
        assert [gate_in_force(book, name) for name in names] == [f"gate-of-{name}" for name in names]


async def test_what_is_refused_is_told_and_the_last_good_gate_stays(kafka: KafkaSettings, logs: list[Any]) -> None:
    newer = SECOND.model_dump_json().replace('"schema_version":1', '"schema_version":2', 1).encode()
    before = REGISTRY.get_sample_value("tidegate_gate_refusals_total", {"reason": "damaged"}) or 0.0
    await asyncio.to_thread(make_topic, kafka)
    await asyncio.to_thread(write, kafka, SECOND)
    async with following(kafka) as book:
        await asyncio.to_thread(write, kafka, b"\x00", newer, FIRST)
        await asyncio.to_thread(write, kafka, SECOND, key=b"emoset-8")
        await until(lambda: sum(line["event"] == "gate refused" for line in logs) == 4)
        assert gate_in_force(book) == "gate-2"
        await asyncio.to_thread(write, kafka, SHUT)
        await until(lambda: gate_in_force(book) == "closed-3")
    told = [(line["offset"], line["reason"], line["stays"]) for line in logs if line["event"] == "gate refused"]
    assert told == [
        (1, "damaged", "gate-2, step 2"),
        (2, "other_schema", "gate-2, step 2"),
        (3, "earlier", "gate-2, step 2"),
        (4, "wrong_key", "closed"),
    ]
    assert REGISTRY.get_sample_value("tidegate_gate_refusals_total", {"reason": "damaged"}) == before + 1


async def test_without_a_key_a_gate_that_draws_is_refused(kafka: KafkaSettings, logs: list[Any]) -> None:
    await asyncio.to_thread(make_topic, kafka)
    await asyncio.to_thread(write, kafka, FIRST)
    async with following(kafka, key=None) as book:
        assert gate_in_force(book) == "closed"
    (line,) = [each for each in logs if each["event"] == "gate refused"]
    assert line["reason"] == "no_audit_key"
    assert "TIDEGATE_GATE_AUDIT_KEY is not set" in line["detail"]


async def test_a_canary_comes_and_goes(kafka: KafkaSettings) -> None:
    canary = certified_gate("gate-2", stage=Stage.CANARY, policy=make_policy(canary_share=0.5))
    on = FIRST.step(NOW, StepKind.CANARY, "gate-2", candidate=canary)
    off = on.step(NOW, StepKind.ROLLED_BACK, "gate-2", "it passes too little", candidate=None)
    await asyncio.to_thread(make_topic, kafka)
    await asyncio.to_thread(write, kafka, FIRST)

    def gates(book: GateBook) -> set[str]:
        return {route(book, f"event-{number}").gate.gate_id for number in range(50)}

    async with following(kafka) as book:
        assert gates(book) == {"gate-1"}
        await asyncio.to_thread(write, kafka, on)
        await until(lambda: gates(book) == {"gate-1", "gate-2"})
        await asyncio.to_thread(write, kafka, off)
        await until(lambda: gates(book) == {"gate-1"})


async def test_a_start_without_the_topic_is_closed_and_takes_it_when_it_comes(
    kafka: KafkaSettings, logs: list[Any]
) -> None:
    async with following(kafka, replay_s=0.2) as book:
        assert gate_in_force(book) == "closed"
        await until(lambda: any(line["event"] == "gates topic away" for line in logs))
        await asyncio.to_thread(make_topic, kafka)
        await asyncio.to_thread(write, kafka, FIRST)
        await until(lambda: gate_in_force(book) == "gate-1", 20.0)
    events = [line["event"] for line in logs]
    assert {"gates not replayed yet", "gates topic away", "gates topic back"} <= set(events)
    assert "`tidegate topics apply`" in next(line["error"] for line in logs if line["event"] == "gates topic away")


@pytest.mark.apache
async def test_a_topic_that_was_made_again_is_read_from_its_start(apache: ApacheKafka, logs: list[Any]) -> None:
    """As a worker does that starts now."""
    kafka = KafkaSettings(bootstrap_servers=apache.bootstrap, topic_prefix="replaced.")
    await asyncio.to_thread(make_topic, kafka)
    await asyncio.to_thread(write, kafka, SECOND, SECOND, SECOND)
    async with following(kafka) as book:
        assert gate_in_force(book) == "gate-2"
        await asyncio.to_thread(remove_topic, kafka)
        await until(lambda: any(line["event"] == "gates topic away" for line in logs), 30.0)
        assert gate_in_force(book) == "gate-2"
        await asyncio.to_thread(make_topic, kafka)
        await asyncio.to_thread(write, kafka, FIRST)
        await until(lambda: gate_in_force(book) == "gate-1", 30.0)
    assert any(line["event"] == "gates topic replaced" for line in logs)
    assert not any(line["event"] == "gate refused" for line in logs)


@refused
@pytest.mark.usefixtures("refused_connections")
async def test_while_kafka_is_away_the_last_good_gate_stays(tmp_path: Path, logs: list[Any]) -> None:
    """The embedded broker forgets everything when it ends: the topic that comes back is another one."""
    with EmbeddedBroker(tmp_path) as broker:
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap)
        await asyncio.to_thread(make_topic, kafka)
        await asyncio.to_thread(write, kafka, FIRST, SECOND)
        async with following(kafka) as book:
            assert gate_in_force(book) == "gate-2"
            broker.kill()
            await until(lambda: any(line["event"] == "gates topic away" for line in logs), 20.0)
            assert gate_in_force(book) == "gate-2"
            assert (REGISTRY.get_sample_value("tidegate_gate_silence_seconds") or 0.0) > 0.0
            broker.start()
            await asyncio.to_thread(make_topic, kafka)
            await asyncio.to_thread(write, kafka, SHUT)
            await until(lambda: gate_in_force(book) == "closed-3", 30.0)
            assert any(line["event"] == "gates topic back" for line in logs)


async def test_everything_can_be_read_once(kafka: KafkaSettings) -> None:
    await asyncio.to_thread(make_topic, kafka)
    assert await asyncio.to_thread(read_all, kafka, 10.0) == []
    await asyncio.to_thread(write, kafka, FIRST, None, b"any")
    records = await asyncio.to_thread(read_all, kafka, 10.0)
    assert [(each.offset, each.key) for each in records] == [(0, b"scenes"), (1, b"scenes"), (2, b"scenes")]
    assert [each.value for each in records] == [FIRST.model_dump_json().encode(), None, b"any"]
