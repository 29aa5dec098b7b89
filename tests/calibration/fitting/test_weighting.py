"""What outcomes stand for, and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.fitting.hierarchical import fit_calibrator
from calibration.fitting.weighting import WEIGHT_CAP, effective_n, inverse_propensity, scaled
from calibration.table import Floats
from tests.calibration.fitting.readings import NOW, drawn, outcomes, readings


def test_an_outcome_stands_for_as_many_as_were_not_drawn_up_to_a_cap() -> None:
    assert inverse_propensity(np.array([1.0, 0.5, 0.02, 0.001])).tolist() == [1.0, 2.0, 50.0, WEIGHT_CAP]


@pytest.mark.parametrize("propensity", [0.0, -0.1, 1.5, np.nan])
def test_an_impossible_propensity_is_refused_with_its_row(propensity: float) -> None:
    with pytest.raises(ValueError, match=r"above 0 and at most 1; row 1 has"):
        inverse_propensity(np.array([1.0, propensity]))


@given(st.lists(st.floats(1.0, 50.0), min_size=1, max_size=50))
def test_uneven_outcomes_are_worth_less(weights: list[float]) -> None:
    weight = np.array(weights)
    assert 1.0 - 1e-9 <= effective_n(weight) <= len(weight) + 1e-9
    assert scaled(weight).sum() == pytest.approx(effective_n(weight))
    assert scaled(7.0 * weight) == pytest.approx(scaled(weight))


def test_equal_propensities_change_nothing_however_small_they_are() -> None:
    full = drawn(1, 300)
    rare = outcomes(full.signals, full.correct, np.full(300, 0.05))
    found, wanted = (fit_calibrator(each, created_at=NOW, judged=False) for each in (rare, full))
    assert rare.signals is full.signals
    scores, others = found.score(full.signals), wanted.score(full.signals)
    assert scores.score == pytest.approx(others.score, abs=1e-9)
    assert scores.high - scores.low == pytest.approx(others.high - others.low, abs=1e-5)
    assert found.effective_n == pytest.approx(300)


def test_weights_undo_a_selection_that_looks_at_the_truth() -> None:
    """Errors came before people ten times as often. Unweighted, the model seems to be wrong most of the time."""
    rng = np.random.default_rng(2)
    signals = readings(rng, 60_000)
    right = rng.random(60_000) < 0.8
    propensity = np.where(right, 0.05, 0.5)
    seen = np.flatnonzero(rng.random(60_000) < propensity)

    def mean_score(weights: Floats) -> float:
        known = outcomes(signals.take(seen), right[seen], weights)
        return float(fit_calibrator(known, created_at=NOW, judged=False).score(signals).score.mean())

    assert mean_score(np.ones(len(seen))) < 0.4
    assert mean_score(propensity[seen]) == pytest.approx(0.8, abs=0.02)
