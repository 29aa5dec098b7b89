"""Figures of merit: by hand, against scikit-learn, MAPIE and relplot, and what holds of any scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import relplot
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mapie.metrics.calibration import expected_calibration_error
from mapie.metrics.uncertainty import auarc
from mapie.metrics.uncertainty import auroc as mapie_auroc
from pydantic import ValidationError
from scipy.stats import norm
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score

from calibration.metrics import Figure, Metrics, evaluate, evaluate_groups
from calibration.metrics.smooth import CELLS, grid_shares, smooth_errors
from calibration.table import Bools, Floats

RELPLOT_TOLERANCE = 1e-3
"""`eps` of relplot.smECE: where it stops to search for the width."""
PLAIN = ("base_rate", "brier", "brier_skill", "log_loss", "smooth_ece", "ece", "auroc", "aurc")


def values(found: Metrics) -> dict[str, float | None]:
    return {name: getattr(found, name).value for name in PLAIN} | {
        f"coverage_at {error}": figure.value for error, figure in found.coverage_at.items()
    }


def sample(n: int, seed: int, *, overconfident: float = 1.0) -> tuple[Floats, Bools, Floats]:
    """Scores, truths and weights of three kinds."""
    rng = np.random.default_rng(seed)
    logit = rng.normal(1.5, 1.2, n)
    score = 1.0 / (1.0 + np.exp(-overconfident * logit))
    return score, rng.random(n) < 1.0 / (1.0 + np.exp(-logit)), rng.choice([1.0, 2.0, 20.0], n)


@st.composite
def scored(draw: st.DrawFn, least: int = 1) -> tuple[Floats, Bools, Floats]:
    """Scores, many of them the same, 0 or 1; truths; weights."""
    n = draw(st.integers(least, 60))
    ends = st.one_of(st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.9, 1.0]), st.floats(0, 1))
    score = draw(st.lists(ends, min_size=n, max_size=n))
    correct = draw(st.lists(st.booleans(), min_size=n, max_size=n))
    weight = draw(st.lists(st.sampled_from([1.0, 2.0, 10.0, 50.0]), min_size=n, max_size=n))
    return np.array(score), np.array(correct, np.bool_), np.array(weight)


@given(scored())
def test_proper_scores_are_those_of_scikit_learn(data: tuple[Floats, Bools, Floats]) -> None:
    score, correct, weight = data
    found = evaluate(score, correct, weight, resamples=0)
    brier = brier_score_loss(correct, score, sample_weight=weight, pos_label=True)
    assert found.brier.value == pytest.approx(brier, abs=1e-9)
    loss = log_loss(correct, score, sample_weight=weight, labels=[False, True])
    assert found.log_loss.value == pytest.approx(loss, abs=1e-9)
    rate = np.average(correct, weights=weight)
    assert found.base_rate.value == pytest.approx(rate, abs=1e-12)
    if 0.0 < rate < 1.0:
        climate = brier_score_loss(correct, np.full(len(score), rate), sample_weight=weight, pos_label=True)
        assert found.brier_skill.value == pytest.approx(1.0 - brier / climate, abs=1e-9)
        assert found.auroc.value == pytest.approx(roc_auc_score(correct, score, sample_weight=weight), abs=1e-9)
    else:
        assert found.brier_skill.value is found.auroc.value is None


@given(st.integers(0, 10_000), st.integers(2, 300))
def test_of_equal_weights_and_different_scores_mapie_says_the_same(seed: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    score = rng.permutation(n) / n * 0.98 + 0.0123456789
    correct = rng.random(n) < score
    found = evaluate(score, correct, resamples=0)
    eleven_edges = expected_calibration_error(correct.astype(int), score, num_bins=11, split_strategy="uniform")
    assert found.ece.value == pytest.approx(eleven_edges, abs=1e-9)
    assert found.aurc.value == pytest.approx(1.0 - auarc(correct, score), abs=1e-9)
    if 0 < correct.sum() < n:
        assert found.auroc.value == pytest.approx(mapie_auroc(correct, score), abs=1e-9)


@pytest.mark.parametrize("overconfident", [0.5, 1.0, 1.3, 3.0])
@pytest.mark.parametrize("n", [20, 300, 20_000])
def test_the_smooth_error_is_that_of_relplot(n: int, overconfident: float) -> None:
    """Away from 0 and 1, where relplot reflects what lies at the very end only half; `..._its_integral` tests there."""
    score, correct, _ = sample(n, n, overconfident=overconfident)
    score = np.clip(score, 0.01, 0.99)
    found = evaluate(score, correct, resamples=0).smooth_ece.value
    assert found == pytest.approx(relplot.smECE(score, correct.astype(float)), abs=RELPLOT_TOLERANCE)


@settings(max_examples=30)
@given(scored())
def test_the_smooth_error_is_its_integral(data: tuple[Floats, Bools, Floats]) -> None:
    """smECE_s at the s that was found, with reflected kernels written out, is that s."""
    score, correct, weight = data
    found = evaluate(score, correct, weight, resamples=0).smooth_ece.value
    assert found is not None
    assume(found > 0.005)  # a narrower kernel needs finer steps than this integral has
    residual = weight / weight.sum() * (correct - score)
    at = (np.arange(2000) + 0.5) / 2000
    images = [sign * score + 2 * shift for shift in range(-4, 5) for sign in (1, -1)]
    smoothed = sum(norm.pdf(at[:, np.newaxis], image, found) @ residual for image in images)
    assert np.abs(smoothed).mean() == pytest.approx(found, abs=1e-3)


@given(scored(), st.integers(0, 1000))
def test_order_and_the_unit_of_weights_do_not_matter(data: tuple[Floats, Bools, Floats], seed: int) -> None:
    score, correct, weight = data
    order = np.random.default_rng(seed).permutation(len(score))
    one = values(evaluate(score, correct, weight, resamples=0))
    other = values(evaluate(score[order], correct[order], 0.37 * weight[order], resamples=0))
    assert {name: value is None for name, value in one.items()} == {
        name: value is None for name, value in other.items()
    }
    assert [value for value in one.values() if value is not None] == pytest.approx(
        [value for value in other.values() if value is not None], abs=1e-9
    )


@given(scored())
def test_a_weight_of_ten_is_ten_rows(data: tuple[Floats, Bools, Floats]) -> None:
    score, correct, weight = data
    times = weight.astype(int)
    one = values(evaluate(score, correct, weight, resamples=0))
    other = values(evaluate(np.repeat(score, times), np.repeat(correct, times), resamples=0))
    for name, value in one.items():
        if name != "aurc":  # a row passes as a whole: its ten copies do not
            assert value == (None if value is None else pytest.approx(other[name], abs=1e-9)), name


@given(scored())
def test_figures_stay_in_their_ranges(data: tuple[Floats, Bools, Floats]) -> None:
    found = values(evaluate(*data, resamples=0))
    for name, value in found.items():
        if value is not None and name not in ("brier_skill", "log_loss"):
            assert -1e-12 <= value <= 1.0 + 1e-12, name
    coverages = [value for name, value in found.items() if name.startswith("coverage_at")]
    assert coverages == sorted(coverages, key=lambda value: value or 0.0)


def test_coverage_counts_by_hand() -> None:
    score = np.repeat([0.9, 0.8, 0.7], [50, 50, 100])
    correct = np.ones(200, np.bool_)
    correct[[50, 51]] = False  # 0 % of 50, 2 % of 100,
    correct[100:118] = False  # 10 % of 200
    found = evaluate(score, correct, resamples=0).coverage_at
    assert {error: figure.value for error, figure in found.items()} == {
        "0.01": 0.25,
        "0.02": 0.5,
        "0.05": 0.5,
        "0.1": 1.0,
    }
    weighted = evaluate(score, correct, np.where(score == 0.9, 3.0, 1.0), resamples=0).coverage_at
    assert weighted["0.01"].value == pytest.approx(200 / 300)  # 2 of 200: the first run counts three times


def test_equal_scores_pass_in_random_order() -> None:
    """AURC of ties is the mean over all orders of them."""
    rng = np.random.default_rng(0)
    score = np.repeat([0.9, 0.5, 0.2], [3, 6, 4])
    correct = np.array([1, 1, 0, 1, 0, 0, 1, 1, 0, 0, 1, 0, 1], np.bool_)
    orders = []
    for _ in range(20_000):
        wrong = ~correct[np.argsort(-score + rng.random(13) * 1e-6)]
        orders.append(np.mean(np.cumsum(wrong) / np.arange(1, 14)))
    assert evaluate(score, correct, resamples=0).aurc.value == pytest.approx(np.mean(orders), abs=0.003)
    flat = evaluate(np.full(13, 0.5), correct, resamples=0)
    assert flat.aurc.value == pytest.approx(np.mean(~correct))
    assert flat.auroc.value == pytest.approx(0.5)


def test_the_last_bin_is_closed() -> None:
    found = evaluate(np.array([0.95, 1.0]), np.array([True, False]), resamples=0).ece
    assert found.value == pytest.approx(abs(0.95 - 1 + 1.0) / 2)


def test_the_smooth_error_of_certainties() -> None:
    right = evaluate(np.array([0.0, 1.0]), np.array([False, True]), resamples=0)
    assert right.smooth_ece.value == pytest.approx(0.0)
    wrong = evaluate(np.ones(50), np.zeros(50, np.bool_), resamples=0)
    assert wrong.smooth_ece.value == pytest.approx(1.0)
    assert wrong.log_loss.value == pytest.approx(log_loss([0.0], [1.0], labels=[0, 1]))  # finite


@given(st.floats(0, 1))
def test_a_score_belongs_to_the_points_beside_it(score: float) -> None:
    shares = grid_shares(np.array([score])).toarray()[0]
    assert shares.sum() == pytest.approx(1.0)
    assert shares @ np.arange(CELLS + 1) / CELLS == pytest.approx(score, abs=1e-12)


def test_wider_kernels_smooth_more() -> None:
    """A far outlier of noise cancels under a wide kernel: what alternates counts for less than what is one-sided."""
    alternating, one_sided = np.zeros((2, CELLS + 1))
    alternating[400:600:2], alternating[401:600:2] = 0.001, -0.001
    one_sided[400:600] = 0.001
    small, large = smooth_errors(np.stack([alternating, one_sided]))
    assert small < 0.01 < large


@pytest.mark.parametrize("n", [0, 1, 2])
@pytest.mark.parametrize("answer", [True, False])
def test_what_is_not_defined_is_null(n: int, answer: bool) -> None:
    found = evaluate(np.full(n, 0.7), np.full(n, answer), resamples=50)
    assert found.auroc == found.brier_skill == Figure(value=None)
    assert (found.brier.value is None) == (n == 0)
    assert found.n == n
    assert Metrics.model_validate_json(found.model_dump_json()) == found
    assert "NaN" not in found.model_dump_json()


def test_a_document_is_read_back_as_it_was() -> None:
    found = evaluate(*sample(200, 1), resamples=100)
    assert Metrics.model_validate_json(found.model_dump_json(indent=2)) == found
    assert set(found.coverage_at) == {"0.01", "0.02", "0.05", "0.1"}


def test_unparsed_answers_count_as_not_passing() -> None:
    score, correct, weight = sample(400, 2)
    unread = (
        np.r_[score, np.full(100, np.nan)],
        np.r_[correct, np.zeros(100, np.bool_)],
        np.r_[weight, np.full(100, 5.0)],
    )
    found, without = evaluate(*unread, resamples=200), evaluate(score, correct, weight, resamples=200)
    share = 500.0 / (500.0 + weight.sum())
    assert found.not_parsed.value == pytest.approx(share)
    assert found.not_parsed.low is not None
    assert found.not_parsed.low < share
    assert found.n == 400
    assert {name: getattr(found, name).value for name in PLAIN} == {
        name: getattr(without, name).value for name in PLAIN
    }
    whole = without.coverage_at["0.1"].value
    assert whole is not None
    assert found.coverage_at["0.1"].value == pytest.approx(whole * (1.0 - share))
    assert without.not_parsed.value == 0.0
    nothing = evaluate(np.full(5, np.nan), np.zeros(5, np.bool_), resamples=20)
    assert (nothing.n, nothing.not_parsed.value, nothing.brier.value) == (0, 1.0, None)
    assert nothing.coverage_at["0.01"].value == 0.0


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ((np.array([0.5]), np.array([True, False])), "different lengths: 1 scores, 2 truths"),
        ((np.array([0.5, 1.2]), np.array([True, False])), "outside 0 to 1"),
        ((np.array([0.5]), np.array([True]), np.array([0.0])), "not a number above 0"),
        ((np.array([0.5]), np.array([True]), np.array([np.inf])), "not a number above 0"),
        ((np.array([0.5]), np.array([True]), np.array([np.nan])), "not a number above 0"),
    ],
)
def test_impossible_columns_are_refused(columns: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        evaluate(*columns)


@pytest.mark.parametrize(
    "ends", [{"low": 0.1}, {"high": 0.1}, {"low": 0.2, "high": 0.1}, {"low": float("nan"), "high": 1}]
)
def test_half_an_interval_is_none(ends: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Figure(value=0.15, **ends)
    with pytest.raises(ValidationError):
        Figure(value=None, low=0.1, high=0.2)


def test_groups_are_their_own_and_all_of_them() -> None:
    score, correct, weight = sample(900, 3)
    group = np.array(["joy", "awe", ""], np.object_)[np.random.default_rng(0).choice(3, 900, p=[0.7, 0.25, 0.05])]
    found = evaluate_groups(score, correct, group, weight, resamples=100)
    assert list(found.groups) == ["", "awe", "joy"]
    for name, metrics in found.groups.items():
        alone = evaluate(score[group == name], correct[group == name], weight[group == name], resamples=0)
        assert values(metrics) == values(alone)
    assert found.pooled == evaluate(score, correct, weight, resamples=100)
    briers = [metrics.brier.value for metrics in found.groups.values()]
    assert found.macro.brier.value == pytest.approx(np.mean([brier for brier in briers if brier is not None]))
    assert found.macro.n == found.pooled.n == 900
    assert type(found).model_validate_json(found.model_dump_json()) == found


def test_the_macro_mean_leaves_out_groups_that_do_not_define_a_figure() -> None:
    score = np.array([0.9, 0.8, 0.3, 0.6, 0.7])
    correct = np.array([True, False, False, True, True])
    group = np.array(["mixed"] * 3 + ["right"] * 2, np.object_)
    found = evaluate_groups(score, correct, group, resamples=20)
    assert found.groups["right"].auroc.value is None
    assert found.macro.auroc.value == found.groups["mixed"].auroc.value == 1.0
    nothing = evaluate_groups(np.zeros(0), np.zeros(0, np.bool_), np.zeros(0, np.object_))
    assert nothing.groups == {}
    assert nothing.macro.brier.value is None
    with pytest.raises(ValueError, match="5 scores and 3 groups"):
        evaluate_groups(score, correct, group[:3])
