"""Targets of stage 2: where they are unbiased, that wrong answers stay, and what each loss makes of them."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from training.targets import (
    Chosen,
    Floats,
    Samples,
    agreement,
    choose,
    confidence_targets,
    spread,
    tokenised_brier,
)

unit = st.floats(0.0, 1.0)
shares = st.lists(st.floats(0.05, 1), min_size=3, max_size=3).map(lambda parts: np.array(parts) / sum(parts))
seeds = st.integers(0, 10**6)
GRID = np.linspace(0.05, 0.95, 19)


@st.composite
def questions(draw: st.DrawFn) -> Samples:
    n, size, labels = draw(st.integers(1, 6)), draw(st.integers(2, 6)), draw(st.integers(2, 5))
    rng = np.random.default_rng(draw(seeds))
    label = rng.integers(-1, labels, (n, size))
    belief = rng.dirichlet(np.ones(labels), (n, size))
    belief[rng.random((n, size)) < draw(unit)] = np.nan
    return Samples(label, rng.integers(0, labels, n), labels, draw(st.sampled_from([None, belief])))


grids = st.lists(st.integers(0, 100), min_size=2, max_size=12, unique=True).map(lambda parts: np.sort(parts) / 100)
targets = st.lists(unit, min_size=1, max_size=8).map(np.array)


@given(samples=questions())
def test_agreement_is_a_distribution_where_anything_was_read(samples: Samples) -> None:
    found = agreement(samples)
    read = (samples.label[:, 1:] >= 0).any(axis=1)
    assert found.shape == (len(samples.truth), samples.n_labels)
    assert np.allclose(found[read].sum(axis=1), 1)
    assert (found[read] >= 0).all()
    assert np.isnan(found[~read]).all()


@given(samples=questions())
def test_the_served_answer_and_unread_ones_say_nothing_of_what_the_model_thinks(samples: Samples) -> None:
    label, belief = samples.label.copy(), None if samples.belief is None else samples.belief.copy()
    label[:, 0] = (label[:, 0] + 1) % samples.n_labels
    if belief is not None:
        belief[:, 0] = belief[label < 0] = 1 / samples.n_labels
    changed = Samples(label, samples.truth, samples.n_labels, belief)
    assert np.array_equal(agreement(samples), agreement(changed), equal_nan=True)


def test_beliefs_and_labels_agree_in_the_mean_and_beliefs_have_less_noise() -> None:
    rng = np.random.default_rng(0)
    belief = softmax(rng.normal(0, 1, (20_000, 9, 3)), axis=-1)
    label = (belief.cumsum(axis=2) > rng.random((20_000, 9, 1))).argmax(axis=2)
    truth = np.zeros(20_000, int)
    by_label, by_belief = agreement(Samples(label, truth, 3)), agreement(Samples(label, truth, 3, belief))
    assert by_label.mean(axis=0) == pytest.approx(by_belief.mean(axis=0), abs=0.005)
    assert (by_belief.var(axis=0) < by_label.var(axis=0) / 3).all()


@given(p=shares, q=shares, weight=unit, column=st.sampled_from([0, 1]))
def test_targets_are_unbiased_where_the_model_answers_as_often_as_it_is_right(
    p: Floats, q: Floats, weight: float, column: int
) -> None:
    """By enumeration: a served answer, three sampled with probabilities q, the truth with p."""
    ways = np.array(list(product(range(3), repeat=5)))
    samples = Samples(ways[:, :4], ways[:, 4], 3)
    found = confidence_targets(samples, Chosen(np.arange(len(ways)), np.full(len(ways), column)), weight)
    chance = q[ways[:, 1]] * q[ways[:, 2]] * q[ways[:, 3]] * p[ways[:, 4]]
    for label in range(3):
        rows = ways[:, column] == label
        mean = (chance * found)[rows].sum() / chance[rows].sum()
        assert mean == pytest.approx(weight * p[label] + (1 - weight) * q[label])


@given(samples=questions(), weight=unit, seed=seeds)
def test_targets_are_shares_of_what_the_others_say(samples: Samples, weight: float, seed: int) -> None:
    chosen = choose(samples, 3, np.random.default_rng(seed))
    found = confidence_targets(samples, chosen, weight)
    label = samples.label[chosen.item, chosen.column]
    right = label == samples.truth[chosen.item]
    assert ((found >= 0) & (found <= 1)).all()
    assert (found[right] >= weight - 1e-12).all()
    assert (found[~right] <= 1 - weight + 1e-12).all()
    for place, (item, column) in enumerate(zip(chosen.item, chosen.column, strict=True)):
        label = samples.label.copy()
        own, label[item, column] = label[item, column], -1
        others = agreement(Samples(label, samples.truth, samples.n_labels, samples.belief))[item, own]
        share = float(right[place]) if np.isnan(others) else others
        assert found[place] == pytest.approx(weight * right[place] + (1 - weight) * share)


@given(samples=questions(), sampled=st.integers(0, 6), seed=seeds)
def test_the_choice_is_what_is_served_and_a_few_others(samples: Samples, sampled: int, seed: int) -> None:
    chosen = choose(samples, sampled, np.random.default_rng(seed))
    picked = np.zeros(samples.label.shape, bool)
    picked[chosen.item, chosen.column] = True
    read = samples.label >= 0
    assert picked.sum() == len(chosen.item), "no answer twice"
    assert np.array_equal(picked[:, 0], read[:, 0])
    assert np.array_equal(picked[:, 1:].sum(axis=1), np.minimum(read[:, 1:].sum(axis=1), sampled))
    assert read[picked].all()
    for truth in range(samples.n_labels):  # whether an answer is right plays no part
        other = Samples(samples.label, np.full_like(samples.truth, truth), samples.n_labels, samples.belief)
        again = choose(other, sampled, np.random.default_rng(seed))
        assert np.array_equal(again.item, chosen.item)
        assert np.array_equal(again.column, chosen.column)


def test_wrong_answers_are_kept_in_proportion() -> None:
    rng = np.random.default_rng(0)
    samples = Samples(rng.integers(0, 4, (5000, 8)), rng.integers(0, 4, 5000), 4)
    chosen = choose(samples, 2, rng)
    right = samples.label[chosen.item, chosen.column] == samples.truth[chosen.item]
    assert len(right) == 15_000
    assert right.mean() == pytest.approx(0.25, abs=0.02)
    assert np.bincount(chosen.column)[1:] == pytest.approx(10_000 / 7, rel=0.1)


@given(target=targets, grid=grids, width=st.sampled_from([0.0, 0.001, 0.03, 0.07, 0.3]))
def test_a_spread_target_keeps_its_mean_as_far_as_the_grid_lets_it(target: Floats, grid: Floats, width: float) -> None:
    rows = spread(np.sort(target), grid, width)
    assert (rows >= 0).all()
    assert np.allclose(rows.sum(axis=1), 1)
    mean = rows @ grid
    assert (np.diff(mean) >= -1e-9).all(), "surer targets, surer numbers"
    inside = np.clip(np.sort(target), grid[0], grid[-1])
    if width == 0:
        assert mean == pytest.approx(inside)
        assert ((rows > 0).sum(axis=1) <= 2).all()
    else:
        assert (np.abs(mean - inside) <= 0.8 * width + np.diff(grid).max() / 2 + 1e-9).all()


@given(p=unit, grid=grids, seed=seeds)
def test_the_tokenised_brier_score_is_cheapest_next_to_the_truth(p: float, grid: Floats, seed: int) -> None:
    cost = np.array([1 - p, p]) @ tokenised_brier(np.array([0.0, 1.0]), grid)
    assert np.abs(grid - p)[cost.argmin()] == pytest.approx(np.abs(grid - p).min(), abs=1e-7)
    said = np.random.default_rng(seed).dirichlet(np.ones(len(grid)))
    assert said @ cost >= cost.min() - 1e-12, "hedging between numbers never pays"


def test_what_a_model_learns_to_say_greedily_depends_on_the_loss() -> None:
    """Many answers that are right with probability .8: where each loss is least, and the number on top of it."""
    rng = np.random.default_rng(0)
    correct, belief = (rng.random(20_000) < 0.8).astype(float), rng.beta(51.2, 12.8, 20_000)

    def by_cross_entropy(target: Floats) -> float:
        return float(GRID[spread(target, GRID, 0.07).mean(axis=0).argmax()])

    def by_brier(target: Floats) -> float:
        return float(GRID[tokenised_brier(target, GRID).mean(axis=0).argmin()])

    assert by_cross_entropy(belief) == pytest.approx(0.8, abs=0.026)
    assert by_cross_entropy((correct + belief) / 2) >= 0.9 - 1e-9
    for target in (belief, correct, (correct + belief) / 2):
        assert by_brier(target) == pytest.approx(0.8)


def samples(**changed: Any) -> Samples:
    parts: dict[str, Any] = {"label": np.array([[0, 1, -1]]), "truth": np.array([1]), "n_labels": 2}
    return Samples(**parts | changed)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"label": np.array([[0]])}, "at least one sampled"),
        ({"label": np.array([[0, 2]])}, "places among 2"),
        ({"truth": np.array([-1])}, "truths are places among 2"),
        ({"truth": np.array([0, 1])}, "1 questions"),
        ({"belief": np.full((1, 3, 3), 1 / 3)}, r"beliefs are \(1, 3, 2\)"),
        ({"belief": np.full((1, 3, 2), 0.6)}, "sum 1"),
        ({"belief": np.array([[[np.nan, 1.0]] * 3])}, "nan for all"),
    ],
)
def test_contradictory_samples_are_refused(changed: dict[str, Any], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        samples(**changed)


def test_what_has_no_meaning_is_refused() -> None:
    half = np.array([0.5])
    with pytest.raises(ValueError, match="1 chosen answers name no label"):
        confidence_targets(samples(), Chosen(np.array([0]), np.array([2])))
    with pytest.raises(ValueError, match="a share from 0 to 1, not 2"):
        confidence_targets(samples(), Chosen(np.array([0]), np.array([0])), 2)
    for width in (-0.1, 1e-9, np.nan):
        with pytest.raises(ValueError, match="standard deviation"):
            spread(half, GRID, width)
    for grid in (GRID[::-1], GRID[:1], GRID * 2):
        with pytest.raises(ValueError, match="rising row"):
            tokenised_brier(half, grid)
    for target in (half * 3, half * np.nan):
        with pytest.raises(ValueError, match="numbers from 0 to 1"):
            spread(target, GRID, 0.07)
