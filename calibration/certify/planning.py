"""In which order thresholds are tested. Nothing here sees the certifying labels: that is what makes the order valid.

Candidates are thresholds whose coverage grows by 1 to 2.5 % of itself at a time. A plan begins at one of them and goes
on to the next as far as the test rejects (larger steps gain nothing: neighbouring tests fail together). To begin low in
coverage leaves few labels to learn from; to begin high may fail at once and certify nothing. With the labels of an
earlier gate the choice is made by simulation: 1 - score is recalibrated on them, worlds are drawn from what is then
still unknown, and in one world of ten the top of the scores is no better than the rest. Without them the first test is
where about 2.4 n^.6 labels are expected.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, log_expit, logit

from calibration.certify.earlier import Earlier
from calibration.certify.midp import rejection_region
from calibration.table import Bools, Floats

_SEED = 20_170_901
_WORLDS = 800
_AS_GOOD = 0.98
_COARSE = 0.025
_BAD_TOPS = 0.1
_PRIOR = np.array([[0.0, 1.0], [1.0, 0.5]])
"""Mean and standard deviation of the intercept and of the slope between logit(1 - score) and logit(error)."""


@dataclass(frozen=True)
class Candidates:
    """Thresholds that fall, and the share of the region's traffic that reaches each, which rises; shape (j,)."""

    thresholds: Floats
    shares: Floats
    traffic: int
    """Scores in the region, by which the shares were counted."""


@dataclass(frozen=True)
class Plan:
    """The candidate to begin with, and what coverage of the region to expect (nan: not simulated)."""

    start: int
    expected: float


def _ratio(labels: int) -> float:
    """Logarithm of the ratio between neighbouring candidates' coverages: finer where labels can tell them apart."""
    return min(max(0.01, 0.8 / math.sqrt(labels)), _COARSE)


def least_trials(max_error: float, delta: float) -> int:
    """Labels without a single error that an error above `max_error` explains with probability delta at most."""
    return math.ceil(math.log(delta) / math.log1p(-max_error))


def candidates(descending: Floats, labels: int, max_error: float, delta: float) -> Candidates:
    """Thresholds at scores of the traffic, given in falling order; with ties fewer, and each at a whole atom."""
    size = len(descending)
    least = min(1.0, least_trials(max_error, delta) / labels)
    finer = _ratio(labels)
    levels = least * np.exp(finer * np.arange(math.ceil(-math.log(least) / finer) + 1))
    ranks = np.clip(np.ceil(np.minimum(levels, 1.0) * size).astype(np.int64), 1, size)
    thresholds = np.unique(descending[ranks - 1])[::-1]
    reached = size - np.searchsorted(descending[::-1], thresholds, side="left")
    return Candidates(thresholds, reached / size, size)


def default_plan(among: Candidates, labels: int, max_error: float, delta: float) -> Plan:
    """Begin where 2.4 n^.6 labels are expected, at max_error 5 % and delta 10 %; elsewhere the same in scale."""
    scale = least_trials(max_error, delta) / least_trials(0.05, 0.1)
    wanted = max(scale * 2.4 * (labels / scale) ** 0.6, 1.15 * least_trials(max_error, delta))
    start = min(int(np.searchsorted(among.shares, wanted / labels)), len(among.shares) - 1)
    return Plan(start, math.nan)


def simulated_plan(
    among: Candidates,
    descending: Floats,
    labels: int,
    worlds: Floats,
    max_error: float,
    delta: float,
    *,
    finest: float = _COARSE,
) -> Plan:
    """The start of largest expected coverage over worlds, each (a, b) of `recalibration`; shape (w, 2).

    Of starts that differ by little in what they promise, the one nearest to the default: the optimum is flat, and the
    simulation knows less than it thinks. Coverages closer to each other than `finest` (of themselves) are not told
    apart.
    """
    rng = np.random.default_rng(_SEED)
    usual = default_plan(among, labels, max_error, delta).start
    apart = max(1, round(finest / _ratio(labels)))
    tested = np.arange(usual % apart, len(among.shares), apart)
    shares = among.shares[tested]
    errors = _errors(shares, descending, worlds, rng)
    rejected = _simulated_tests(shares, labels, errors, max_error, delta, rng)
    gains = np.zeros(len(worlds))
    expected = np.zeros(len(tested))
    for start in range(len(tested) - 1, -1, -1):
        gains = np.where(rejected[:, start], np.maximum(gains, shares[start]), 0.0)
        expected[start] = gains.mean()
    good = np.flatnonzero(expected >= _AS_GOOD * expected.max())
    start = int(good[np.argmin(np.abs(tested[good] - usual))])
    return Plan(int(tested[start]), float(expected[start]))


def possible_worlds(earlier: Earlier) -> Floats:
    """What the error of a score may be after the earlier labels: draws of (a, b) in its posterior, shape (w, 2)."""
    mean, covariance = recalibration(earlier)
    return np.random.default_rng(_SEED).multivariate_normal(mean, covariance, _WORLDS, method="cholesky")


def _errors(shares: Floats, descending: Floats, worlds: Floats, rng: np.random.Generator) -> Floats:
    """The error of what lies between neighbouring shares, in each world; shape (w, j)."""
    ends = np.rint(shares * len(descending)).astype(np.int64)
    middles = _odds(descending[(np.append(0, ends[:-1]) + ends) // 2])
    errors = np.asarray(expit(worlds[:, :1] + worlds[:, 1:] * middles), np.float64)
    bad = np.arange(len(worlds)) < _BAD_TOPS * len(worlds)
    top = np.where(bad, rng.uniform(0.04, 0.10, len(worlds)), 0.0)
    mean = errors @ np.diff(shares, prepend=0.0) / shares[-1]
    return np.where(shares[None, :] <= top[:, None], mean[:, None], errors)


def _simulated_tests(
    shares: Floats, labels: int, errors: Floats, max_error: float, delta: float, rng: np.random.Generator
) -> Bools:
    """Whether the test at each share would reject, in one draw of labels for each world; shape (w, j)."""
    weights = np.diff(shares, prepend=0.0)
    inside = rng.multinomial(labels, np.append(weights, max(0.0, 1.0 - weights.sum())), len(errors))[:, :-1]
    accepted = np.cumsum(inside, axis=1)
    wrong = np.cumsum(rng.binomial(inside, errors), axis=1)
    rejected = np.zeros(wrong.shape, np.bool_)
    for column, share in enumerate(shares):
        first, most = rejection_region(labels, float(f"{share:.3g}"), max_error, delta)
        at = np.clip(accepted[:, column] - first, 0, len(most) - 1)
        rejected[:, column] = wrong[:, column] <= most[at]
    return rejected


def recalibration(earlier: Earlier) -> tuple[Floats, Floats]:
    """Mode and covariance (Laplace) of (a, b) in logit(error) = a + b logit(1 - score), shapes (2,) and (2, 2)."""
    known = ~np.isnan(earlier.score)
    x = np.column_stack([np.ones(int(known.sum())), _odds(earlier.score[known])])
    y = earlier.wrong[known].astype(np.float64)
    precision = np.diag(_PRIOR[:, 1] ** -2)

    def loss(beta: Floats) -> float:
        z = x @ beta
        away = beta - _PRIOR[:, 0]
        return float(-(y * log_expit(z) + (1.0 - y) * log_expit(-z)).sum() + 0.5 * away @ precision @ away)

    beta = _PRIOR[:, 0].copy()
    for _ in range(50):
        error = expit(x @ beta)
        gradient = x.T @ (error - y) + precision @ (beta - _PRIOR[:, 0])
        hessian = (x * (error * (1.0 - error))[:, None]).T @ x + precision
        step = np.linalg.solve(hessian, gradient)
        scale = 1.0
        while scale > 1e-6 and loss(beta - scale * step) > loss(beta):
            scale /= 2.0
        beta = beta - scale * step
        if float(np.abs(step).max()) < 1e-9:
            break
    error = expit(x @ beta)
    hessian = (x * (error * (1.0 - error))[:, None]).T @ x + precision
    return beta, np.linalg.inv(hessian)


def _odds(score: Floats) -> Floats:
    return np.asarray(logit(1.0 - np.clip(score, 1e-4, 1.0 - 1e-4)), np.float64)
