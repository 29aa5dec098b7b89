"""How good the scores are, by what people have said: the figures of an offline report, of a running taxonomy."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, NamedTuple

import numpy as np

from calibration.certificate import Certified
from calibration.fitting.weighting import inverse_propensity
from calibration.gate import CertifiedThresholds, Gate
from calibration.ledger.reading import Ledger
from calibration.loop.advance import known_reader, looks_back_to
from calibration.loop.evidence import moment
from calibration.loop.settings import LoopSettings
from calibration.loop.steps import has_certificate
from calibration.offline.curves import Passing, histogram, reliability, risk_coverage
from calibration.offline.gathering import Streaming
from calibration.offline.groups import Scored, group_table
from calibration.policy import Policy
from calibration.rollout import Rollout
from calibration.settings import LedgerSettings
from calibration.standing.contracts import Diagrams
from calibration.table import Bools, Floats, OutcomeTable, SignalTable

_MOST_LABELLED, _MOST_TRAFFIC = 20_000, 100_000
"""Newest readings that are looked at: a figure is no clearer with more."""


def reliability_report(
    ledger: LedgerSettings, rollout: Rollout, policy: Policy, settings: LoopSettings, now: datetime
) -> Diagrams:
    """The figures, of readings by the scoring gate's own reader, as far back as the loop looks.

    Where nobody has said anything yet, they are empty.

    Args:
        policy: the newest of the taxonomy.
        settings: the loop's own.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
    """
    scorer = Scorer.of(rollout)
    gate = scorer.gate
    source = Ledger.open(ledger)
    reader = gate.reader or source.reader(rollout.taxonomy) or known_reader(rollout)
    since = looks_back_to(rollout, now, settings)
    known = source.outcomes(rollout.taxonomy, reader, since)
    traffic = source.traffic(rollout.taxonomy, reader, since, _MOST_TRAFFIC).signals
    learned_until = None if gate.calibrator is None else gate.calibrator.decided_until
    newer = known if learned_until is None else known.take(known.decided_at > moment(learned_until))
    promised = gate.policy if has_certificate(gate) and gate.policy is not None else policy
    only = _only_certificate(gate)
    return Diagrams(
        taxonomy=rollout.taxonomy,
        as_of=now,
        scored_by=scorer.name,
        gate_id=gate.gate_id,
        calibrator=None if gate.calibrator is None else gate.calibrator.calibrator_id,
        since=since if learned_until is None else max(since, learned_until),
        left_out=len(known) - len(newer),
        max_error=promised.max_error,
        threshold=None if only is None else only.threshold,
        certified=None if only is None else (only.coverage, only.upper_bound),
        **scorer.figures(newer.take(slice(-_MOST_LABELLED, None)), traffic),
    )


class Scorer(NamedTuple):
    """What scores all readings anew: a gate, or the model's own probability."""

    name: Literal["live", "candidate", "label_probability"]
    gate: Gate

    @classmethod
    def of(cls, rollout: Rollout) -> Scorer:
        """The live gate, where it has a calibrator; else the candidate; else neither."""
        if rollout.live.calibrator is not None:
            return cls("live", rollout.live)
        if rollout.candidate is not None and rollout.candidate.calibrator is not None:
            return cls("candidate", rollout.candidate)
        return cls("label_probability", rollout.live)

    def score(self, signals: SignalTable) -> tuple[Floats, Bools]:
        """(n,) scores, nan where there is none, and whether the gate would let each pass."""
        routed = self.gate.route_table(signals)
        if self.gate.calibrator is not None:
            return routed.score, routed.passes
        return np.where(signals.parsed, signals.label_probability, np.nan), routed.passes

    def figures(self, outcomes: OutcomeTable, traffic: SignalTable) -> dict[str, Any]:
        """All that is drawn, of n readings whose truth is known and m of the traffic. Pure."""
        every, passes = self.score(outcomes.signals)
        every_weight = inverse_propensity(outcomes.propensity)
        scored = ~np.isnan(every)
        known, score, weight = outcomes.take(scored), every[scored], every_weight[scored]
        streaming = Streaming(traffic, self.score(traffic)[0])
        some = len(known) > 0
        among = Scored(score, known.correct, weight, passes[scored])
        return {
            "labelled": len(known),
            "unscored": len(outcomes) - len(known),
            "traffic_rows": len(traffic),
            "reliability": reliability(score, known.correct, weight),
            "curve": _curve(among, streaming, float(every_weight.sum())) if some else (),
            "labelled_scores": histogram(score, weight),
            "traffic_scores": histogram(streaming.parsed_score),
            "labels": group_table(known.signals.label, among, streaming.parsed(traffic.label)) if some else None,
            "sources": group_table(known.signals.source, among, streaming.parsed(traffic.source)) if some else None,
        }


def _curve(among: Scored, streaming: Streaming, total: float) -> tuple[Passing, ...]:
    """Coverage by the traffic; by the labels where all of it has been let go."""
    m = len(streaming.score)
    return risk_coverage(
        among.score, among.correct, among.weight, streaming.parsed_score if m else None, float(m) if m else total
    )


def _only_certificate(gate: Gate) -> Certified | None:
    promises = gate.rule.promises if isinstance(gate.rule, CertifiedThresholds) else ()
    found = [each.certificate for each in promises if isinstance(each.certificate, Certified)]
    return found[0] if len(promises) == len(found) == 1 else None
