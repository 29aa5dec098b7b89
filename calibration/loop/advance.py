"""The next step of a rollout, if there is one: from what is in force and what is known, by the policy. Pure.

closed --labels--> certified? --> shadow --> canary --> full --> renewed, until
    ^                                 |          |        |
    |                       other coverage   alarm     alarm, other reader, stricter policy
    +------- rolled back (the live gate stays) --+        +--> shut: everything to review, and collect anew
"""

from __future__ import annotations

from datetime import datetime

import numpy as np
from scipy import stats

from calibration.certificate import Certified
from calibration.gate import CertifiedThresholds, Gate
from calibration.loop.attempt import Attempt, attempt, candidate_gate, focus, is_due
from calibration.loop.certifying import ripe
from calibration.loop.evidence import Evidence, moment
from calibration.loop.settings import LoopSettings
from calibration.loop.steps import (
    anew,
    at_least_as_strict,
    collecting_gate,
    has_certificate,
    known_reader,
    rolled_back,
    to_canary,
    to_full,
)
from calibration.loop.watching import watch
from calibration.outcome import Reader
from calibration.policy import Policy, Stage
from calibration.rollout import Attempts, Rollout, Step, StepKind

__all__ = ["advance", "coverage", "first_rollout", "known_reader", "looks_back_to"]

_WORSE = 0.05
"""A canary whose audits, were the promise kept, would show so many errors less often than this, is worse."""
_SURE = 0.99
_WORTH_FOCUSING = 1.1
_GAIN = 1.02
"""A new gate must pass this many times what the live one passes."""


def first_rollout(policy: Policy, now: datetime) -> Rollout:
    """Nothing passes yet; blind reviews are drawn for the first certificate."""
    gate = collecting_gate(policy, now)
    reason = f"policy {policy.policy_id}: {policy.audit_rates.closed:.0%} of the readings are reviewed blind"
    step = Step(at=now, kind=StepKind.COLLECTING, gate_id=gate.gate_id, reasons=(reason,))
    return Rollout(taxonomy=policy.taxonomy, sequence=1, since=now, live=gate, steps=(step,))


def looks_back_to(rollout: Rollout, now: datetime, settings: LoopSettings) -> datetime:
    """From when on evidence is looked at: all that may certify, and every audit of the gates that pass.

    A monitor must begin where its gate did. Were its start to move with a window, it would begin anew at every look,
    and sooner or later raise a false alarm.
    """
    passing = [gate for gate in (rollout.live, rollout.candidate) if gate is not None and has_certificate(gate)]
    return min([_certifies_from(rollout, now, settings), *(gate.created_at for gate in passing)])


def _certifies_from(rollout: Rollout, now: datetime, settings: LoopSettings) -> datetime:
    return max(rollout.since, now - settings.window)


def advance(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    """The rollout after its next step; None where nothing is to be done now.

    Args:
        policy: the newest of the taxonomy.
        evidence: of the newest reader, as far back as `looks_back_to`.
    """
    for step in (_new_reader, _new_policy, _alarm, _candidate, _renewal, _certification):
        if (after := step(rollout, policy, evidence, now, settings)) is not None:
            return after
    return None


def _new_reader(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    known = known_reader(rollout)
    if evidence.reader is None or known is None or evidence.reader == known:
        return None
    changed = [
        f"{name} {getattr(known, name)} became {getattr(evidence.reader, name)}"
        for name in Reader.model_fields
        if getattr(known, name) != getattr(evidence.reader, name)
    ]
    why = f"certificates are void: {', '.join(changed)}"
    return anew(rollout, policy, now, why, since=now, reader=evidence.reader)


def _new_policy(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    """A certificate speaks of the policy it was made for. A live gate that keeps the new promise too may go on."""
    current = rollout.candidate.policy if rollout.candidate else rollout.live.policy
    if current == policy:
        return None
    live = rollout.live
    why = f"policy {policy.policy_id} replaces {live.policy_version}"
    if has_certificate(live) and live.policy is not None and at_least_as_strict(live.policy, policy):
        if rollout.candidate is None and rollout.attempts.policy == policy.policy_id:
            return None
        return rollout.step(
            now,
            StepKind.COLLECTING,
            live.gate_id,
            f"{why}; the live gate keeps the new promise too, and stays until the next is certified",
            candidate=None,
            attempts=rollout.attempts.model_copy(update={"policy": policy.policy_id, "labels": 0}),
        )
    return anew(rollout, policy, now, why, since=rollout.since)


def _alarm(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    if has_certificate(rollout.live) and (alarms := watch(rollout.live, evidence.audits, now, settings).alarms):
        return anew(rollout, policy, now, "the promise does not hold any more", *alarms, since=now)
    candidate = rollout.candidate
    if candidate is not None and (alarms := watch(candidate, evidence.audits, now, settings).alarms):
        return rolled_back(rollout, candidate, now, "its promise does not hold", *alarms, since=now)
    return None


def _candidate(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    candidate = rollout.candidate
    if candidate is None:
        return None
    if candidate.stage is Stage.SHADOW:
        return _after_shadow(rollout, candidate, evidence, now, settings)
    seen = watch(candidate, evidence.audits, now, settings)
    if seen.answered < settings.canary_audits or candidate.policy is None:
        return None
    chance = float(stats.binom.sf(seen.errors - 1, seen.answered, candidate.policy.max_error))
    if chance < _WORSE:
        why = f"with the promise kept, so many errors have probability {chance:.1%}"
        return rolled_back(rollout, candidate, now, str(seen), why, since=now)
    return to_full(rollout, candidate, candidate.policy, now, settings, str(seen))


def _after_shadow(
    rollout: Rollout, candidate: Gate, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    shadowed = evidence.traffic.shadow_gate == candidate.gate_id
    n, passed = int(shadowed.sum()), int((evidence.traffic.shadow_passed & shadowed).sum())
    if n < settings.shadow_events:
        return _still_in_shadow(rollout, candidate, n, now, settings)
    certified = evidence.traffic.take(evidence.traffic.decided_at <= moment(candidate.created_at))
    expected = (
        float(np.mean(candidate.route_table(certified.signals).passes)) if len(certified) else coverage(candidate)
    )
    found = stats.binomtest(passed, n).proportion_ci(_SURE, "exact")
    words = f"in shadow {passed:,} of {n:,} readings would have passed; on the traffic before it was {expected:.1%}"
    if found.high < expected / settings.coverage_band or found.low > expected * settings.coverage_band:
        why = "the traffic has changed since the certificate"
        return rolled_back(rollout, candidate, now, words, why, since=candidate.created_at)
    return to_canary(rollout, candidate, now, settings, words)


def _still_in_shadow(
    rollout: Rollout, candidate: Gate, n: int, now: datetime, settings: LoopSettings
) -> Rollout | None:
    """Where readings come slowly it waits for them, as long as its labels count. Expired it would score nothing more:
    it is renewed without audits of its own, of which what routes nothing has none."""
    if candidate.expires_at is None or candidate.expires_at - now > settings.valid_for / 2:
        return None
    words = f"in shadow it has seen {n:,} of {settings.shadow_events:,} readings"
    if candidate.created_at <= now - settings.window:
        why = "the labels of its certificate are too old by now"
        return rolled_back(rollout, candidate, now, words, why, since=candidate.created_at)
    renewed = candidate.model_copy(update={"expires_at": now + settings.valid_for})
    return rollout.step(now, StepKind.RENEWED, candidate.gate_id, words, candidate=renewed)


def _renewal(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    """A gate whose audits are answered lasts longer. Any other expires: workers see to that by themselves."""
    for name in ("live", "candidate"):
        gate: Gate | None = getattr(rollout, name)
        if gate is None or not has_certificate(gate) or gate.stage is Stage.SHADOW or gate.expires_at is None:
            continue
        if gate.expires_at - now > settings.valid_for / 2:
            continue
        seen = watch(gate, evidence.audits, now, settings)
        if seen.overdue_share <= settings.overdue_share:
            renewed = gate.model_copy(update={"expires_at": now + settings.valid_for})
            return rollout.step(now, StepKind.RENEWED, gate.gate_id, str(seen), **{name: renewed})
        said = any(
            step.kind is StepKind.EXPIRED and step.gate_id == gate.gate_id and step.at >= gate.expires_at
            for step in rollout.steps
        )
        if now >= gate.expires_at and not said:
            return rollout.step(now, StepKind.EXPIRED, gate.gate_id, "nobody answers its audits", str(seen))
    return None


def _certification(
    rollout: Rollout, policy: Policy, evidence: Evidence, now: datetime, settings: LoopSettings
) -> Rollout | None:
    attempts = rollout.attempts
    evidence = evidence.after(moment(_certifies_from(rollout, now, settings)))
    labels = ripe(evidence.audits, now, settings)
    if rollout.candidate is not None or evidence.reader is None or not is_due(labels, attempts, settings):
        return None
    found = attempt(policy, evidence, rollout.live, attempts.made, now, settings)
    if isinstance(found, str):
        return None
    used = Attempts(
        policy=policy.policy_id,
        reader=evidence.reader,
        made=attempts.made + found.tested,
        labels=labels,
    )
    if not found.certified:
        live, why = _focused(rollout.live, policy, found, labels, settings)
        return rollout.step(now, StepKind.REFUSED, rollout.live.gate_id, *found.reasons, *why, live=live, attempts=used)
    gate = candidate_gate(policy, evidence, found, attempts.made, settings, now)
    reasons = found.reasons
    if has_certificate(rollout.live):
        new, old = (float(np.mean(each.route_table(found.traffic.signals).passes)) for each in (gate, rollout.live))
        reasons = (*reasons, f"{new:.1%} of the traffic would pass, {old:.1%} passes now")
        if new < _GAIN * old:
            return rollout.step(now, StepKind.REFUSED, rollout.live.gate_id, *reasons, attempts=used)
    return rollout.step(now, StepKind.SHADOW, gate.gate_id, *reasons, candidate=gate, attempts=used)


def _focused(
    live: Gate, policy: Policy, found: Attempt, labels: int, settings: LoopSettings
) -> tuple[Gate, tuple[str, ...]]:
    """A closed gate that draws its audits where the next attempt needs them; any other stays as it is."""
    if has_certificate(live) or live.audit_floor > 0.0 or not found.tested:
        return live, ()
    where = focus(policy, found, int(settings.growth * labels))
    if where.floor == 0.0 or where.expected_coverage < _WORTH_FOCUSING * where.uniform_coverage:
        return live, ()
    rate = min(1.0, policy.audit_rates.closed / where.share)
    focused = live.model_copy(
        update={
            "gate_id": f"{live.gate_id}+{found.calibrator.calibrator_id}",
            "calibrator": found.calibrator,
            "audit_floor": where.floor,
            "audit_rate": rate,
        }
    )
    return focused, (
        f"from now on {rate:.0%} of the readings above {where.floor:.3f} are reviewed blind, and none below: the next "
        f"certificate is so expected to let {where.expected_coverage:.1%} pass, and else {where.uniform_coverage:.1%}",
    )


def coverage(gate: Gate) -> float:
    """Share of the traffic that its certificates speak of; 0 where there are none."""
    promises = gate.rule.promises if isinstance(gate.rule, CertifiedThresholds) else ()
    return sum(promise.certificate.coverage for promise in promises if isinstance(promise.certificate, Certified))
