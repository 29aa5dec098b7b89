"""One attempt to certify: a calibrator from the older outcomes, a certificate from the newer audits. Pure."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version

import numpy as np

from calibration.calibrator import Calibrator
from calibration.certificate import Certified, InsufficientLabels, Promise
from calibration.certify.allocation import Allocation, allocate_audits
from calibration.certify.earlier import Earlier
from calibration.certify.promises import certify_promises
from calibration.fitting.hierarchical import fit_calibrator
from calibration.gate import CertifiedThresholds, Gate, Provenance
from calibration.loop.certifying import Sample, certifying_sample, frozen_at, split_time
from calibration.loop.comparing import compare
from calibration.loop.evidence import Evidence, TrafficTable, moment
from calibration.loop.settings import LoopSettings
from calibration.policy import Policy, Stage
from calibration.rollout import Attempts


@dataclass(frozen=True)
class Attempt:
    """What came of it."""

    calibrator: Calibrator
    sample: Sample
    earlier: Earlier
    """The outcomes that fitted the calibrator, scored by it: they may plan, and never test."""
    traffic: TrafficTable
    promises: tuple[Promise, ...]
    confidence: float
    reasons: tuple[str, ...]
    """What was found, in sentences."""

    @property
    def certified(self) -> bool:
        """Whether anything was."""
        return any(isinstance(promise.certificate, Certified) for promise in self.promises)

    @property
    def tested(self) -> bool:
        """Whether any label was looked at: too few of them is known from their number alone, and spends nothing."""
        return not all(isinstance(promise.certificate, InsufficientLabels) for promise in self.promises)


def attempt_confidence(policy: Policy, number: int) -> float:
    """Of attempt `number` (from 1). All attempts together fail with the probability that the policy allows.

    1 - confidence is shared out as 1/(k (k+1)): half of it to the first attempt, a sixth to the second.
    """
    return 1.0 - (1.0 - policy.confidence) / (number * (number + 1))


def attempt(
    policy: Policy, evidence: Evidence, live: Gate, made: int, now: datetime, settings: LoopSettings
) -> Attempt | str:
    """Try to certify a policy; a sentence where there is nothing to try it on.

    Args:
        live: its calibrator stays, unless a new one is better on outcomes that neither has seen; and also where audits
            are drawn above a floor of its scores, since for another calibrator these are no uniform sample.
        made: attempts before this one.
    """
    outcomes = evidence.outcomes
    if not len(outcomes):
        return "no verdict names a label yet"
    frozen = frozen_at(evidence.audits, now, settings)
    ripe = evidence.audits.decided_at[evidence.audits.decided_at <= frozen]
    if not len(ripe):
        return "every audit that was drawn still waits for its answer"
    cut = split_time(ripe, settings.fit_share)
    older = outcomes.take(outcomes.decided_at <= cut)
    newer = outcomes.take(outcomes.decided_at > cut)
    if not older.signals.parsed.any() or not newer.signals.parsed.any():
        return "there are no outcomes both to fit a calibrator on and to judge it by"
    incumbent = live.calibrator
    calibrator = fit_calibrator(older, created_at=now, reader=evidence.reader, judged=False)
    reasons = [f"a calibrator was fitted on the {len(older):,} oldest outcomes"]
    if not calibrator.converged:
        return f"the calibrator of {len(older):,} outcomes did not converge: nothing is built on it"
    if incumbent is not None and incumbent.decided_until is not None:
        unseen = newer.take(newer.decided_at > moment(incumbent.decided_until))
        if not unseen.signals.parsed.any():
            return f"there is no outcome that calibrator {incumbent.calibrator_id} has not seen"
        comparison = compare(incumbent, calibrator, unseen)
        reasons.append(str(comparison))
        if live.audit_floor > 0.0 or not comparison.better:
            calibrator = incumbent
            reasons.append(f"calibrator {incumbent.calibrator_id} stays")
    fitted_until = moment(calibrator.decided_until or now)
    if calibrator is incumbent:
        older = outcomes.take(outcomes.decided_at <= fitted_until)
    audit_score = calibrator.score(evidence.audits.signals).score
    sample = certifying_sample(evidence.audits, audit_score, calibrator.calibrator_id, fitted_until, now, settings)
    traffic = evidence.traffic.take(evidence.traffic.decided_at > fitted_until)
    if not len(traffic) or not len(sample.audits):
        return "no audit was answered after the outcomes that the calibrator was fitted on"
    earlier = Earlier(score=calibrator.score(older.signals).score, wrong=~older.correct, label=older.signals.label)
    confidence = attempt_confidence(policy, made + 1)
    promises = certify_promises(
        policy,
        calibrator.score(sample.audits.signals).score,
        sample.wrong,
        sample.audits.signals.label,
        calibrator.score(traffic.signals).score,
        traffic.signals.label,
        floor=sample.floor,
        earlier=earlier,
        confidence=confidence,
    )
    reasons.append(
        f"attempt {made + 1}, at {confidence:.1%} confidence, on {len(sample.audits):,} audits "
        f"({sample.unreviewed:,} of them unanswered, which count as wrong)"
    )
    reasons += [described(promise, policy) for promise in promises]
    if calibrator is not incumbent and any(isinstance(promise.certificate, Certified) for promise in promises):
        calibrator = fit_calibrator(older, created_at=now, reader=evidence.reader)  # the same, judged for the record
    return Attempt(calibrator, sample, earlier, traffic, promises, confidence, tuple(reasons))


def described(promise: Promise, policy: Policy) -> str:
    """A promise and what became of it, in a sentence."""
    who = ", ".join(promise.labels)
    match promise.certificate:
        case Certified() as found:
            return (
                f"{who}: certified above {found.threshold:.4f}, {found.coverage:.1%} of the traffic, "
                f"{found.errors:,} of {found.accepted:,} audits wrong (promise {policy.max_error:.1%})"
            )
        case InsufficientLabels() as lacking:
            return f"{who}: {lacking.labels_used:,} of {lacking.labels_needed:,} labels"
        case refused:
            return (
                f"{who}: no threshold can be certified; of the most cautious one that was tested, "
                f"{refused.errors:,} of {refused.accepted:,} audits were wrong"
            )


def candidate_gate(
    policy: Policy, evidence: Evidence, found: Attempt, made: int, settings: LoopSettings, now: datetime
) -> Gate:
    """The gate of a certified attempt, in shadow."""
    rule = CertifiedThresholds(promises=found.promises)
    content = f"{rule.model_dump_json()} {found.calibrator.calibrator_id} {policy.model_dump_json()}"
    times = found.sample.audits.decided_at.astype("datetime64[us]").astype(np.int64)
    return Gate(
        gate_id=f"g-{hashlib.sha256(content.encode()).hexdigest()[:12]}",
        created_at=now,
        taxonomy=policy.taxonomy,
        stage=Stage.SHADOW,
        reader=evidence.reader,
        policy=policy,
        calibrator=found.calibrator,
        rule=rule,
        audit_rate=policy.audit_rates.canary,
        expires_at=now + settings.valid_for,
        provenance=Provenance(
            fitted_on=found.calibrator.n,
            certified_on=len(found.sample.audits),
            certifying_from=datetime.fromtimestamp(int(times.min()) / 1e6, UTC),
            certifying_until=datetime.fromtimestamp(int(times.max()) / 1e6, UTC),
            unreviewed=found.sample.unreviewed,
            attempt=made + 1,
            confidence=found.confidence,
            traffic=len(found.traffic),
            software=version("tidegate"),
        ),
    )


def focus(policy: Policy, found: Attempt, labels: int) -> Allocation:
    """Where the next audits are worth most, of what could pass under the policy, when there will be so many."""
    label = found.traffic.signals.label
    worth = np.array([np.inf if name in policy.severe_labels else policy.least_score(name) for name in label])
    score = found.calibrator.score(found.traffic.signals).score
    return allocate_audits(
        np.where(score >= worth, score, np.nan),
        found.earlier,
        labels=labels,
        max_error=policy.max_error,
        confidence=attempt_confidence(policy, 2),
    )


def is_due(labels: int, attempts: Attempts, settings: LoopSettings) -> bool:
    """Whether there are enough new audits for the next attempt."""
    grown = attempts.made == 0 or labels >= settings.growth * attempts.labels
    return grown and labels - attempts.labels >= settings.least_labels
