"""The error of what passes under one gate, as its audits show it so far. Pure."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np

from calibration.certificate import Certified, Promise
from calibration.gate import CertifiedThresholds, Gate
from calibration.loop.evidence import AuditTable
from calibration.loop.settings import LoopSettings
from calibration.loop.watching import watch
from calibration.standing.contracts import ErrorPoint, ErrorStanding, Observed, PromiseStanding
from calibration.table import Bools, Times
from calibration.watch.monitor import Monitor, error_interval

_POINTS, _POINTS_EACH = 200, 50
"""Of the series of everything, and of each promise among several."""
_BLOCK = 100
"""Of audits with which a further monitor starts, as in `calibration.watch.monitor.first_alarm`."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def error_standing(gate: Gate, audits: AuditTable, now: datetime, settings: LoopSettings) -> ErrorStanding:
    """What the audits of a gate say, of everything that passed and of each promise.

    Alarms and evidence share the alarm level out among the promises, as the loop does. The interval of everything has
    the whole level to itself.
    """
    watched = watch(gate, audits, now, settings)
    own = audits.take((audits.gate == gate.gate_id) & audits.would_pass & audits.answered)
    own = own.take(np.argsort(own.given_at, kind="stable"))
    certified = _certified(gate)
    max_error = gate.policy.max_error if certified and gate.policy is not None else None
    level = settings.alarm_level / max(1, len(certified))
    promises = tuple(_promise(promise, found, own, max_error, level) for promise, found in certified)
    everything = observed(own.wrong, own.given_at, max_error, settings.alarm_level)
    evidence = [each.evidence for each in promises if each.evidence is not None]
    return ErrorStanding(
        **_fields(everything) | {"evidence": max(evidence, default=None)},
        gate_id=gate.gate_id,
        max_error=max_error,
        alarms=watched.alarms,
        waiting=watched.waiting,
        overdue=watched.overdue,
        overdue_share=watched.overdue_share,
        promises=promises if len(promises) > 1 else (),
    )


def observed(wrong: Bools, given_at: Times, max_error: float | None, level: float, points: int = _POINTS) -> Observed:
    """n answered audits in the order of their verdicts, shapes (n,), against a promise if there is one."""
    n, errors = len(wrong), int(wrong.sum())
    prior = (1.0, 1.0) if max_error is None else Monitor.start(max_error).prior
    low, high = error_interval(errors, n, prior, level)
    return Observed(
        answered=n,
        wrong=errors,
        error=errors / n if n else None,
        low=low,
        high=high,
        evidence=None if max_error is None else evidence_share(wrong, max_error, level),
        series=_series(wrong, given_at, prior, level, points),
    )


def evidence_share(wrong: Bools, max_error: float, level: float) -> float:
    """The largest logarithm of evidence at any audit, as a share of where its monitor raises the alarm; 0 or more.

    By the monitors of `calibration.watch.monitor.first_alarm`: 1 or more exactly where that finds one.
    """
    share = 0.0
    for j, start in enumerate(range(0, len(wrong), _BLOCK), start=1):
        monitor = Monitor.start(max_error).follow(wrong[start:])
        share = max(share, monitor.peak / -math.log(level / (j * (j + 1))))
    return share


def _promise(
    promise: Promise, found: Certified, audits: AuditTable, max_error: float | None, level: float
) -> PromiseStanding:
    about = np.isin(audits.signals.label.astype(str), promise.labels)
    return PromiseStanding(
        **_fields(observed(audits.wrong[about], audits.given_at[about], max_error, level, _POINTS_EACH)),
        labels=promise.labels,
        threshold=found.threshold,
        upper_bound=found.upper_bound,
    )


def _certified(gate: Gate) -> list[tuple[Promise, Certified]]:
    promises = gate.rule.promises if isinstance(gate.rule, CertifiedThresholds) else ()
    return [(each, each.certificate) for each in promises if isinstance(each.certificate, Certified)]


def _series(
    wrong: Bools, given_at: Times, prior: tuple[float, float], level: float, most: int
) -> tuple[ErrorPoint, ...]:
    n = len(wrong)
    errors = np.cumsum(wrong, dtype=np.intp)
    points: list[ErrorPoint] = []
    for at in np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.intp)):
        audits, found = int(at) + 1, int(errors[at])
        low, high = error_interval(found, audits, prior, level)
        when = _EPOCH + timedelta(microseconds=int(given_at[at].astype("datetime64[us]").astype(np.int64)))
        points.append(ErrorPoint(at=when, audits=audits, wrong=found, error=found / audits, low=low, high=high))
    return tuple(points)


def _fields(found: Observed) -> dict[str, object]:
    return {name: getattr(found, name) for name in Observed.model_fields}
