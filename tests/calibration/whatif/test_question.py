"""Knobs become a policy that says the same."""

from __future__ import annotations

import pytest

from calibration.policy import Policy
from calibration.whatif.question import Question
from deploy.bench.simulation import START
from tests.calibration.whatif.conftest import POLICY

SEEN = ("awe", "fear", "sadness")


def asked(question: Question, base: Policy = POLICY) -> Policy:
    return question.policy(base, SEEN, START)


def test_a_knob_that_is_not_turned_stays() -> None:
    same = asked(Question())
    kept = {name: getattr(POLICY, name) for name in Policy.model_fields if name not in ("policy_id", "created_at")}
    assert {name: getattr(same, name) for name in kept} == kept
    assert same.policy_id == "what-if"


def test_knobs_are_turned_one_by_one() -> None:
    base = POLICY.model_copy(update={"label_error_costs": {"awe": 2.0, "fear": 3.0}})
    found = asked(Question(max_error=0.1, audit_rate=0.5, label_error_costs={"fear": 9.0}, reviews_per_day=70.0), base)
    assert (found.max_error, found.confidence, found.reviews_per_day) == (0.1, base.confidence, 70.0)
    assert found.label_error_costs == {"awe": 2.0, "fear": 9.0}
    assert found.audit_rates == base.audit_rates.model_copy(update={"full": 0.5})
    severe = base.model_copy(update={"severe_labels": frozenset({"awe"})})
    assert asked(Question(severe_labels=frozenset()), severe).severe_labels == frozenset()


@pytest.mark.parametrize("review_cost", [0.0, 1.0, 2.5])
@pytest.mark.parametrize("scarcity", [0.0, 0.5])
@pytest.mark.parametrize("error_cost", [0.0, 4.0])
def test_costs_of_reviews_by_label_ask_for_the_score_that_they_mean(
    review_cost: float, scarcity: float, error_cost: float
) -> None:
    question = Question(
        error_cost=error_cost,
        review_cost=review_cost,
        reviewer_scarcity=scarcity,
        label_review_costs={"fear": 0.25, "sadness": 0.0},
    )
    found = asked(question)
    for label, cost in (("awe", review_cost), ("fear", 0.25), ("sadness", 0.0), ("never seen", review_cost)):
        least = max(0.0, 1.0 - (cost + scarcity) / error_cost) if error_cost else 0.0
        assert found.least_score(label) == pytest.approx(least, abs=1e-12)
