"""`tidegate bench loop`: the whole loop in simulated time, through a drift that no signal shows."""

from __future__ import annotations

import json
import statistics
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

import numpy as np
import typer

from calibration.fitting.hierarchical import fit_calibrator
from calibration.policy import AuditRates, Policy
from calibration.rollout import StepKind
from calibration.table import OutcomeTable
from deploy.bench.simulation import START, Platform

_TICK_EVENTS = 1_500
_TICK = timedelta(hours=6)
_SETTLED = 100
"""Ticks until a gate must be in full force: 25 days."""
_NEVER = 1e-300
"""An alarm level that is never reached."""
_AFTER = 80
"""Ticks that are watched after the drift: 20 days."""


def loop(
    platforms: Annotated[int, typer.Option(min=1, help="platforms that live through it, each with and without")] = 4,
    drift: Annotated[float, typer.Option(min=0, max=1, help="what looks sure is wrong with this probability")] = 0.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """A gate is certified and in full force when what looks sure begins to be wrong, and no signal shows it.

    audits_until_alarm: audits of what passed between the drift and the shut gate. let_through: wrong ones that passed
    within 20 days of the drift; ratio_let_through is that over the same loop without audits, which never shuts.
    bias_*: mean score minus truth in the zone that passed, of calibrators fitted after those 20 days, had the gate
    stayed open: with audits weighted by 1/propensity (ours), unweighted, and without audits.
    """
    seeds = range(seed, seed + platforms)
    ours = [_live_through(drift, number) for number in seeds]
    unwatched = [_live_through(drift, number, watched=False) for number in seeds]
    without = [_live_through(drift, number, audits=False) for number in seeds]
    result = {
        "bench": "loop",
        "platforms": platforms,
        "drift": drift,
        "coverage": _mean([run.coverage for run in ours]),
        "error_before": _mean([run.error_before for run in ours]),
        "error_after": _mean([run.error_after for run in ours]),
        "shut": sum(run.audits_until_alarm is not None for run in ours),
        "false_alarms": sum(run.false_alarms for run in ours),
        "audits_until_alarm": _median([run.audits_until_alarm for run in ours]),
        "hours_until_alarm": _median([run.hours_until_alarm for run in ours]),
        "let_through": _mean([run.let_through for run in ours]),
        "let_through_without_audits": _mean([run.let_through for run in without]),
        "ratio_let_through": round(
            sum(run.let_through for run in ours) / max(1, sum(run.let_through for run in without)), 4
        ),
        "bias_weighted": _mean([run.bias_weighted for run in unwatched]),
        "bias_unweighted": _mean([run.bias_unweighted for run in unwatched]),
        "bias_without_audits": _mean([run.bias_weighted for run in without]),
    }
    typer.echo(json.dumps(result))


@dataclass(frozen=True)
class _Life:
    coverage: float
    error_before: float
    error_after: float
    """Of what the gate passed, were it not shut."""
    false_alarms: int
    audits_until_alarm: int | None
    hours_until_alarm: float | None
    let_through: int
    bias_weighted: float
    bias_unweighted: float


def _live_through(drift: float, seed: int, *, audits: bool = True, watched: bool = True) -> _Life:
    policy = Policy(
        policy_id="bench",
        taxonomy="simulated",
        created_at=START,
        max_error=0.05,
        audit_rates=AuditRates(closed=0.2, canary=0.2, full=0.05),
        canary_share=0.3,
    )
    platform = Platform(policy, seed=seed)
    kinds = [kind for _ in range(_SETTLED) for kind in platform.tick(_TICK_EVENTS, _TICK)]
    if StepKind.FULL not in kinds or not platform.rollout.live.passes_anything:
        raise RuntimeError(f"seed {seed}: no gate is in full force after {_SETTLED} ticks: {kinds}")
    platform.audits = audits
    if not watched:
        platform.settings = platform.settings.model_copy(update={"alarm_level": _NEVER})
    false_alarms = kinds.count(StepKind.SHUT)
    gate = platform.rollout.live
    coverage, before = platform.true_error()
    platform.drifted(drift)
    _, after = platform.true_error()
    errors = platform.errors
    began = platform.now
    alarm: tuple[int, float] | None = None
    for _ in range(_AFTER):
        kinds = platform.tick(_TICK_EVENTS, _TICK)
        if StepKind.SHUT in kinds and alarm is None:
            audited = platform.evidence(began).audits
            seen = (audited.gate == gate.gate_id) & audited.would_pass & audited.answered
            alarm = int(seen.sum()), (platform.now - began) / timedelta(hours=1)
    outcomes = platform.evidence(began).outcomes
    signals, right = platform.world.readings(np.random.default_rng(seed + 1), 50_000)
    zone = (platform.world.zone or gate).route_table(signals).passes
    truth = float(right[zone].mean())

    def bias(known: OutcomeTable) -> float:
        score = fit_calibrator(known, created_at=platform.now).score(signals).score
        return float(score[zone].mean()) - truth

    unweighted = OutcomeTable(
        **{name: getattr(outcomes, name) for name in OutcomeTable.__dataclass_fields__}
        | {"propensity": np.ones(len(outcomes))}
    )
    return _Life(
        coverage=coverage,
        error_before=before,
        error_after=after,
        false_alarms=false_alarms,
        audits_until_alarm=alarm[0] if alarm else None,
        hours_until_alarm=alarm[1] if alarm else None,
        let_through=platform.errors - errors,
        bias_weighted=bias(outcomes),
        bias_unweighted=bias(unweighted),
    )


def _mean(values: list[float] | list[int]) -> float:
    return round(float(np.mean(values)), 4)


def _median(values: list[int | None] | list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return round(float(statistics.median(known)), 1) if known else None
