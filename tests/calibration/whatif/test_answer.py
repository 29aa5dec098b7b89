"""Answers are what counting by hand gives, and what the loop would do."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from calibration.certificate import Certified, InsufficientLabels, NoCertifiableThreshold
from calibration.gate import CertifiedThresholds, closed_gate
from calibration.loop.evidence import moment
from calibration.table import Bools
from calibration.whatif.answer import what_if
from calibration.whatif.contracts import Estimate
from calibration.whatif.prepare import Surveyor, routed
from calibration.whatif.question import Question, UnknownLabelError
from deploy.bench.simulation import LABELS, START
from tests.calibration.whatif.conftest import POLICY, WAITING, Surveyed

QUESTIONS = [
    Question(),
    Question(max_error=0.09),
    Question(max_error=0.12, confidence=0.8, severe_labels=frozenset({"awe", "fear"})),
    Question(error_cost=12.0, label_error_costs={"sadness": 40.0}, review_cost=0.5),
    Question(max_error=0.1, label_review_costs={"fear": 0.25, "awe": 3.0}, reviewer_scarcity=0.2),
    Question(max_error=0.15, promise="per_label"),
    Question(max_error=0.1, promise=(("awe", "fear", "anger"), ("sadness", "disgust"))),
    Question(max_error=0.12, max_label_error=0.1),
]


@pytest.mark.parametrize("question", QUESTIONS, ids=range(len(QUESTIONS)))
def test_it_says_what_the_loops_own_next_gate_would_do(surveyed: Surveyed, question: Question) -> None:
    answer = what_if(surveyed.terrain, question, exact=True)
    gate = surveyed.next_gate(answer.policy)
    assert isinstance(gate.rule, CertifiedThresholds)
    assert tuple(each.promise for each in answer.promises) == gate.rule.promises
    assert answer.as_the_loop
    assert gate.provenance is not None
    assert answer.confidence == gate.provenance.confidence

    now = surveyed.gate.route_table(surveyed.signals).passes
    then = gate.route_table(surveyed.signals).passes
    assert [each.passes_then for each in answer.labels] == _by_label(surveyed, then)
    assert [each.passes_now for each in answer.labels] == _by_label(surveyed, now)
    assert answer.now.coverage.value == pytest.approx(now.mean())
    assert answer.then.coverage.value == pytest.approx(then.mean())
    assert answer.to_pass.count == (then & ~now).sum()
    assert answer.to_review.count == (now & ~then).sum()


def _by_label(surveyed: Surveyed, passes: Bools) -> list[int]:
    names = sorted(surveyed.terrain.labels)
    return [int(passes[surveyed.signals.label == name].sum()) for name in names]


@pytest.mark.parametrize("question", [QUESTIONS[1], QUESTIONS[2]], ids=["looser", "severe"])
def test_examples_really_change_their_route(surveyed: Surveyed, question: Question) -> None:
    answer = what_if(surveyed.terrain, question, exact=True, examples=30)
    gate = surveyed.next_gate(answer.policy)
    now = surveyed.gate.route_table(surveyed.signals).passes
    then = gate.route_table(surveyed.signals).passes
    score = gate.route_table(surveyed.signals).score
    shown = 0
    for change, passes in ((answer.to_pass, True), (answer.to_review, False)):
        assert len({each.event_id for each in change.examples}) == len(change.examples) <= min(30, change.count)
        for each in change.examples:
            row = int(each.event_id.removeprefix("e"))
            assert (now[row], then[row]) == (not passes, passes)
            assert each.label == surveyed.signals.label[row]
            assert each.score == pytest.approx(score[row])
            assert moment(each.decided_at) == surveyed.decided_at[row]
            shown += 1
    assert shown > 10
    assert what_if(surveyed.terrain, question, exact=True, examples=30) == answer


def test_the_days_figures_are_counted_by_hand(surveyed: Surveyed) -> None:
    question = Question(max_error=0.1, audit_rate=0.1, reviewers=2.0, hours_per_reviewer=5.0)
    answer = what_if(surveyed.terrain, question, exact=True)
    gate = surveyed.next_gate(answer.policy)
    routing = gate.route_table(surveyed.signals)
    age = (moment(surveyed.platform.now) - surveyed.decided_at) / np.timedelta64(1, "D")
    whole = int((surveyed.platform.now - START).total_seconds() // 86_400)
    assert whole >= 2
    days = [age.astype(int) == day for day in range(whole)]
    passing = np.array([routing.passes[day].sum() for day in days])
    readings = np.array([day.sum() for day in days])
    auditable = np.array([routing.auditable[day].sum() for day in days])

    then = answer.then
    assert then.passing_per_day.value == pytest.approx((0.9 * passing).mean())
    assert then.audits_per_day.value == pytest.approx((0.1 * auditable).mean())
    assert then.audits_passing_per_day.value == pytest.approx((0.1 * passing).mean())
    reviews = readings - 0.9 * passing
    assert then.reviews_per_day.value == pytest.approx(reviews.mean())
    assert then.reviews_per_day.value + then.passing_per_day.value == pytest.approx(readings.mean())
    assert then.hours_per_day is not None
    assert then.hours_per_day.value == pytest.approx(reviews.mean() * 5.0 / 3600.0)
    assert then.wrong_per_day_at_most == pytest.approx(0.1 * 0.9 * passing.mean())
    assert then.queue is not None
    assert then.queue.capacity_per_day == pytest.approx(2 * 5 * 3600 / 5)
    assert then.queue.waiting == WAITING
    now = answer.now
    shown = surveyed.gate.route_table(surveyed.signals).auditable
    assert now.audits_per_day.value == pytest.approx(0.1 * np.mean([shown[day].sum() for day in days]))
    for estimate in (then.coverage, then.passing_per_day, then.reviews_per_day, then.hours_per_day, now.coverage):
        _is_sane(estimate)


def _is_sane(estimate: Estimate) -> None:
    assert estimate.low is not None
    assert estimate.high is not None
    assert 0.0 <= estimate.low < estimate.value < estimate.high
    assert estimate.high - estimate.low < estimate.value


def test_what_passes_shrinks_with_the_promise(surveyed: Surveyed) -> None:
    coverage = [
        what_if(surveyed.terrain, Question(max_error=error), exact=True).then.coverage.value
        for error in (0.15, 0.12, 0.09, 0.06, 0.04, 0.01)
    ]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] > 0.3
    assert coverage[-1] == 0.0


def test_what_passes_shrinks_with_every_severe_label_where_each_label_is_promised_alone(surveyed: Surveyed) -> None:
    """A joint promise may let more pass without a bad label: the others then need less caution."""
    severe: list[str] = []
    before = 1.0
    for label in LABELS[:4].tolist():
        severe.append(label)
        question = Question(max_error=0.15, promise="per_label", severe_labels=frozenset(severe))
        answer = what_if(surveyed.terrain, question, exact=True)
        assert answer.then.coverage.value <= before
        assert {each.label: each.passes_then for each in answer.labels}[label] == 0
        before = answer.then.coverage.value
    assert before > 0.0


def test_dearer_errors_never_let_more_pass(surveyed: Surveyed) -> None:
    costs = (1.0, 4.0, 10.0, 30.0, 1000.0)
    answers = [
        what_if(surveyed.terrain, Question(max_error=0.1, error_cost=cost, review_cost=1.0), exact=True)
        for cost in costs
    ]
    coverage = [answer.then.coverage.value for answer in answers]
    assert coverage == sorted(coverage, reverse=True)
    assert coverage[0] > coverage[-1]


def test_too_few_labels_are_counted(surveyed: Surveyed) -> None:
    answer = what_if(surveyed.terrain, Question(max_error=0.0001), exact=True)
    certificate = answer.promises[0].promise.certificate
    assert isinstance(certificate, InsufficientLabels)
    assert answer.labels_missing == certificate.labels_needed - certificate.labels_used > 0
    assert answer.refusal is not None
    assert f"at least {answer.labels_missing:,} more answered audits" in answer.refusal
    assert answer.then.coverage.value == answer.to_pass.count == 0
    assert (answer.then.max_error, answer.then.error_bound, answer.then.wrong_per_day_at_most) == (None, None, 0.0)
    assert answer.then.reviews_per_day.value > answer.now.reviews_per_day.value
    assert answer.to_review.count == sum(each.passes_now for each in answer.labels) > 0


def test_a_threshold_that_nearly_holds_says_about_how_many_labels_more(surveyed: Surveyed) -> None:
    errors = [round(0.005 * step, 3) for step in range(1, 12)]
    answers = [what_if(surveyed.terrain, Question(max_error=error), exact=True) for error in errors]
    refused = [each for each in answers if isinstance(each.promises[0].promise.certificate, NoCertifiableThreshold)]
    assert refused
    for answer in refused:
        certificate = answer.promises[0].promise.certificate
        assert isinstance(certificate, NoCertifiableThreshold)
        assert answer.refusal is not None
        if certificate.errors / certificate.accepted >= answer.policy.max_error:
            assert answer.labels_missing is None
            assert "More labels will not help" in answer.refusal
        else:
            assert answer.labels_missing is not None
            assert answer.labels_missing >= 1
            assert f"about {answer.labels_missing:,} more" in answer.refusal


def test_a_certificate_bounds_the_error_by_what_is_promised(surveyed: Surveyed) -> None:
    answer = what_if(surveyed.terrain, Question(max_error=0.1), exact=True)
    certificate = answer.promises[0].promise.certificate
    assert isinstance(certificate, Certified)
    assert answer.then.error_bound == certificate.upper_bound <= 0.1
    assert answer.then.max_error == 0.1
    assert answer.labels_missing == 0
    assert answer.refusal is None
    assert answer.now.max_error == POLICY.max_error
    assert answer.now.error_bound is not None


def test_without_evidence_everything_goes_to_review_and_is_still_counted(surveyed: Surveyed) -> None:
    surveyor = Surveyor(START, surveyed.platform.now)
    gate = closed_gate(START)
    surveyor.add(routed(surveyed.event_id, surveyed.signals, surveyed.decided_at, gate, None))
    terrain = surveyor.terrain(POLICY, gate, "no verdict names a label yet")
    answer = what_if(terrain, Question(max_error=0.05, reviewers=3.0))
    assert answer.then.coverage == answer.now.coverage
    assert answer.then.coverage.value == 0.0
    assert answer.refusal is not None
    assert "no verdict names a label yet" in answer.refusal
    assert answer.labels_missing == 45  # ln .1 / ln .95
    assert answer.then.hours_per_day is None
    assert answer.then.queue is None  # nobody has measured how long a verdict takes
    assert answer.then.audits_per_day.value == pytest.approx(
        0.5 * surveyed.signals.parsed.mean() * answer.then.reviews_per_day.value, rel=0.01
    )


def test_a_quick_answer_says_that_it_did_not_plan(surveyed: Surveyed) -> None:
    question = Question(max_error=0.15, promise="per_label")
    quick, exact = what_if(surveyed.terrain, question), what_if(surveyed.terrain, question, exact=True)
    assert (quick.as_the_loop, exact.as_the_loop) == (False, True)
    assert any("may differ a little" in each for each in quick.assumptions)
    assert quick.then.coverage.value == pytest.approx(exact.then.coverage.value, abs=0.1)
    assert what_if(surveyed.terrain, Question(max_error=0.1)).as_the_loop


def test_a_label_that_nobody_has_seen_is_refused(surveyed: Surveyed) -> None:
    for question in (
        Question(severe_labels=frozenset({"angst"})),
        Question(label_error_costs={"angst": 3.0}),
        Question(label_review_costs={"angst": 3.0}),
        Question(promise=(("angst",),)),
    ):
        with pytest.raises(UnknownLabelError, match="no reading has the label 'angst'; there are: amusement, anger"):
            what_if(surveyed.terrain, question)


def test_a_label_in_two_groups_is_refused(surveyed: Surveyed) -> None:
    with pytest.raises(ValidationError, match="in more than one group: awe"):
        what_if(surveyed.terrain, Question(promise=(("awe", "fear"), ("awe",))))
