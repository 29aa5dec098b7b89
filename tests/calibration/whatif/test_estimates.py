"""Intervals of figures that vary from day to day, the pace of verdicts, and the queue."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from calibration.whatif.contracts import Estimate
from calibration.whatif.estimates import Days, per_day, product, ratio
from calibration.whatif.forecast import capacity, queue
from calibration.whatif.pace import Pace


def test_a_mean_of_days_has_students_interval() -> None:
    counts = np.array([100.0, 120.0, 90.0, 110.0])
    found = per_day(counts, Days(4, 4.0))
    low, high = stats.t.interval(0.95, 3, counts.mean(), stats.sem(counts))
    assert (found.value, found.low, found.high) == pytest.approx((105.0, low, high))


def test_a_day_that_is_cut_short_is_left_out() -> None:
    assert per_day(np.array([10.0, 12.0, 1.0]), Days(3, 2.1)).value == 11.0
    assert per_day(np.array([6.0]), Days(1, 0.5)) == Estimate(value=12.0)  # half a day is made a day of
    assert per_day(np.array([6.0, 1.0]), Days(2, 1.2)) == Estimate(value=6.0)


def test_intervals_of_a_ratio_hold() -> None:
    """Of days with a coverage of their own, far more scattered than counts within a day."""
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        whole = rng.integers(500, 1500, 14).astype(float)
        part = np.floor(whole * rng.normal(0.4, 0.05, 14).clip(0.0, 1.0))
        found = ratio(part, whole, 1.0)
        assert found.low is not None
        assert found.high is not None
        held += found.low <= 0.4 <= found.high
    assert 0.91 < held / 400 < 0.98


def test_a_ratio_stays_in_its_bounds_and_is_refused_of_nothing() -> None:
    found = ratio(np.array([0.0, 10.0]), np.array([10.0, 10.0]), 1.0)
    assert (found.value, found.low, found.high) == (0.5, 0.0, 1.0)
    with pytest.raises(ValueError, match="a ratio to nothing"):
        ratio(np.zeros(3), np.zeros(3))


def test_relative_errors_of_a_product_add_up_in_squares() -> None:
    found = product(Estimate(value=100.0, low=97.0, high=103.0), Estimate(value=36.0, low=34.56, high=37.44), 3600.0)
    assert (found.value, found.low, found.high) == pytest.approx((1.0, 0.95, 1.05))
    assert product(Estimate(value=2.0), Estimate(value=3.0, low=2.0, high=4.0)) == Estimate(value=6.0)


def test_the_pace_rests_on_reviewers_days() -> None:
    pace = Pace.of(np.array([100.0, 300.0]), np.array([400.0, 1800.0]))
    assert pace is not None
    assert (pace.seconds.value, pace.verdicts) == (5.5, 400)
    assert pace.seconds.low is not None
    one = Pace.of(np.array([10.0]), np.array([40.0]))
    assert one is not None
    assert one.seconds == Estimate(value=4.0)
    assert Pace.of(np.zeros(0), np.zeros(0)) is None


def test_a_queue_that_is_overrun_grows_older() -> None:
    over = queue(200.0, 150.0, 10)
    assert (over.load, over.growth_per_day) == pytest.approx((4 / 3, 50.0))
    assert over.older_hours_per_day == pytest.approx(6.0)
    assert over.days_to_clear is None
    under = queue(100.0, 150.0, 200)
    assert (under.older_hours_per_day, under.days_to_clear) == (0.0, 4.0)
    assert queue(100.0, 150.0, None).days_to_clear is None


def test_the_age_of_an_overrun_queue_is_that_of_a_simulated_one() -> None:
    arrivals = np.arange(0.0, 20.0, 1.0 / 200.0)  # days
    done = int(20.0 * 150.0)
    oldest = 20.0 - arrivals[done]
    assert 20.0 * queue(200.0, 150.0, 0).older_hours_per_day / 24.0 == pytest.approx(oldest, rel=0.01)


def test_capacity_is_said_or_worked_out() -> None:
    assert capacity(500.0, None, 6.0, Estimate(value=6.0)) == 500.0
    assert capacity(500.0, 2.0, 6.0, Estimate(value=6.0)) == 7200.0
    assert capacity(None, 2.0, 6.0, None) is None
