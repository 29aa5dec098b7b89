"""`tidegate bench what-if`: how long an analyst waits for an answer, and whether it is exact."""

from __future__ import annotations

import json
import resource
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from numpy.typing import NDArray

from calibration.calibrator import Calibrator
from calibration.certify.earlier import Earlier
from calibration.gate import CertifiedThresholds, Gate
from calibration.loop.evidence import moment
from calibration.policy import Policy
from calibration.table import Bools, Floats, OutcomeTable, SignalTable
from calibration.whatif.answer import what_if as answered
from calibration.whatif.contracts import Answer
from calibration.whatif.evidence import LabelsAtHand
from calibration.whatif.pace import Pace
from calibration.whatif.prepare import Readings, Surveyor, routed
from calibration.whatif.question import Question
from calibration.whatif.terrain import ROUNDING, Terrain
from deploy.bench.simulation import LABELS, START, World

_DAYS = 28
_FIT = 5_000
_CHUNK = 250_000
_MOST_TRAFFIC = 500_000
"""As much as the loop itself looks at."""
_MB = 1024.0


def what_if(
    rows: Annotated[int, typer.Option(min=2000, help="readings in the survey")] = 10_000_000,
    labels: Annotated[int, typer.Option(min=200, help="audited outcomes at hand")] = 2_000,
    questions: Annotated[int, typer.Option(min=50, help="drawn at random, each asked once")] = 60,
    scans: Annotated[int, typer.Option(min=1, help="of them also answered by a pass over all rows")] = 10,
) -> None:
    """Random questions on a survey of four weeks and eight labels.

    prepare_s: from signals to the survey, scoring and routing included. p50_ms,
    p95_ms, max_ms: of a whole answer to a question not asked before, its
    certificate included; cpu_p95_ms, cpu_max_ms the processor's time for it, which
    other programs do not lengthen as much; certificate_p50_ms is the part of the
    certificate. counting_p50_ms: of the same answer once its certificate is known. The yardstick scan_p50_ms
    counts the same by numpy over all rows, already scored: thresholds by label,
    routes, changes and days. ratio_scan is its time over counting's, ratio_whole
    the same with the certificate, which both need. Counts must agree exactly,
    else this fails; coverage_error is the largest difference in coverage.
    """
    rng = np.random.default_rng(0)
    policy, evidence, terrain, flat, prepare_s = surveyed(rng, rows, labels)
    whole, certificate, counting, scanning, coverage, busy = [], [], [], [], [], []
    off = 0.0
    for number in range(questions):
        question = drawn_question(rng)
        asked = question.policy(policy, terrain.labels, START)
        busy_before = time.thread_time()
        before = time.perf_counter()
        evidence.certify(asked, planned=evidence.plans_in_time(asked))
        between = time.perf_counter()
        answer = answered(terrain, question)
        after = time.perf_counter()
        busy.append(time.thread_time() - busy_before)
        certificate.append(between - before)
        counting.append(after - between)
        whole.append(after - before)
        coverage.append(answer.then.coverage.value)
        if number < scans:
            before = time.perf_counter()
            scanned = flat.scan(_least(terrain, answer))
            scanning.append(time.perf_counter() - before)
            off = max(off, _agree(answer, scanned))
    certificate_s = float(np.median(certificate))
    median = {name: float(np.median(times)) for name, times in (("counting", counting), ("scan", scanning))}
    result: dict[str, Any] = {
        "bench": "what-if",
        "rows": rows,
        "labels": labels,
        "questions": questions,
        "prepare_s": round(prepare_s, 3),
        "p50_ms": _ms(whole, 0.5),
        "p95_ms": _ms(whole, 0.95),
        "max_ms": _ms(whole, 1.0),
        "cpu_p95_ms": _ms(busy, 0.95),
        "cpu_max_ms": _ms(busy, 1.0),
        "certificate_p50_ms": _ms(certificate, 0.5),
        "counting_p50_ms": _ms(counting, 0.5),
        "scan_p50_ms": _ms(scanning, 0.5),
        "ratio_scan": round(median["scan"] / median["counting"], 3),
        "ratio_whole": round((certificate_s + median["scan"]) / (certificate_s + median["counting"]), 2),
        "coverage_error": off,
        "passing_share": round(float(np.mean(np.array(coverage) > 0.0)), 3),
        "terrain_mb": round(terrain.nbytes / 1e6, 3),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / _MB, 1),
    }
    typer.echo(json.dumps(result))


class Surveyed(NamedTuple):
    """A survey of invented readings, and what it was made of."""

    policy: Policy
    evidence: LabelsAtHand
    terrain: Terrain
    flat: Flat
    prepare_s: float
    """From signals to the survey."""


def surveyed(rng: np.random.Generator, rows: int, labels: int) -> Surveyed:
    """Four weeks of `rows` readings, of which `labels` were audited, under a gate that is certified on them."""
    world = World()
    calibrator, earlier = _calibrator(world, rng)
    policy = Policy(policy_id="bench", taxonomy="bench", created_at=START, max_error=0.05, error_cost=4.0)
    started = time.perf_counter()
    evidence = _labels_at_hand(world, rng, calibrator, earlier, labels, min(rows, _MOST_TRAFFIC))
    gate = Gate(
        gate_id="bench",
        created_at=START,
        policy=policy,
        calibrator=calibrator,
        rule=CertifiedThresholds(promises=evidence.certify(policy, planned=True)),
    )
    terrain, flat, making_s = _prepared(world, rng, rows, policy, gate, evidence)
    return Surveyed(policy, evidence, terrain, flat, time.perf_counter() - started - making_s)


@dataclass(frozen=True)
class Flat:
    """The same readings as they come, for the yardstick."""

    code: NDArray[np.int8]
    score: Floats
    passes: Bools
    day: NDArray[np.uint8]

    def scan(self, least: Floats) -> tuple[int, int, int]:
        """Readings that pass, that would pass anew, and that would not any more; of each the days are counted."""
        then = self.score >= least[self.code]  # nan is below
        found = (then, then & ~self.passes, ~then & self.passes)
        return tuple(int(np.bincount(self.day[rows], minlength=_DAYS).sum()) for rows in found)  # type: ignore[return-value]


def _prepared(
    world: World, rng: np.random.Generator, rows: int, policy: Policy, gate: Gate, evidence: LabelsAtHand
) -> tuple[Terrain, Flat, float]:
    """The terrain, the flat copy, and the seconds that it took to invent the readings and to keep that copy."""
    until = START + timedelta(days=_DAYS)
    surveyor = Surveyor(START, until)
    parts: list[tuple[NDArray[Any], ...]] = []
    making = 0.0
    codes = {name: code for code, name in enumerate(LABELS.tolist())}
    for first in range(0, rows, _CHUNK):
        started = time.perf_counter()
        n = min(_CHUNK, rows - first)
        signals, _ = world.readings(rng, n)
        micros = rng.integers(0, _DAYS * 86_400_000_000, n)
        decided_at = moment(START) + micros.astype("timedelta64[us]")
        event_id = np.array([f"event-{number}" for number in range(first, first + n)], np.object_)
        making += time.perf_counter() - started
        readings: Readings = routed(event_id, signals, decided_at, gate, gate.calibrator)
        surveyor.add(readings)
        started = time.perf_counter()
        code = np.fromiter(map(codes.__getitem__, signals.label.tolist()), np.int8, n)
        day = ((_DAYS * 86_400_000_000 - micros) // 86_400_000_000).clip(0, _DAYS - 1).astype(np.uint8)
        parts.append((code, readings.score, readings.passes, day))
        making += time.perf_counter() - started
    terrain = surveyor.terrain(
        policy, gate, evidence, pace=Pace.of(np.array([300.0, 250.0]), np.array([2000.0, 1800.0]))
    )
    started = time.perf_counter()
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return terrain, Flat(*columns), making + time.perf_counter() - started


def _calibrator(world: World, rng: np.random.Generator) -> tuple[Calibrator, Earlier]:
    from calibration.fitting.hierarchical import fit_calibrator  # noqa: PLC0415 - takes a second to load

    signals, right = world.readings(rng, _FIT)
    correct = rng.random(_FIT) < right
    outcomes = OutcomeTable(
        event_id=np.array([f"fit-{number}" for number in range(_FIT)], np.object_),
        signals=signals,
        correct=correct,
        propensity=np.ones(_FIT),
        audit_propensity=np.ones(_FIT),
        decided_at=moment(START) + np.arange(_FIT),
    )
    calibrator = fit_calibrator(outcomes, created_at=datetime(2026, 1, 1, tzinfo=UTC), judged=False)
    return calibrator, Earlier(calibrator.score(signals).score, ~correct, signals.label)


def _labels_at_hand(
    world: World, rng: np.random.Generator, calibrator: Calibrator, earlier: Earlier, labels: int, traffic: int
) -> LabelsAtHand:
    signals, right = world.readings(rng, labels)
    seen, _ = world.readings(rng, traffic)
    return LabelsAtHand(
        score=calibrator.score(signals).score,
        wrong=rng.random(labels) >= right,
        label=_parsed_label(signals),
        traffic_score=calibrator.score(seen).score,
        traffic_label=_parsed_label(seen),
        floor=0.0,
        earlier=earlier,
        attempts=0,
    )


def _parsed_label(signals: SignalTable) -> NDArray[np.object_]:
    return np.where(signals.parsed, signals.label, "")


def drawn_question(rng: np.random.Generator) -> Question:
    """All knobs at once, as nobody would turn them."""
    few = rng.choice(LABELS, 3, replace=False).tolist()
    return Question(
        max_error=float(rng.uniform(0.01, 0.15)),
        confidence=float(rng.choice([0.8, 0.9, 0.95])),
        promise="per_label" if rng.random() < 0.2 else "joint",
        error_cost=float(rng.uniform(1.0, 20.0)),
        label_error_costs={few[0]: float(rng.uniform(1.0, 50.0))},
        review_cost=float(rng.uniform(0.5, 2.0)),
        severe_labels=frozenset(few[1 : 1 + int(rng.integers(0, 3))]),
        audit_rate=float(rng.uniform(0.01, 0.1)),
        reviewers=float(rng.integers(1, 200)),
    )


def _least(terrain: Terrain, answer: Answer) -> Floats:
    least = {each.label: each.least_score for each in answer.labels}
    scores = [least.get(name) for name in LABELS.tolist()]
    return np.array([np.inf if score is None else score for score in scores]) - ROUNDING


def _agree(answer: Answer, scanned: tuple[int, int, int]) -> float:
    """By how much coverage differs, where the counts are the same."""
    counted = (
        sum(each.passes_then for each in answer.labels),
        answer.to_pass.count,
        answer.to_review.count,
    )
    if counted != scanned:
        raise ValueError(f"the terrain counts {counted}, a pass over all rows {scanned}: they must agree")
    return abs(answer.then.coverage.value - scanned[0] / answer.readings)


def _ms(times: list[float], share: float) -> float:
    return round(1e3 * float(np.quantile(times, share)), 2)
