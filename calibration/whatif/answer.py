"""The answer to a question: exact counts on the terrain, and the certificate that the loop would make.

Nothing is read here, and nothing but the certificate takes longer than some thousand bisections.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np

from calibration.certificate import Certified
from calibration.certify.planning import least_trials
from calibration.gate import CertifiedThresholds, Gate
from calibration.policy import Policy
from calibration.table import Bools, Floats
from calibration.whatif.contracts import Answer, Change, Example, LabelAnswer, PromiseAnswer, Side
from calibration.whatif.estimates import per_day, product, ratio
from calibration.whatif.evidence import promise_answer
from calibration.whatif.forecast import capacity, queue
from calibration.whatif.question import Question
from calibration.whatif.terrain import ROUNDING, Counts, Terrain
from calibration.whatif.words import assumptions, refusal

_EXAMPLES = 12
_SECONDS_AN_HOUR = 3600.0


def what_if(terrain: Terrain, question: Question, *, exact: bool = False, examples: int = _EXAMPLES) -> Answer:
    """What would be under the policy in force with these changes, beside what is.

    Args:
        exact: make the tests in the loop's own order, however long that takes. Else only where it is quick, which
            `Answer.as_the_loop` tells.
        examples: at most so many images that change their route, in each direction.

    Raises:
        UnknownLabelError: the question names a label that nobody has seen.
        pydantic.ValidationError: its knobs do not fit together.
    """
    policy = question.policy(terrain.policy, terrain.labels, terrain.until)
    found = _certificate(terrain, policy, exact)
    passing = {
        label: max(least, policy.least_score(label))
        for label, least in CertifiedThresholds(promises=tuple(each.promise for each in found.promises))
        .thresholds()
        .items()
        if label not in policy.severe_labels
    }
    least = np.array([passing.get(label, math.inf) for label in terrain.labels]) - ROUNDING
    counted = _Counted.on(terrain, least)
    can = capacity(
        policy.reviews_per_day,
        question.reviewers,
        question.hours_per_reviewer,
        None if terrain.pace is None else terrain.pace.seconds,
    )
    then_changed = (terrain.kept.score >= least[terrain.kept.label]) if len(terrain.labels) else terrain.kept.passes
    drawn = np.array([label not in policy.severe_labels for label in terrain.labels], np.bool_)
    rate = policy.audit_rates.full if passing else policy.audit_rates.closed
    then = _side(
        terrain,
        counted.then.sum(axis=0),
        counted.parsed[drawn].sum(axis=0),
        rate,
        policy.max_error if passing else None,
        _bound(tuple(each.promise.certificate for each in found.promises)),
        can,
    )
    return Answer(
        policy=policy,
        readings=terrain.readings,
        since=terrain.since,
        until=terrain.until,
        now=_now(terrain, counted.now.sum(axis=0), can),
        then=then,
        promises=found.promises,
        refusal=refusal(terrain, policy, found.promises, found.missing) if not passing else None,
        labels_missing=found.missing,
        labels_until_attempt=terrain.labels_until_attempt,
        confidence=found.confidence,
        to_pass=_change(terrain, counted.to_pass, then_changed & ~terrain.kept.passes, examples),
        to_review=_change(terrain, counted.to_review, ~then_changed & terrain.kept.passes, examples),
        labels=tuple(
            LabelAnswer(
                label=label,
                readings=int(counted.parsed[at].sum()),
                passes_now=int(counted.now[at].sum()),
                passes_then=int(counted.then[at].sum()),
                least_score=passing.get(label),
            )
            for at, label in sorted(enumerate(terrain.labels), key=lambda one: one[1])
        ),
        as_the_loop=found.as_the_loop,
        assumptions=assumptions(terrain, policy, question, found.confidence, found.as_the_loop),
    )


@dataclass(frozen=True)
class _Found:
    promises: tuple[PromiseAnswer, ...]
    missing: int | None
    confidence: float
    as_the_loop: bool


def _certificate(terrain: Terrain, policy: Policy, exact: bool) -> _Found:
    at_hand = terrain.at_hand
    if isinstance(at_hand, str):
        return _Found((), least_trials(policy.max_error, 1.0 - policy.confidence), policy.confidence, True)
    confidence = at_hand.confidence(policy)
    planned = exact or at_hand.plans_in_time(policy)
    promises = at_hand.certify(policy, planned=planned)
    answers = tuple(promise_answer(promise, policy, confidence) for promise in promises)
    return _Found(answers, at_hand.missing_of_any(policy, answers), confidence, planned or at_hand.earlier is None)


@dataclass(frozen=True)
class _Counted:
    """Readings by label and day, shape (labels, days) each."""

    parsed: Counts
    now: Counts
    """Of them, what passes now, and then,"""
    then: Counts
    to_pass: Counts
    """and what does so only then, or only now."""
    to_review: Counts

    @classmethod
    def on(cls, terrain: Terrain, least: Floats) -> _Counted:
        shape = (len(terrain.labels), terrain.days.count)
        pairs = list(zip(terrain.passing, terrain.held, least.tolist(), strict=True))
        now = np.array([passing.by_day for passing, _, _ in pairs], np.int64).reshape(shape)
        held = np.array([held.by_day for _, held, _ in pairs], np.int64).reshape(shape)
        stays = np.array([passing.reaching(score) for passing, _, score in pairs], np.int64).reshape(shape)
        to_pass = np.array([held.reaching(score) for _, held, score in pairs], np.int64).reshape(shape)
        return cls(parsed=now + held, now=now, then=stays + to_pass, to_pass=to_pass, to_review=now - stays)


def _now(terrain: Terrain, passing: Counts, can: float | None) -> Side:
    gate = terrain.gate
    certified = isinstance(gate.rule, CertifiedThresholds) and gate.passes_anything and gate.policy is not None
    promised = gate.policy.max_error if certified and gate.policy is not None else None
    return _side(terrain, passing, terrain.auditable, gate.audit_rate, promised, _gate_bound(gate), can)


def _side(
    terrain: Terrain,
    passing: Counts,
    auditable: Counts,
    audit_rate: float,
    max_error: float | None,
    bound: float | None,
    can: float | None,
) -> Side:
    """The figures of one gate, from counts by day."""
    unseen = per_day((1.0 - audit_rate) * passing, terrain.days)
    reviews = per_day(terrain.arrivals - (1.0 - audit_rate) * passing, terrain.days)
    hours = None if terrain.pace is None else product(reviews, terrain.pace.seconds, _SECONDS_AN_HOUR)
    return Side(
        coverage=ratio(passing.astype(np.float64), terrain.arrivals.astype(np.float64), 1.0),
        passing_per_day=unseen,
        reviews_per_day=reviews,
        hours_per_day=hours,
        audits_per_day=per_day(audit_rate * auditable, terrain.days),
        audits_passing_per_day=per_day(audit_rate * passing, terrain.days),
        max_error=max_error,
        error_bound=bound,
        wrong_per_day_at_most=_wrong(unseen.value, max_error),
        queue=None if can is None else queue(reviews.value, can, terrain.waiting),
    )


def _wrong(unseen: float, max_error: float | None) -> float | None:
    if unseen == 0.0:
        return 0.0
    return None if max_error is None else max_error * unseen


def _bound(certificates: tuple[object, ...]) -> float | None:
    return max((each.upper_bound for each in certificates if isinstance(each, Certified)), default=None)


def _gate_bound(gate: Gate) -> float | None:
    if not isinstance(gate.rule, CertifiedThresholds) or not gate.passes_anything:
        return None
    return _bound(tuple(promise.certificate for promise in gate.rule.promises))


def _change(terrain: Terrain, counts: Counts, rows: Bools, most: int) -> Change:
    """Examples are drawn by what they stand for, the same for the same question, and shown the newest first."""
    by_day = counts.sum(axis=0)
    kept = terrain.kept.take(rows)
    draw = np.random.default_rng(0).exponential(size=len(kept)) / kept.weight
    kept = kept.take(np.argsort(draw)[:most])
    kept = kept.take(np.argsort(kept.decided_at)[::-1])
    return Change(
        count=int(by_day.sum()),
        per_day=per_day(by_day, terrain.days),
        examples=tuple(
            Example(
                event_id=event_id,
                label=terrain.labels[label],
                score=None if math.isinf(score) else score,
                decided_at=datetime.fromtimestamp(micros / 1e6, UTC),
            )
            for event_id, label, score, micros in zip(
                kept.event_id.tolist(),
                kept.label.tolist(),
                kept.score.tolist(),
                kept.decided_at.astype("datetime64[us]").astype(np.int64).tolist(),
                strict=True,
            )
        ),
    )
