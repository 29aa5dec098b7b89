"""A platform whose first gate is in force, and a survey of it that the next certificate speaks of."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from calibration.gate import CertifiedThresholds, Gate
from calibration.loop.attempt import Attempt, attempt, candidate_gate
from calibration.loop.evidence import Evidence
from calibration.loop.settings import LoopSettings
from calibration.policy import AuditRates, Policy, Stage
from calibration.rollout import StepKind
from calibration.table import SignalTable, Texts, Times
from calibration.whatif.evidence import LabelsAtHand
from calibration.whatif.pace import Pace
from calibration.whatif.prepare import Surveyor, routed
from calibration.whatif.terrain import Terrain
from deploy.bench.simulation import START, Platform

POLICY = Policy(
    policy_id="p-1",
    taxonomy="scenes",
    created_at=START,
    max_error=0.06,
    error_cost=4.0,
    audit_rates=AuditRates(closed=0.5, canary=0.5, full=0.2),
)
SETTINGS = LoopSettings()
WAITING = 40


@dataclass(frozen=True)
class Surveyed:
    """Everything that a terrain was made of, to count by hand."""

    platform: Platform
    evidence: Evidence
    gate: Gate
    """In force; of an older calibrator than the next certificate's."""
    found: Attempt
    event_id: Texts
    signals: SignalTable
    decided_at: Times
    terrain: Terrain
    _made: dict[str, Gate] = field(default_factory=dict, repr=False)

    def next_gate(self, policy: Policy) -> Gate:
        """The gate that the loop would make of this policy now."""
        terms = policy.model_dump_json()
        if terms not in self._made:
            self._made[terms] = self._made_anew(policy)
        return self._made[terms]

    def _made_anew(self, policy: Policy) -> Gate:
        found = attempt(policy, self.evidence, self.gate, 1, self.platform.now, SETTINGS)
        assert isinstance(found, Attempt)
        return candidate_gate(policy, self.evidence, found, 1, SETTINGS, self.platform.now)


@pytest.fixture(scope="session")
def surveyed() -> Surveyed:
    platform = Platform(POLICY, seed=3, settings=SETTINGS)
    while StepKind.SHADOW not in platform.tick(800):
        pass
    assert platform.rollout.candidate is not None
    gate = platform.rollout.candidate.model_copy(update={"stage": Stage.FULL, "audit_rate": 0.1})
    assert isinstance(gate.rule, CertifiedThresholds)
    for _ in range(4):
        platform.tick(800)
    evidence = platform.evidence(START)
    found = attempt(POLICY, evidence, gate, 1, platform.now, SETTINGS)
    assert isinstance(found, Attempt)
    signals, decided_at = evidence.traffic.signals, evidence.traffic.decided_at
    event_id = np.array([f"e{number}" for number in range(len(signals))], np.object_)
    assert found.calibrator.calibrator_id != gate.calibrator_version
    surveyor = Surveyor(START, platform.now)
    for rows in np.array_split(np.random.default_rng(1).permutation(len(signals)), 3):  # chunks in any order
        surveyor.add(routed(event_id[rows], signals.take(rows), decided_at[rows], gate, found.calibrator))
    terrain = surveyor.terrain(
        POLICY,
        gate,
        LabelsAtHand.of(found, 1),
        pace=Pace.of(np.array([100.0, 80.0, 120.0]), np.array([500.0, 420.0, 580.0])),
        waiting=WAITING,
    )
    return Surveyed(platform, evidence, gate, found, event_id, signals, decided_at, terrain)
