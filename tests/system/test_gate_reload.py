"""Gates change under running workers: no restart, no lost event, and nothing passes that should not."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from calibration.audit import draw_audit
from calibration.gate import Gate, Reason, Route
from calibration.outcome import Reader
from calibration.policy import AuditRates, Stage
from calibration.rollout import Rollout, StepKind
from tests.calibration.gates import NOW, certified, certified_gate, make_policy, make_rollout
from tests.system.plant import END_S, SIDE, Plant, Worker, image_event
from tests.worker.gates.topic import write
from worker.app import ExitCode
from worker.engine.scripted import Card, Script, ScriptedEngine
from worker.events import Decision, ImageEvent
from worker.gates.configured import configured_taxonomies
from worker.reading.prompt import PROMPT_VERSION
from worker.reading.resize import decoder_version, load_pixel_budget
from worker.settings import EngineSettings, ServingSettings

pytestmark = pytest.mark.system

KEY = "a secret of all workers"
FOLLOWING = {"GATE_UNCERTIFIED_THRESHOLD": "", "GATE_AUDIT_RATE": "", "GATE_AUDIT_KEY": KEY}
SCRIPT = Script(card=Card(images_per_s=100, in_flight=32, latency_s=0.05))
LABELS = configured_taxonomies(ServingSettings())["scenes"].labels
POLICY = make_policy(audit_rates=AuditRates(closed=0.25, canary=0.1, full=0.1), canary_share=0.3)


def reader_of(script: Script) -> Reader:
    """What a worker with this script writes into its decisions."""
    engine = EngineSettings(kind="scripted", min_pixels=SIDE * SIDE, max_pixels=SIDE * SIDE)
    return Reader(
        model=ScriptedEngine(script).model_version,
        prompt=PROMPT_VERSION,
        decoder=decoder_version(load_pixel_budget(engine)),
    )


def gate(gate_id: str, **changes: Any) -> Gate:
    """Passes about a quarter of what the script says."""
    fields = {"reader": reader_of(SCRIPT), "policy": POLICY, "audit_rate": 0.1}
    return certified_gate(gate_id, certified(0.9, *LABELS), **{**fields, **changes})


def closed(gate_id: str) -> Gate:
    return Gate(gate_id=gate_id, created_at=NOW, taxonomy="scenes", policy=POLICY, audit_rate=0.25)


def decisions(plant: Plant) -> list[Decision]:
    return [outcome for outcome in plant.account.all if isinstance(outcome, Decision)]


def by_gate(plant: Plant) -> dict[str, list[Decision]]:
    found: dict[str, list[Decision]] = {}
    for decision in sorted(decisions(plant), key=lambda each: each.decided_at):
        found.setdefault(decision.versions.gate, []).append(decision)
    return found


def passed(found: list[Decision]) -> int:
    return sum(decision.route is Route.AUTO_ACCEPT for decision in found)


async def told(plant: Plant, worker: Worker, sequence: int) -> None:
    """Wait until a worker says that this step has taken effect."""
    await plant.until(lambda: any(line.get("sequence") == sequence for line in worker.logged("gate")))


async def some_by(plant: Plant, gate_id: str, count: int = 60) -> None:
    """Wait for so many decisions of a gate."""
    await plant.until(lambda: len(by_gate(plant).get(gate_id, [])) >= count)


def check_audits(found: list[Decision], rate: float) -> None:
    """Drawn at this rate, by the key, whether they would have passed or not."""
    assert any(decision.audit and decision.audit.selected for decision in found)
    for decision in found:
        assert decision.audit is not None
        drawn = draw_audit(KEY.encode(), decision.event_id, rate, would_pass=decision.audit.would_pass)
        assert decision.audit == drawn
        assert (decision.reason is Reason.AUDIT) == drawn.selected
        if not drawn.selected:
            assert drawn.would_pass == (decision.route is Route.AUTO_ACCEPT)


async def test_gates_come_and_go_while_events_flow(plant: Plant) -> None:
    worker = await plant.start(SCRIPT, FOLLOWING)
    flowing = True

    def stream() -> Iterator[ImageEvent]:
        number = 0
        while flowing:
            yield image_event(number, source="feed" if number % 2 else "")
            number += 1

    feeding = asyncio.create_task(plant.feed_events(stream(), rate=100))
    await some_by(plant, "closed")  # nothing has been written yet

    first = make_rollout(closed("closed-1"))
    await asyncio.to_thread(write, plant.kafka, first)
    await some_by(plant, "closed-1")

    shadow = first.step(NOW, StepKind.SHADOW, "gate-2", candidate=gate("gate-2", stage=Stage.SHADOW))
    await asyncio.to_thread(write, plant.kafka, shadow)
    await told(plant, worker, 2)

    canary = shadow.step(NOW, StepKind.CANARY, "gate-2", candidate=gate("gate-2", stage=Stage.CANARY))
    await asyncio.to_thread(write, plant.kafka, canary)
    await some_by(plant, "gate-2")

    full = canary.step(NOW, StepKind.FULL, "gate-3", "promoted", live=gate("gate-3"), candidate=None)
    await asyncio.to_thread(write, plant.kafka, full)
    await some_by(plant, "gate-3")

    async def gauges() -> tuple[float, float]:
        names = ("tidegate_gate_certified", "tidegate_gate_sequence")
        certified, sequence = [await worker.metric(name, taxonomy="scenes") for name in names]
        return certified, sequence

    async def certified_by_step_4() -> bool:  # the gauges are set once a second
        return await gauges() == (1, 4)

    await plant.until(certified_by_step_4)

    newer = full.model_dump_json().replace('"schema_version":1', '"schema_version":2', 1).encode()
    await asyncio.to_thread(write, plant.kafka, b"{", newer, canary)
    await plant.until(lambda: len(worker.logged("gate refused")) == 3)
    assert [line["reason"] for line in worker.logged("gate refused")] == ["damaged", "other_schema", "earlier"]
    assert {line["stays"] for line in worker.logged("gate refused")} == {"gate-3, step 4"}
    await some_by(plant, "gate-3", len(by_gate(plant)["gate-3"]) + 60)  # the last good one stays
    assert await worker.metric("tidegate_gate_refusals_total") == 3

    shut = full.step(NOW, StepKind.SHUT, "gate-3", "9 of 60 audits were wrong", live=closed("closed-5"))
    await asyncio.to_thread(write, plant.kafka, shut)
    await told(plant, worker, 5)
    shut_at = datetime.now(UTC)

    async def shut_by_step_5() -> bool:
        return await gauges() == (0, 5)

    await plant.until(shut_by_step_5)
    await some_by(plant, "closed-5")
    await asyncio.to_thread(write, plant.kafka, None)
    await some_by(plant, "closed", len(by_gate(plant)["closed"]) + 60)

    flowing = False
    await feeding
    await plant.until_outcomes()
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)

    found = by_gate(plant)
    assert set(found) == {"closed", "closed-1", "gate-2", "gate-3", "closed-5"}
    assert {name: passed(each) > 0 for name, each in found.items()} == {
        "closed": False,
        "closed-1": False,
        "gate-2": True,
        "gate-3": True,
        "closed-5": False,
    }
    assert all(decision.audit is None for decision in found["closed"])
    for name, rate in {"closed-1": 0.25, "gate-2": 0.1, "gate-3": 0.1, "closed-5": 0.25}.items():
        check_audits(found[name], rate)
    check_shadow_and_canary(found, canary)
    assert {decision.source for decision in found["gate-3"]} == {"", "feed"}
    assert all(decision.decided_at < shut_at for decision in found["gate-3"] + found["gate-2"])
    (told_shut,) = [line for line in worker.logged("gate") if line["step"] == "shut"]
    assert told_shut["reasons"] == ["9 of 60 audits were wrong"]
    assert len(worker.logged("gate withdrawn")) == 1


def check_shadow_and_canary(found: dict[str, list[Decision]], canary: Rollout) -> None:
    """What a gate to come would have done stands beside what was done; each event has the gate that its draw says."""
    beside = [decision for decision in found["closed-1"] if decision.shadow is not None]
    assert {decision.shadow and decision.shadow.gate for decision in beside} == {"gate-2"}
    would = {decision.shadow and decision.shadow.route for decision in beside}
    assert would == {Route.AUTO_ACCEPT, Route.REVIEW}
    assert passed(beside) == 0
    key = KEY.encode()
    started = found["gate-2"][0].decided_at
    for decision in found["gate-2"]:
        assert canary.gate_of(key, decision.event_id).gate_id == "gate-2"
        assert decision.shadow is None
        assert (decision.versions.policy, decision.versions.calibrator) == (
            "policy-1",
            canary.candidate and canary.candidate.calibrator_version,
        )
    undrawn = [decision for decision in found["closed-1"] if decision.decided_at > started]
    assert undrawn
    assert all(canary.gate_of(key, decision.event_id).gate_id == "closed-1" for decision in undrawn)


async def test_a_worker_starts_with_the_gate_that_holds_and_shuts_it_at_its_time(plant: Plant) -> None:
    first = make_rollout(closed("closed-1"))
    second = first.step(NOW, StepKind.FULL, "gate-2", live=gate("gate-2"))
    await asyncio.to_thread(write, plant.kafka, first, second)
    await plant.feed(100)
    worker = await plant.start(SCRIPT, FOLLOWING)
    await plant.until_outcomes()
    assert set(by_gate(plant)) == {"gate-2"}  # not one by what came before on the topic
    assert passed(by_gate(plant)["gate-2"]) > 0

    until = datetime.now(UTC) + timedelta(seconds=2)
    third = second.step(NOW, StepKind.RENEWED, "gate-2", live=gate("gate-2", expires_at=until))
    await asyncio.to_thread(write, plant.kafka, third)
    other = await plant.start(SCRIPT.model_copy(update={"seed": 1}), FOLLOWING)
    await plant.until(lambda: other.logged("gate of another reader"))
    await plant.until(lambda: worker.logged("gate expired"))
    await plant.feed(100)
    await plant.until_outcomes()
    for each in (worker, other):
        assert await each.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
    late = by_gate(plant)
    assert set(late) <= {"gate-2", "gate-2/expired", "gate-2/other-reader"}
    assert "gate-2/expired" in late or "gate-2/other-reader" in late
    shut = [decision for name, found in late.items() if name != "gate-2" for decision in found]
    assert len(shut) == 100
    assert passed(shut) == 0
    check_audits(shut, 0.25)


async def test_without_an_audit_key_a_gate_is_refused_and_nothing_passes(plant: Plant) -> None:
    await asyncio.to_thread(write, plant.kafka, make_rollout(gate("gate-1")))
    await plant.feed(50)
    worker = await plant.start(SCRIPT, FOLLOWING | {"GATE_AUDIT_KEY": ""})
    await plant.until_outcomes()
    assert await worker.stop(END_S) == ExitCode.DRAINED
    await plant.check(repeats=False)
    assert [line["reason"] for line in worker.logged("gate refused")] == ["no_audit_key"]
    assert {(decision.versions.gate, decision.reason) for decision in decisions(plant)} == {
        ("closed", Reason.NO_CERTIFICATE)
    }
