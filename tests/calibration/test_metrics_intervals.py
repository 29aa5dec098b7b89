"""Bootstrap intervals: they repeat, they hold the figure, and about as often as they say they hold the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.metrics import Figure, Metrics, evaluate, evaluate_groups
from calibration.metrics.bootstrap import MOST_ROWS
from calibration.table import Bools, Floats
from tests.calibration.test_metrics import sample


def figures(found: Metrics) -> dict[str, Figure]:
    plain = {name: value for name, value in found if isinstance(value, Figure)}
    return plain | {f"coverage_at {error}": figure for error, figure in found.coverage_at.items()}


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 200))
def test_an_interval_holds_its_figure_and_repeats(seed: int, n: int) -> None:
    data = sample(n, seed)
    found = evaluate(*data, resamples=40, seed=seed)
    assert found == evaluate(*data, resamples=40, seed=seed)
    for name, figure in figures(found).items():
        if figure.low is not None:
            assert figure.value is not None
            assert figure.high is not None
            assert figure.low <= figure.value <= figure.high, name


def test_without_resamples_there_is_no_interval() -> None:
    assert all(figure.low is None for figure in figures(evaluate(*sample(50, 0), resamples=0)).values())


def test_another_seed_gives_nearly_the_same_interval() -> None:
    data = sample(500, 1)
    one, other = (evaluate(*data, resamples=1000, seed=seed).brier for seed in (1, 2))
    assert one != other
    assert (one.low, one.high) == pytest.approx((other.low, other.high), abs=0.004)


def test_a_mean_has_the_interval_of_its_standard_error() -> None:
    score, correct, weight = sample(1000, 2)
    share = weight / weight.sum()
    loss = (score - correct) ** 2
    mean = float(share @ loss)
    error = float(np.sqrt(share**2 @ (loss - mean) ** 2))
    found = evaluate(score, correct, weight, resamples=3000).brier
    assert found.low == pytest.approx(mean - 1.96 * error, abs=0.1 * error)
    assert found.high == pytest.approx(mean + 1.96 * error, abs=0.1 * error)


def test_few_readings_have_wide_intervals_and_rare_classes_none() -> None:
    few, many = (evaluate(*sample(n, 3), resamples=200).auroc for n in (60, 3000))
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.high - few.low > 3 * (many.high - many.low)
    one_wrong = np.arange(100) > 0
    rare = evaluate(np.linspace(0.2, 0.9, 100), one_wrong, resamples=400).auroc
    assert rare.value == 1.0
    assert rare.low is not None  # the one wrong reading is in 63 % of the resamples


@pytest.mark.parametrize("ties", [False, True])
def test_beyond_ten_thousand_readings_cells_give_the_same_intervals(ties: bool) -> None:
    score, correct, weight = sample(MOST_ROWS, 4, overconfident=1.6)
    if ties:
        score = np.round(score, 2)
    exact = figures(evaluate(score, correct, weight, resamples=600))
    one_more = (np.append(score, score[0]), np.append(correct, correct[0]), np.append(weight, weight[0]))
    cells = figures(evaluate(*one_more, resamples=600))
    for name, wanted in exact.items():
        if name == "not_parsed":
            continue
        found = cells[name]
        assert wanted.low is not None
        assert wanted.high is not None
        width = wanted.high - wanted.low
        assert found.value == pytest.approx(wanted.value, abs=0.02 * width + 1e-9), name
        assert found.low == pytest.approx(wanted.low, abs=0.2 * width), name
        assert found.high == pytest.approx(wanted.high, abs=0.2 * width), name


def worlds(count: int, n: int, overconfident: float) -> list[tuple[Floats, Bools]]:
    return [sample(n, 1000 + seed, overconfident=overconfident)[:2] for seed in range(count)]


@pytest.mark.parametrize("overconfident", [1.0, 2.0])
def test_intervals_hold_the_truth_about_as_often_as_they_say(overconfident: float) -> None:
    """95 % asked for; of 60 worlds fewer than 50 would be one in a thousand."""
    score, correct, _ = sample(1_000_000, 0, overconfident=overconfident)
    truth = figures(evaluate(score, correct, resamples=0))
    held = dict.fromkeys(("brier", "brier_skill", "log_loss", "auroc", "aurc", "ece", "smooth_ece"), 0)
    found = [figures(evaluate(*world, resamples=100)) for world in worlds(60, 600, overconfident)]
    for each in found:
        for name in held:
            wanted = 0.0 if overconfident == 1.0 and name.endswith("ece") else truth[name].value
            low, high = each[name].low, each[name].high
            assert low is not None
            assert high is not None
            assert wanted is not None
            held[name] += low <= wanted <= high
    assert min(held.values()) >= 50, held


def test_scores_that_are_far_off_are_not_called_perfect() -> None:
    found = [figures(evaluate(*world, resamples=100)) for world in worlds(25, 600, 2.0)]
    for name in ("ece", "smooth_ece"):
        assert sum(each[name].low == 0.0 for each in found) == 0


def test_the_macro_mean_has_an_interval_of_its_own() -> None:
    score, correct, weight = sample(600, 5)
    group = np.array(["a", "b"], np.object_)[np.arange(600) % 2]
    found = evaluate_groups(score, correct, group, weight, resamples=400)
    macro, widths = found.macro.brier, []
    for each in found.groups.values():
        assert each.brier.low is not None
        assert each.brier.high is not None
        widths.append(each.brier.high - each.brier.low)
    assert macro.low is not None
    assert macro.high is not None
    assert macro.high - macro.low == pytest.approx(np.sqrt(np.sum(np.square(widths))) / 2, rel=0.15)
