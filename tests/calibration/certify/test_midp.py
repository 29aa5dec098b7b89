"""The test of one threshold, against enumeration, Monte Carlo and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from calibration.certify.midp import (
    Acceptance,
    critical_value,
    mid_p,
    p_value,
    rejected_error,
    rejection_region,
    rejects,
)
from calibration.table import Bools

labels = st.integers(1, 90)
shares = st.just(0.0) | st.floats(1e-9, 1.0)  # below that scipy, which is the reference here, overflows
promises = st.floats(0.01, 0.4)
levels = st.floats(0.01, 0.4)
traffics = st.sampled_from([5, 50, 500, 50_000, 10**9])


def mid(errors: int, accepted: int, max_error: float) -> float:
    return float(mid_p(np.array(errors), np.array(accepted), max_error))


def size(n: int, share: float, true_error: float, rejected: Bools) -> float:
    """P(reject) by adding up every (m, k); rejected has shape (n + 1, n + 1)."""
    m, k = np.arange(n + 1)[:, None], np.arange(n + 1)[None, :]
    return float((binom.pmf(m, n, share) * binom.pmf(k, m, true_error))[rejected].sum())


@given(st.integers(1, 3000), st.floats(0, 1), promises)
def test_mid_p_is_half_the_sum_of_two_tails(m: int, part: float, max_error: float) -> None:
    k = round(part * m)
    expected = float(binom.cdf(k - 1, m, max_error) + 0.5 * binom.pmf(k, m, max_error))
    assert mid(k, m, max_error) == pytest.approx(expected, rel=1e-6, abs=1e-200)
    assert mid(0, 0, max_error) == 1.0
    assert mid(-1, m, max_error) == 0.0


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 45), shares, promises, levels, traffics, st.floats(1.0, 2.5))
def test_its_exact_size_is_within_the_level(
    n: int, share: float, max_error: float, delta: float, traffic: int, worse: float
) -> None:
    """At the boundary, and beyond it smaller still."""
    acceptance = Acceptance(n, share, traffic)
    rejected = np.zeros((n + 1, n + 1), np.bool_)
    for m in range(n + 1):
        for k in range(m + 1):
            rejected[m, k] = rejects(k, m, acceptance, max_error, delta)
            if not rejected[m, k]:
                break  # nor with more errors
    at = size(n, share, max_error, rejected)
    assert at <= delta + 1e-9
    assert size(n, share, min(1.0, worse * max_error), rejected) <= at + 1e-12
    by_value = critical_value(acceptance, max_error, delta)
    possible, _ = acceptance.laws()
    for m in possible:
        assert [bool(each) for each in rejected[m, : m + 1]] == [
            mid(k, int(m), max_error) <= by_value * (1 + 1e-12) for k in range(m + 1)
        ]


@settings(max_examples=30, deadline=None)
@given(st.integers(50, 2000), st.floats(0.02, 0.98), st.sampled_from([0.02, 0.05, 0.1]), st.floats(-1.0, 1.0))
def test_an_inexact_share_keeps_the_size(n: int, share: float, max_error: float, off: float) -> None:
    """Anywhere within the margin, not only at the points that were looked at."""
    delta = 0.1
    acceptance = Acceptance(n, share, 20_000)
    true = float(np.clip(share + off * acceptance.margin, 0.0, 1.0))
    t = critical_value(acceptance, max_error, delta)
    m = np.arange(n + 1)
    k = np.arange(int(binom.ppf(0.9, n, max_error)) + 3)
    reject = mid_p(k[None, :], m[:, None], max_error) <= t
    chance = binom.pmf(m, n, true)[:, None] * binom.pmf(k[None, :], m[:, None], max_error)
    assert float(chance[reject].sum()) <= 1.02 * delta


def test_the_critical_value_agrees_with_monte_carlo() -> None:
    n, share, max_error, delta = 1000, 0.15, 0.05, 0.1
    t = critical_value(Acceptance(n, share, 10**9), max_error, delta)
    rng = np.random.default_rng(1)
    m = rng.binomial(n, share, 400_000)
    rate = float(np.mean(mid_p(rng.binomial(m, max_error), m, max_error) <= t))
    assert 0.095 < rate < delta + 3 * np.sqrt(delta * (1 - delta) / 400_000)


def test_it_is_more_powerful_than_clopper_pearson() -> None:
    n, share, max_error, delta = 300, 0.25, 0.05, 0.1
    t = critical_value(Acceptance(n, share, 10**9), max_error, delta)
    rng = np.random.default_rng(2)
    m = rng.binomial(n, share, 50_000)
    k = rng.binomial(m, 0.02)
    assert np.mean(mid_p(k, m, max_error) <= t) > 1.15 * np.mean(binom.cdf(k, m, max_error) <= delta)


@settings(max_examples=60, deadline=None)
@given(labels, shares, traffics, promises, st.data())
def test_more_errors_or_fewer_trials_are_less_evidence(
    n: int, share: float, traffic: int, max_error: float, data: st.DataObject
) -> None:
    acceptance = Acceptance(n, share, traffic)
    m = data.draw(st.integers(1, n))
    k = data.draw(st.integers(0, m))
    here = p_value(k, m, acceptance, max_error)
    assert p_value(k + 1, m, acceptance, max_error) >= here - 1e-12
    assert p_value(k, m - 1, acceptance, max_error) >= here - 1e-12 if k <= m - 1 else True
    assert p_value(0, 0, acceptance, max_error) == 1.0


@given(st.integers(100, 100_000), st.floats(0.1, 0.9), st.sampled_from([0.01, 0.05]), st.floats(0.3, 1.2))
@settings(max_examples=30, deadline=None)
def test_the_shortcut_changes_nothing(n: int, share: float, max_error: float, part: float) -> None:
    acceptance = Acceptance(n, share, 10**6)
    m = round(n * share)
    k = int(part * m * max_error)
    value = p_value(k, m, acceptance, max_error)
    assert value <= 2.0 * mid(k, m, max_error) + 1e-8 or mid(k, m, max_error) >= 0.5
    assert rejects(k, m, acceptance, max_error, 0.1) == (value <= 0.1)


@settings(max_examples=30, deadline=None)
@given(st.integers(100, 5000), st.floats(0.1, 0.9), st.floats(0.0, 0.9))
def test_the_upper_bound_is_the_least_error_that_is_rejected(n: int, share: float, part: float) -> None:
    acceptance, max_error, delta = Acceptance(n, share, 10**6), 0.05, 0.1
    m = round(n * share)
    k = int(part * m * max_error)
    assume(rejects(k, m, acceptance, max_error, delta))
    bound = rejected_error(k, m, acceptance, max_error, delta)
    assert k / m < bound <= max_error
    assert rejects(k, m, acceptance, bound, delta)
    assert not rejects(k, m, acceptance, bound - 2e-4 * max_error, delta) or bound - 2e-4 * max_error < k / m


def test_the_region_of_a_plan_is_that_of_the_test() -> None:
    first, most = rejection_region(400, 0.3, 0.05, 0.1)
    acceptance = Acceptance(400, 0.3, 10**12)
    for m in range(first, first + len(most), 7):
        k = int(most[m - first])
        assert k < 0 or rejects(k, m, acceptance, 0.05, 0.1)
        assert not rejects(k + 1, m, acceptance, 0.05, 0.1)


def test_large_samples_cost_little() -> None:
    """The sum over m is kept to where m can be: at 100,000 labels that is thousands of terms, not 10^5 squared."""
    m, laws = Acceptance(100_000, 0.4, 10**7).laws()
    assert laws.shape[1] == len(m) < 5_000
    assert np.all(laws.sum(axis=1) > 1 - 1e-9)
