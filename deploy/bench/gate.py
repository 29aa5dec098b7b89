"""`tidegate bench gate`: what routing costs, one reading at a time and a million at once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated

import numpy as np
import typer

from calibration.certificate import Certified, Promise
from calibration.fitting.features import design
from calibration.gate import CertifiedThresholds, Gate
from calibration.outcome import ParseStatus, Signals
from calibration.policy import Policy
from calibration.table import OutcomeTable, SignalTable

_LABELS = tuple(f"label-{number}" for number in range(20))
_FIT = 5_000
_MADE = datetime(2026, 1, 1, tzinfo=UTC)


def gate(
    rows: Annotated[int, typer.Option(min=1000, help="of the table")] = 1_000_000,
    rounds: Annotated[int, typer.Option(min=1, help="of each measurement, in turn; the quickest counts")] = 5,
) -> None:
    """Readings through a certified gate of 20 labels: score, interval, threshold, cost, audit region.

    route_us is of one reading, as a worker routes it; table_s of the whole table. The yardstick is scikit-learn's
    LogisticRegression.predict_proba over the same columns, which neither has intervals nor knows labels:
    ratio_predict_proba is table_s over its time.
    """
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes a second to load

    rng = np.random.default_rng(0)
    fitted, correct = _readings(rng, _FIT)
    bench_gate = _gate(fitted, correct)
    table, _ = _readings(rng, rows)
    yardstick = LogisticRegression().fit(design(fitted), correct)
    routed = [_one(table, at) for at in range(1000)]
    one, many, plain = [], [], []
    for _ in range(rounds):
        one.append(
            _seconds(lambda: [bench_gate.route(label, signals, "feed") for label, signals in routed]) / len(routed)
        )
        many.append(_seconds(lambda: bench_gate.route_table(table)))
        plain.append(_seconds(lambda: yardstick.predict_proba(design(table))[:, 1] >= 0.8))
    result = {
        "bench": "gate",
        "rows": rows,
        "labels": len(_LABELS),
        "route_us": round(1e6 * min(one), 2),
        "table_s": round(min(many), 6),
        "predict_proba_s": round(min(plain), 6),
        "ratio_predict_proba": round(min(many) / min(plain), 2),
        "passing": round(float(bench_gate.route_table(table).passes.mean()), 3),
    }
    typer.echo(json.dumps(result))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _readings(rng: np.random.Generator, n: int) -> tuple[SignalTable, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """Readings of a model that is sure of itself by and large where it is right; and whether it is."""
    skill = rng.normal(1.2, 1.2, n)
    sure = 1.0 / (1.0 + np.exp(-skill))
    verbal = np.round(np.clip(sure + rng.normal(0.0, 0.1, n), 0.05, 0.99), 2)
    table = SignalTable(
        label=np.array(_LABELS, np.object_)[rng.integers(0, len(_LABELS), n)],
        source=np.full(n, "feed", np.object_),
        parsed=rng.random(n) < 0.98,
        verbal_confidence=np.where(rng.random(n) < 0.05, np.nan, verbal),
        label_probability=sure,
        label_margin=2.0 * sure - 1.0,
        label_entropy=-np.log(sure),
    )
    return table, rng.random(n) < sure


def _gate(fitted: SignalTable, correct: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> Gate:
    from calibration.fitting.hierarchical import fit_calibrator  # noqa: PLC0415 - takes a second to load

    n = len(fitted)
    outcomes = OutcomeTable(
        event_id=np.array([f"event-{number}" for number in range(n)], np.object_),
        signals=fitted,
        correct=correct,
        propensity=np.ones(n),
        audit_propensity=np.ones(n),
        decided_at=np.datetime64("2026-01-01", "us") + np.arange(n),
    )
    certificate = Certified(
        labels_used=n, least_abstention=0.1, threshold=0.8, coverage=0.5, upper_bound=0.05, errors=0, accepted=n
    )
    return Gate(
        gate_id="bench",
        created_at=_MADE,
        policy=Policy(policy_id="bench", taxonomy="bench", created_at=_MADE, max_error=0.05, error_cost=4.0),
        calibrator=fit_calibrator(outcomes, created_at=_MADE, judged=False),
        rule=CertifiedThresholds(promises=(Promise(labels=_LABELS, certificate=certificate),)),
        audit_floor=0.5,
    )


def _one(table: SignalTable, at: int) -> tuple[str, Signals]:
    confidence = float(table.verbal_confidence[at])
    return str(table.label[at]), Signals(
        parse_status=ParseStatus.OK,
        verbal_confidence=None if np.isnan(confidence) else confidence,
        label_probability=float(table.label_probability[at]),
        label_margin=float(table.label_margin[at]),
        label_entropy=float(table.label_entropy[at]),
    )
