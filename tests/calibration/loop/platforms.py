"""Platforms in simulated time on which the loop runs, and how long to wait for a step."""

from __future__ import annotations

from calibration.loop.settings import LoopSettings
from calibration.policy import AuditRates, Policy
from calibration.rollout import StepKind
from deploy.bench.simulation import START, Platform

POLICY = Policy(
    policy_id="p-1",
    taxonomy="scenes",
    created_at=START,
    max_error=0.06,
    audit_rates=AuditRates(closed=1.0, canary=0.5, full=0.2),
    canary_share=0.5,
)
SETTINGS = LoopSettings(shadow_events=300, canary_audits=40)


def platform(seed: int = 3, policy: Policy = POLICY, **parts: object) -> Platform:
    return Platform(policy, seed=seed, settings=SETTINGS, **parts)  # type: ignore[arg-type]


def live(until: Platform, kind: StepKind, ticks: int = 80, events: int = 800) -> list[StepKind]:
    """Let time pass until a step of this kind; returns all the steps on the way."""
    taken: list[StepKind] = []
    for _ in range(ticks):
        taken += until.tick(events)
        if kind in taken:
            return taken
    steps = "\n".join(f"{step.kind} {step.reasons}" for step in until.rollout.steps)
    raise AssertionError(f"no {kind} within {ticks} ticks:\n{steps}")
