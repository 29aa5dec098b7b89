"""The monitor against integrals, closed forms and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.integrate import quad
from scipy.stats import beta, binom

from calibration.watch.monitor import LEVEL, Monitor, error_interval, log_e_values

errors = st.floats(0.005, 0.6)


@given(st.integers(0, 60), st.integers(0, 60), errors)
def test_is_the_integral_it_says(k: int, right: int, p0: float) -> None:
    monitor = Monitor.start(p0).add(k, k + right)
    a, b = monitor.prior

    def ratio(p: float) -> float:
        return float(beta.pdf(p, a, b)) * math.exp(k * math.log(p / p0) + right * math.log((1 - p) / (1 - p0)))

    whole, _ = quad(
        ratio, p0, 1 - 1e-12, epsabs=0, epsrel=1e-9, limit=400, points=[min(max(p0, k / (k + right + 1)), 0.99)]
    )
    assert monitor.log_e == pytest.approx(math.log(whole / beta.sf(p0, a, b)), abs=1e-6)


@pytest.mark.parametrize("n", [0, 1, 100, 10_000, 1_000_000])
@pytest.mark.parametrize("p0", [0.001, 0.05, 0.5])
def test_without_errors_it_is_one_over_n_plus_one(n: int, p0: float) -> None:
    """Under Beta(1, 1): far below what doubles can hold as a probability."""
    assert Monitor(p0, prior=(1.0, 1.0)).add(0, n).log_e == pytest.approx(-math.log(n + 1), abs=1e-8)


@pytest.mark.parametrize("n", [1, 1000, 1_000_000])
def test_with_nothing_but_errors(n: int) -> None:
    expected = -math.log(n + 1) - math.log(0.95) - n * math.log(0.05)
    found = Monitor(0.05, prior=(1.0, 1.0)).add(n, n).log_e
    assert found == pytest.approx(expected + math.log1p(-(0.05 ** (n + 1))), rel=1e-9)


@given(st.integers(1, 1_000_000), st.floats(0, 1), errors)
def test_is_finite_and_grows_with_each_error(n: int, share: float, p0: float) -> None:
    k = min(int(share * n), n - 1)
    fewer, more = log_e_values(np.array([k, k + 1]), np.array([n, n]), p0, Monitor.start(p0).prior)
    assert np.isfinite([fewer, more]).all()
    assert fewer < more


@given(st.integers(0, 12), errors, st.just(0.0) | st.floats(1e-9, 1))
def test_is_a_supermartingale_while_the_promise_holds(n: int, p0: float, share: float) -> None:
    """E[E] over all ends of n audits is at most 1 for every error within the promise, and 1 at its edge."""
    k = np.arange(n + 1)
    values = np.exp(log_e_values(k, np.full(n + 1, n, np.intp), p0, Monitor.start(p0).prior))
    assert (values * binom.pmf(k, n, share * p0)).sum() <= 1 + 1e-9
    assert (values * binom.pmf(k, n, p0)).sum() == pytest.approx(1, abs=1e-9)


def test_following_is_adding_one_by_one() -> None:
    wrong = np.random.default_rng(3).random(300) < 0.12
    one_by_one = Monitor.start(0.05)
    for error in wrong:
        one_by_one = one_by_one.add(int(error), 1)
    followed = Monitor.start(0.05).follow(wrong)
    assert (followed.errors, followed.audits) == (one_by_one.errors, one_by_one.audits)
    assert followed.peak == pytest.approx(one_by_one.peak, abs=1e-12)
    assert followed.follow(wrong[:0]) == followed


def test_an_alarm_stays() -> None:
    """Somebody looked while the evidence was there: what came after does not take it back."""
    alarmed = Monitor.start(0.05).add(8, 30)
    assert alarmed.alarm()
    calmer = alarmed.add(0, 5000)
    assert calmer.log_e < 0
    assert calmer.alarm()


def test_rarely_raises_a_false_alarm_however_often_it_is_looked_at() -> None:
    alarms = (_watch(0.05, worlds=2000, audits=2000, prior=Monitor.start(0.05).prior) <= 2000).mean()
    assert alarms <= LEVEL
    assert alarms > LEVEL / 10, "a test that never fires watches nothing"


@pytest.mark.parametrize("error", [0.08, 0.10])
def test_is_sooner_than_the_flat_mixture(error: float) -> None:
    """Medians at 8 and 10 % are 656 and 222 audits in published simulation of a mixture that is not drawn to p0."""
    flat, ours = (_watch(error, worlds=400, audits=2000, prior=prior) for prior in ((1.0, 1.0), (1.0, 9.0)))
    assert Monitor.start(0.05).prior == (1.0, 9.0)
    assert np.median(ours) / np.median(flat) < 0.7
    assert np.median(ours) < {0.08: 656, 0.10: 222}[error]


def _watch(error: float, *, worlds: int, audits: int, prior: tuple[float, float]) -> NDArray[np.intp]:
    """After how many audits each world's alarm came; one more than there were where it never did."""
    wrong = np.random.default_rng(17).random((worlds, audits)) < error
    n = np.broadcast_to(np.arange(1, audits + 1), wrong.shape)
    values = log_e_values(wrong.cumsum(axis=1).ravel(), n.ravel(), 0.05, prior).reshape(wrong.shape)
    reached = values >= -np.log(LEVEL)
    return np.where(reached.any(axis=1), reached.argmax(axis=1) + 1, audits + 1)


def test_the_interval_holds_at_all_times_at_once() -> None:
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(300):
        k = np.cumsum(rng.random(400) < 0.07)
        ends = [error_interval(int(k[n - 1]), n, (1.0, 9.0)) for n in (5, 10, 20, 40, 80, 160, 240, 320, 400)]
        missed += any(not low <= 0.07 <= high for low, high in ends)
    assert missed / 300 <= LEVEL


@given(st.integers(0, 1_000_000), st.integers(0, 1_000_000), errors)
def test_the_interval_is_around_what_was_seen(k: int, right: int, p0: float) -> None:
    monitor = Monitor.start(p0).add(k, k + right)
    low, high = monitor.interval()
    assert 0 <= low <= high <= 1
    if monitor.error is not None:
        assert low <= monitor.error <= high
    wider = monitor.interval(LEVEL / 10)
    assert wider[0] <= low
    assert wider[1] >= high


def test_the_interval_closes_with_audits() -> None:
    assert error_interval(0, 0) == (0.0, 1.0)
    widths = [np.diff(error_interval(n // 20, n))[0] for n in (20, 200, 2000, 200_000)]
    assert widths == sorted(widths, reverse=True)
    assert widths[-1] < 0.005


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(ValueError, match="3 errors in 2 audits"):
        Monitor.start(0.05).add(3, 2)
    with pytest.raises(ValueError, match="between 0 and 1"):
        Monitor.start(0.0)
