"""What the audits of one gate say of its promises, and whether anybody answers them. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from calibration.certificate import Certified
from calibration.gate import CertifiedThresholds, Gate
from calibration.loop.evidence import AuditTable, TrafficTable, moment
from calibration.loop.settings import LoopSettings
from calibration.watch.drift import Drift, drift_of_signals
from calibration.watch.monitor import first_alarm

_NEWEST = 2_000
"""Readings that are compared with those of the certificate."""


@dataclass(frozen=True)
class Watched:
    """The audits of what a gate passed, so far."""

    answered: int
    errors: int
    waiting: int
    overdue: int
    alarms: tuple[str, ...]
    """A sentence for each promise whose monitor has reached its level."""

    @property
    def overdue_share(self) -> float:
        """Of the audits that should have been answered by now."""
        due = self.answered + self.overdue
        return self.overdue / due if due else 0.0

    def __str__(self) -> str:
        """In words, for the steps of a rollout."""
        return (
            f"{self.errors:,} of {self.answered:,} audits of what passed were wrong; "
            f"{self.waiting:,} wait, {self.overdue:,} of them too long"
        )


def watch(gate: Gate, audits: AuditTable, now: datetime, settings: LoopSettings) -> Watched:
    """Run a monitor for each promise over the audits that would have passed, in the order of their verdicts.

    The alarm level is shared out among the promises, so that a gate of many has no more false alarms than one of one.
    """
    own = audits.take((audits.gate == gate.gate_id) & audits.would_pass)
    overdue = ~own.answered & (own.decided_at <= moment(now) - np.timedelta64(settings.audit_patience))
    answered = own.take(own.answered)
    answered = answered.take(np.argsort(answered.given_at, kind="stable"))
    promises = gate.rule.promises if isinstance(gate.rule, CertifiedThresholds) else ()
    certified = [promise for promise in promises if isinstance(promise.certificate, Certified)]
    alarms = []
    for promise in certified:
        if gate.policy is None:
            continue
        about = answered.take(np.isin(answered.signals.label.astype(str), promise.labels))
        level = settings.alarm_level / len(certified)
        if (alarm := first_alarm(about.wrong, gate.policy.max_error, level)) is not None:
            start, monitor = alarm
            low, high = monitor.interval(level)
            last = "the last " if start else ""
            alarms.append(
                f"{', '.join(promise.labels)}: {monitor.errors:,} of {last}{monitor.audits:,} audits were wrong, so "
                f"the error lies between {low:.1%} and {high:.1%}, and the promise was {gate.policy.max_error:.1%}"
            )
    return Watched(
        answered=len(answered),
        errors=int(answered.wrong.sum()),
        waiting=int((~own.answered).sum()),
        overdue=int(overdue.sum()),
        alarms=tuple(alarms),
    )


def drifts(gate: Gate, traffic: TrafficTable) -> tuple[Drift, ...]:
    """How the newest readings differ from those that the gate was certified on; nothing while it has no such."""
    if gate.calibrator is None or gate.provenance is None:
        return ()
    then = (traffic.decided_at >= moment(gate.provenance.certifying_from)) & (
        traffic.decided_at <= moment(gate.provenance.certifying_until)
    )
    now = np.flatnonzero(~then)[-_NEWEST:]
    if not then.any() or not len(now):
        return ()
    before, after = traffic.signals.take(then), traffic.signals.take(now)
    return drift_of_signals(before, after, gate.calibrator.score(before).score, gate.calibrator.score(after).score)
