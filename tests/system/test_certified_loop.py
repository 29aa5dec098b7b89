"""The whole loop on the running system: broker, Valkey, worker on the real engine, moderators who err, the service.

Scenes have known probabilities, so the true error of what passed is known, whatever the moderators say.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from calibration.gate import Reason, Route
from calibration.loop.service import UnreadableRecordError, documents
from calibration.rollout import Rollout, StepKind
from deploy.local import die_with_parent
from deploy.outcomes import Tally
from deploy.rig import CHECKPOINT, Rig, rig
from review.queue import ReviewQueue
from review.verdicts import VerdictWriter, give_verdict
from training.scenes import LABELS, Scene, encode, scene
from worker.events import Decision, ImageEvent, InlineImage
from worker.feed import feed

pytestmark = [pytest.mark.system, pytest.mark.engine]

SEED = 11
PROMISE = 0.2
MODERATORS_ERR = 0.02
POLICY = f"""
taxonomy: scenes
max_error: {PROMISE}
confidence: 0.9
canary_share: 1.0
audit_rates: {{closed: 1.0, canary: 0.5, full: 0.3}}
"""
LOOP = {
    "TIDEGATE_CALIBRATION_TICK_S": "0.5",
    "TIDEGATE_CALIBRATION_LEAST_LABELS": "150",
    "TIDEGATE_CALIBRATION_SHADOW_EVENTS": "40",
    "TIDEGATE_CALIBRATION_COVERAGE_BAND": "3",
    "TIDEGATE_CALIBRATION_CANARY_AUDITS": "20",
}


def truth(event_id: str) -> tuple[Scene, list[float]]:
    """The scene of an event, and the true probabilities of its labels; those that drifted mean something else."""
    world, number = event_id.split("-")
    drawn = scene(SEED, int(number))
    probabilities = np.roll(drawn.probabilities, 1) if world == "drifted" else drawn.probabilities
    return drawn, probabilities.tolist()


def scenes(world: str, numbers: Iterable[int]) -> Iterator[ImageEvent]:
    for number in numbers:
        yield ImageEvent(
            event_id=f"{world}-{number}",
            image=InlineImage(data=encode(scene(SEED, number).image)),
            taxonomy="scenes",
            created_at=datetime.now(UTC),
        )


@dataclass(slots=True)
class Passed(Tally):
    """Keeps what passed, by the gate's reason."""

    accepted: list[Decision] = field(default_factory=list)
    shadows: Counter[str] = field(default_factory=Counter)

    def decide(self, decision: Decision) -> None:
        Tally.decide(self, decision)
        if decision.route is Route.AUTO_ACCEPT:
            self.accepted.append(decision)

    def true_error(self, world: str) -> float:
        """Expected share of wrong answers among what passed of a world."""
        right = [
            truth(each.event_id)[1][LABELS.index(str(each.label))]
            for each in self.accepted
            if each.event_id.startswith(world)
        ]
        return 1.0 - float(np.mean(right))


async def moderate(queue: ReviewQueue, writer: VerdictWriter) -> None:
    """Work the queue for ever: see the scene, say its label, and err sometimes."""
    rng = np.random.default_rng(SEED)
    while True:
        claim = await queue.claim("moderator")
        if claim is None:
            await asyncio.sleep(0.05)
            continue
        drawn, _ = truth(claim.task.event_id)
        label = drawn.label + (1 if claim.task.event_id.startswith("drifted") else 0)
        if rng.random() < MODERATORS_ERR:
            label += int(rng.integers(1, len(LABELS)))
        await give_verdict(queue, writer, claim.task.event_id, claim.lease.token, LABELS[label % len(LABELS)])


@asynccontextmanager
async def moderators(system: Rig) -> AsyncIterator[None]:
    writer = VerdictWriter(system.kafka)
    work = asyncio.create_task(moderate(system.queue, writer))
    try:
        yield
        assert not work.done(), work.exception()
    finally:
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
        await asyncio.to_thread(writer.close)


@dataclass
class Town:
    """The system, the calibration service beside it, and scenes that come in."""

    system: Rig
    tally: Passed
    service: asyncio.subprocess.Process
    log: Path
    sent: int = 0

    async def feed(self, world: str, count: int) -> None:
        """Send scenes, and wait until each has its outcome."""
        numbers = range(self.sent, self.sent + count)
        self.sent += count
        for number in numbers:
            self.tally.send(f"{world}-{number}")
        await feed(scenes(world, numbers), self.system.kafka)
        await self.until(lambda: not self.tally.waiting)

    async def until(self, condition: Callable[[], object], deadline_s: float = 240.0) -> None:
        deadline = monotonic() + deadline_s
        while not condition():
            assert self.service.returncode is None, self.log.read_text()[-4000:]
            assert not self.system.worker.ended, self.system.worker.log_tail()
            assert monotonic() < deadline, self.log.read_text()[-4000:]
            await asyncio.sleep(0.1)

    async def until_applied(self, sequence: int) -> None:
        """Wait until the worker goes by this step."""
        name = 'tidegate_gate_sequence{taxonomy="scenes"}'
        for _ in range(300):
            _, text = await self.system.worker.ask("/metrics")
            found = [line.split()[-1] for line in text.splitlines() if line.startswith(name)]
            if found and float(found[0]) >= sequence:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"the worker did not take step {sequence} within 30 s")

    async def rollout(self) -> Rollout | None:
        """What the `gates` topic says now."""
        found = (await asyncio.to_thread(documents, self.system.kafka, "gates", Rollout)).get("scenes")
        assert not isinstance(found, UnreadableRecordError)
        return found

    async def feed_until(self, world: str, kind: StepKind, most: int, batch: int = 60) -> Rollout:
        """Send scenes until the gates have taken a step of this kind."""
        for _ in range(0, most, batch):
            rollout = await self.rollout()
            if rollout is not None and kind in {step.kind for step in rollout.steps}:
                return rollout
            await self.feed(world, batch)
        raise AssertionError(f"no {kind.value} after {self.sent} scenes\n{self.log.read_text()[-6000:]}")


@asynccontextmanager
async def town(folder: Path) -> AsyncIterator[Town]:
    tally = Passed()
    log = folder / "calibration.log"
    (folder / "policy.yaml").write_text(POLICY)
    async with rig({"TIDEGATE_ENGINE_MODEL": str(CHECKPOINT)}, tally=tally) as system, moderators(system):
        settings = {
            "TIDEGATE_KAFKA_BOOTSTRAP_SERVERS": system.broker.bootstrap,
            "TIDEGATE_LEDGER_PATH": str(folder / "ledger"),
            **LOOP,
        }
        command = [sys.executable, "-m", "deploy.cli", "--log-format", "json", "calibrate"]
        environment = os.environ | settings
        publishing = await asyncio.create_subprocess_exec(
            *command, "policy", str(folder / "policy.yaml"), env=environment, stderr=asyncio.subprocess.PIPE
        )
        _, said = await publishing.communicate()
        assert publishing.returncode == 0, said.decode()
        with log.open("wb") as file:
            service = await asyncio.create_subprocess_exec(
                *die_with_parent([*command, "run"]), env=environment, stdout=file, stderr=file
            )
        try:
            yield Town(system, tally, service, log)
        finally:
            if service.returncode is None:
                service.terminate()
            assert await asyncio.wait_for(service.wait(), 30) == 0, log.read_text()[-4000:]


@pytest.mark.timeout(900)
@pytest.mark.parametrize("passing", [150, pytest.param(2_000, marks=pytest.mark.heavy)], ids=["shortened", "in_full"])
async def test_a_gate_is_certified_keeps_its_promise_and_shuts_when_the_scenes_drift(
    tmp_path: Path, passing: int
) -> None:
    async with town(tmp_path) as here:
        await here.feed_until("scene", StepKind.FULL, most=3_000)
        assert here.tally.reasons[Reason.AUDIT.value] > 0
        before = len(here.tally.accepted)
        await here.feed("scene", passing)
        coverage = (len(here.tally.accepted) - before) / passing
        assert coverage > 0.02  # it rose from nothing
        assert {decision.reason for decision in here.tally.accepted} == {Reason.CERTIFIED}
        assert all(decision.interval is not None for decision in here.tally.accepted)
        assert here.tally.true_error("scene") <= PROMISE

        rollout = await here.feed_until("drifted", StepKind.SHUT, most=2_000)
        assert not rollout.live.passes_anything
        assert any("audits were wrong" in reason for step in rollout.steps for reason in step.reasons)
        await here.until_applied(rollout.sequence)
        before = len(here.tally.accepted)
        await here.feed("drifted", 40)
        assert len(here.tally.accepted) == before
        assert here.tally.duplicates == 0
