"""Whole workers that look twice: doubtful readings have their agreement, sure ones none, and nothing is mixed up."""

from __future__ import annotations

from pathlib import Path

import pytest

from calibration.gate import Route
from tests.system.plant import END_S, Plant, bitmap, image_event
from tests.system.test_gate_reload import SCRIPT, gate
from worker.app import ExitCode
from worker.engine.scripted import Script
from worker.events import Decision
from worker.reading.prompt import PROMPT_VERSION

pytestmark = pytest.mark.system

IMAGES = 60
LOOK = {"SECOND_LOOK_SAMPLES": "3", "SECOND_LOOK_LOW": "0.4", "SECOND_LOOK_HIGH": "0.8"}
LOOKING = f"{PROMPT_VERSION}+look3@0.7[0.4,0.8]"


async def decided(plant: Plant, name: str, settings: dict[str, str], script: Script | None = None) -> list[Decision]:
    """What a worker of its own makes of the same images under new names."""
    worker = await plant.start(script, settings)
    await plant.feed_events(
        image_event(number, bitmap(number), event_id=f"{name}-{number}") for number in range(IMAGES)
    )
    await plant.until_outcomes()
    looked = await worker.metric("tidegate_second_looks_total")
    samples = await worker.metric("tidegate_second_look_samples_total")
    assert samples == 3 * looked
    assert await worker.stop(END_S) == ExitCode.DRAINED
    outcomes = [outcome for outcome in plant.account.all if isinstance(outcome, Decision)]
    found = [outcome for outcome in outcomes if outcome.event_id.startswith(f"{name}-")]
    assert len(found) == IMAGES
    fresh = [decision for decision in found if not decision.cached]
    assert looked == sum(decision.signals.agreement is not None for decision in fresh)
    return sorted(found, key=lambda decision: decision.content_sha256 or "")


def in_zone(decision: Decision) -> bool:
    probability = decision.signals.label_probability
    assert probability is not None
    return 0.4 <= probability <= 0.8


async def test_doubtful_readings_are_looked_at_again(plant: Plant) -> None:
    once = await decided(plant, "once", {})
    assert {decision.versions.prompt for decision in once} == {PROMPT_VERSION}
    assert all(decision.signals.agreement is None for decision in once)

    twice = await decided(plant, "twice", LOOK)
    assert {decision.versions.prompt for decision in twice} == {LOOKING}
    assert not any(decision.cached for decision in twice)  # what was read without a second look is not what is wanted
    assert {in_zone(decision) for decision in twice} == {True, False}
    assert all((decision.signals.agreement is not None) == in_zone(decision) for decision in twice)
    without = [decision.signals.model_copy(update={"agreement": None}) for decision in twice]
    assert without == [decision.signals for decision in once]

    again = await decided(plant, "again", LOOK)
    assert all(decision.cached for decision in again)
    assert [decision.signals for decision in again] == [decision.signals for decision in twice]
    await plant.check(repeats=False)


async def test_a_gate_is_void_where_readings_are_looked_at_otherwise(plant: Plant, tmp_path: Path) -> None:
    """The same model, prompt and images: but it was certified for readings without a second look."""
    path = tmp_path / "gate.json"
    path.write_text(gate("gate-1").model_dump_json())
    applied = {"GATE_UNCERTIFIED_THRESHOLD": "", "GATE_AUDIT_RATE": "", "GATE_FILE": str(path)}
    once = await decided(plant, "once", applied, SCRIPT)
    assert {decision.versions.gate for decision in once} == {"gate-1"}
    assert any(decision.route is Route.AUTO_ACCEPT for decision in once)
    twice = await decided(plant, "twice", applied | LOOK, SCRIPT)
    assert {decision.versions.gate for decision in twice} == {"gate-1/other-reader"}
    assert all(decision.route is Route.REVIEW for decision in twice)
