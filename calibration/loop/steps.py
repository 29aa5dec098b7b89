"""What each step of a rollout changes: the same, whether the loop takes it on evidence or a person by hand. Pure."""

from __future__ import annotations

import hashlib
from datetime import datetime

from calibration.certificate import Certified
from calibration.gate import CertifiedThresholds, Gate
from calibration.loop.settings import LoopSettings
from calibration.outcome import Reader
from calibration.policy import Policy, Stage
from calibration.rollout import Attempts, Rollout, StepKind


def collecting_gate(policy: Policy, now: datetime) -> Gate:
    """A closed gate that draws audits for a certificate of this policy."""
    content = f"{policy.model_dump_json()} {now.isoformat()}"
    return Gate(
        gate_id=f"closed-{hashlib.sha256(content.encode()).hexdigest()[:12]}",
        created_at=now,
        taxonomy=policy.taxonomy,
        policy=policy,
        audit_rate=policy.audit_rates.closed,
    )


def to_canary(rollout: Rollout, candidate: Gate, now: datetime, settings: LoopSettings, *reasons: str) -> Rollout:
    """It routes a share from now on."""
    canary = candidate.model_copy(update={"stage": Stage.CANARY, "expires_at": now + settings.valid_for})
    return rollout.step(now, StepKind.CANARY, canary.gate_id, *reasons, candidate=canary)


def to_full(
    rollout: Rollout, candidate: Gate, policy: Policy, now: datetime, settings: LoopSettings, *reasons: str
) -> Rollout:
    """It is the live one from now on, audited at the rate of its own policy."""
    full = candidate.model_copy(
        update={
            "stage": Stage.FULL,
            "audit_rate": policy.audit_rates.full,
            "expires_at": now + settings.valid_for,
        }
    )
    return rollout.step(now, StepKind.FULL, full.gate_id, *reasons, live=full, candidate=None, previous=rollout.live)


def anew(
    rollout: Rollout, policy: Policy, now: datetime, *reasons: str, since: datetime, reader: Reader | None = None
) -> Rollout:
    """Everything to review, and collect for the next certificate; evidence counts from `since`.

    On the same evidence attempts go on being counted: another policy does not bring back what was spent on it.
    """
    made = rollout.attempts.made if since == rollout.since else 0
    closed = collecting_gate(policy, now)
    kept = rollout.previous if not has_certificate(rollout.live) else rollout.live
    kind = StepKind.SHUT if has_certificate(rollout.live) or rollout.candidate else StepKind.COLLECTING
    return rollout.step(
        now,
        kind,
        rollout.live.gate_id,
        *reasons,
        since=since,
        live=closed,
        candidate=None,
        previous=kept,
        attempts=Attempts(policy=policy.policy_id, reader=reader or known_reader(rollout), made=made),
    )


def rolled_back(
    rollout: Rollout, given_up: Gate, now: datetime, *reasons: str, since: datetime, **changes: object
) -> Rollout:
    """A gate is given up; `changes` say what is live then, where it is not the live gate that stays.

    What contradicts a certificate also ends the use of what it was made of: without that the same gate would be
    certified again at the next look.
    """
    return rollout.step(
        now,
        StepKind.ROLLED_BACK,
        given_up.gate_id,
        *reasons,
        since=since,
        candidate=None,
        attempts=Attempts(policy=rollout.attempts.policy, reader=known_reader(rollout)),
        **changes,
    )


def has_certificate(gate: Gate) -> bool:
    """Whether there is a threshold of it that was certified."""
    return isinstance(gate.rule, CertifiedThresholds) and any(
        isinstance(promise.certificate, Certified) for promise in gate.rule.promises
    )


def known_reader(rollout: Rollout) -> Reader | None:
    """Whose readings the rollout speaks of; None where nobody has looked yet."""
    return (rollout.candidate or rollout.live).reader or rollout.attempts.reader


def at_least_as_strict(old: Policy, new: Policy) -> bool:
    """Whether a gate that keeps the old promise keeps the new one, too."""
    return (
        old.max_error <= new.max_error
        and old.confidence >= new.confidence
        and old.promise == new.promise
        and old.severe_labels >= new.severe_labels
        and (new.max_label_error is None or (old.max_label_error or 1.0) <= new.max_label_error)
    )
