"""The named baselines, against their definitions and against other implementations."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mapie.calibration import VennAbersCalibrator
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression

from calibration.fitting.baselines import BASELINES, isotonic, platt, temperature, venn_abers
from calibration.table import Bools, Floats
from tests.calibration.fitting.readings import sigmoid


def overconfident(n: int, seed: int = 0, slope: float = 0.5, offset: float = 0.0) -> tuple[Floats, Bools]:
    """Scores within [.01, .99] whose log-odds are 1 / slope times as far out as they should be."""
    rng = np.random.default_rng(seed)
    logit = np.clip(1.0 + 1.5 * rng.normal(size=n), -4.5, 4.5)
    return sigmoid(logit), rng.random(n) < sigmoid(slope * logit + offset)


def test_temperature_finds_the_temperature() -> None:
    score, correct = overconfident(50_000, slope=0.5)
    learned = temperature(score, correct, np.ones(50_000))
    asked = np.array([0.1, 0.5, 0.9])
    assert learned(asked) == pytest.approx(sigmoid(0.5 * np.log(asked / (1 - asked))), abs=0.01)


def test_platt_finds_slope_and_offset() -> None:
    score, correct = overconfident(50_000, slope=0.6, offset=-0.7)
    asked = np.array([0.1, 0.5, 0.9])
    found = platt(score, correct, np.ones(50_000))(asked)
    assert found == pytest.approx(sigmoid(0.6 * np.log(asked / (1 - asked)) - 0.7), abs=0.015)


def test_venn_abers_is_its_definition() -> None:
    """An isotonic fit for each asked score and each truth it might have."""
    score, correct = overconfident(60, 1)
    score = np.round(score, 1)  # with ties
    weight = np.random.default_rng(1).uniform(0.5, 2.0, 60)
    asked = np.array([0.0, 0.1, 0.33, 0.5, 0.77, 0.9, 1.0])
    wanted = []
    for value in asked:
        low, high = (
            IsotonicRegression()
            .fit(np.append(score, value), np.append(correct, truth), sample_weight=np.append(weight, 1.0))
            .predict([value])[0]
            for truth in (0.0, 1.0)
        )
        wanted.append(high / (1 - low + high))
    assert venn_abers(score, correct, weight)(asked) == pytest.approx(np.array(wanted), abs=1e-9)


def test_venn_abers_is_what_mapie_finds() -> None:
    score, correct = overconfident(300, 2)
    x = np.log(score / (1 - score))[:, None]
    model = LogisticRegression().fit(x, correct)
    asked = np.linspace(-3.0, 4.0, 41)[:, None]
    with np.errstate(invalid="ignore"):  # it divides 0 by 0 on its way
        mapie = VennAbersCalibrator(estimator=model, cv="prefit").fit(x, correct.astype(int))
        theirs = mapie.predict_proba(asked)[:, 1]
    ours = venn_abers(model.predict_proba(x)[:, 1], correct, np.ones(300))(model.predict_proba(asked)[:, 1])
    assert ours == pytest.approx(theirs, abs=1e-9)


def test_isotonic_rises() -> None:
    score, correct = overconfident(500, 3)
    found = isotonic(score, correct, np.ones(500))(np.linspace(0, 1, 101))
    assert (np.diff(found) >= 0).all()


@pytest.mark.parametrize("name", ["temperature", "platt", "isotonic", "venn_abers"])
def test_each_is_better_than_a_model_that_is_too_sure(name: str) -> None:
    score, correct = overconfident(2000, 4, slope=0.4, offset=-0.5)
    new, truth = overconfident(20_000, 5, slope=0.4, offset=-0.5)
    learned = BASELINES[name](score, correct, np.ones(2000))
    assert np.mean((learned(new) - truth) ** 2) < np.mean((new - truth) ** 2) - 0.01


@pytest.mark.parametrize("name", ["temperature", "platt", "isotonic"])
def test_a_weight_counts_as_often(name: str) -> None:
    score, correct = overconfident(40, 6)
    weight = np.random.default_rng(6).integers(1, 4, 40)
    repeated = np.repeat(np.arange(40), weight)
    asked = np.linspace(0.05, 0.95, 10)
    weighted = BASELINES[name](score, correct, weight.astype(np.float64))(asked)
    plain = BASELINES[name](score[repeated], correct[repeated], np.ones(len(repeated)))(asked)
    assert weighted == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("name", BASELINES)
@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.floats(0.01, 50)), max_size=20))
def test_anything_gives_probabilities(name: str, rows: list[tuple[float, bool, float]]) -> None:
    score, weight = (np.array([row[at] for row in rows], np.float64) for at in (0, 2))
    correct = np.array([row[1] for row in rows], np.bool_)
    asked = np.linspace(0, 1, 9)
    found = BASELINES[name](score, correct, weight)(asked)
    assert found.shape == asked.shape
    assert ((found >= 0) & (found <= 1)).all()


@pytest.mark.parametrize("name", BASELINES)
def test_a_missing_score_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="none may be missing"):
        BASELINES[name](np.array([0.5, np.nan]), np.array([True, False]), np.ones(2))
