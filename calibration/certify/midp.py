"""The unconditional mid-p test of an error rate: is the error above a threshold at most `max_error`?

n labels fall above the threshold with known probability c each, m ~ Bin(n, c), and of those k | m ~ Bin(m, e) are
wrong. The evidence against e > max_error is the mid-p value

    mid(k, m) = P(Bin(m, max_error) < k) + P(Bin(m, max_error) = k) / 2,    mid(., 0) = 1,

which by itself is no valid p-value. Its own distribution makes it one: the size of "reject where mid <= t",

    S_c(t) = sum over m of P(m) P(mid(K, m) <= t | e = max_error),

is exact, and counts that m is random, which smooths the jumps of a discrete test away: from there comes the power over
Clopper-Pearson. The region is a lower set in k for each m, so no e above max_error gives it more probability, and
S_c(mid(k, m)) is a p-value (mid-p: Lancaster 1961; a test whose size is that of its own statistic: Barnard 1945).

c comes from a finite number of unlabelled scores. S is therefore taken at its largest over c within `margin`, and also
over m spread as it would be if the labelled events were themselves part of that traffic (hypergeometric: less random).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc, gammaln, ndtri

from calibration.table import Floats

_LEAST_MARGIN = 0.003
_SPREAD = 6.5
"""Standard deviations of m that are looked at; what lies outside is counted as rejected."""
_SAME = 1.0 + 1e-12
"""Two mid-p values this close are one."""
_INFINITE = 10**12
_SMOOTH = 15.0
_FAR_LARGER = 20
"""Traffic this many times the labels is as good as infinite."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Acceptance:
    """How many of `labels` labels reach a threshold: each with probability `share`, counted in `traffic` scores."""

    labels: int
    share: float
    traffic: int

    @property
    def margin(self) -> float:
        """How far off the share may be: two standard errors, and .003 at least."""
        return max(_LEAST_MARGIN, 2.0 * math.sqrt(self.share * (1.0 - self.share) / self.traffic))

    def laws(self) -> tuple[Counts, Floats]:
        """All counts m that matter, shape (r,), and their probabilities under each law that may hold, shape (l, r)."""
        low, high = max(self.share - self.margin, 0.0), min(self.share + self.margin, 1.0)
        # S(c) waves with a period of 1 / max_error labels, and is smooth where these are less than a deviation
        points = int(np.clip(math.ceil((high - low) * self.labels / 4.0), 2, 8)) + 1
        shares = np.unique(np.append(np.linspace(low, high, points), self.share))
        reach = 1.0 + _SPREAD * np.sqrt(self.labels * shares * (1.0 - shares))
        first = max(math.floor((self.labels * shares - reach).min()), 0)
        last = min(math.ceil((self.labels * shares + reach).max()), self.labels)
        m = np.arange(first, last + 1)
        laws = [_binomial(m, self.labels, share) for share in shares]
        if self.traffic < _FAR_LARGER * self.labels:
            laws.append(_hypergeometric(m, self.labels, self.share, self.traffic))
        return m, np.array(laws)


def mid_p(errors: Counts, accepted: Counts, max_error: float) -> Floats:
    """mid(k, m) for arrays that broadcast; k below 0 gives 0, and m = 0 gives 1."""
    both = _at_most(errors, accepted, max_error) + _at_most(errors - 1, accepted, max_error)
    return np.where(accepted == 0, 1.0, 0.5 * both)


def p_value(errors: int, accepted: int, acceptance: Acceptance, max_error: float) -> float:
    """The p-value of "the error above the threshold exceeds `max_error`" for so many errors among those above it.

    Exact to 1e-8. Below 1 ms at 1,000 labels, about 10 ms at 100,000.
    """
    if accepted == 0:
        return 1.0
    t = float(mid_p(np.array(errors), np.array(accepted), max_error))
    if t >= 0.5 * _SAME:  # far from any rejection, and the size is at least about this
        return 1.0
    m, laws = acceptance.laws()
    return float(_sizes(t, m, laws, max_error).max())


def rejects(errors: int, accepted: int, acceptance: Acceptance, max_error: float, delta: float) -> bool:
    """Whether `p_value` <= delta. Mostly without it: S(t) <= 2t, since P(K <= k) <= 2 mid(k, m)."""
    if 2.0 * float(mid_p(np.array(errors), np.array(accepted), max_error)) <= delta:
        return True
    return p_value(errors, accepted, acceptance, max_error) <= delta


def critical_value(acceptance: Acceptance, max_error: float, delta: float) -> float:
    """The largest attainable t below .5 with S(t) <= delta under every law, or 0: reject exactly where mid(k, m) <= t.

    By enumeration of all (k, m); `p_value` <= delta says the same without it.
    """
    m, laws = acceptance.laws()
    most = np.maximum(_boundary(0.5, m, max_error), 0)
    rows = np.repeat(np.arange(len(m)), most + 1)
    k = np.arange(len(rows)) - np.repeat(np.cumsum(most + 1) - most - 1, most + 1)
    mid = mid_p(k, m[rows], max_error)
    chance = _at_most(k, m[rows], max_error) - _at_most(k - 1, m[rows], max_error)
    order = np.argsort(mid, kind="stable")
    mid, rows, chance = mid[order], rows[order], chance[order]
    ends = np.append(mid[1:] > mid[:-1] * _SAME, True)
    best = math.inf
    for law in laws:
        size = np.cumsum(law[rows] * chance) + max(1.0 - law.sum(), 0.0)
        allowed = mid[ends & (size <= delta) & (mid < 0.5)]
        best = min(best, float(allowed[-1]) if len(allowed) else 0.0)
    return best


@lru_cache(maxsize=4096)
def rejection_region(labels: int, share: float, max_error: float, delta: float) -> tuple[int, Counts]:
    """The first m that matters, and from it on the most errors that still reject, or -1; of an exactly known share.

    For plans, which need many of them, and where 1e-3 of the level makes no difference: from 15 expected errors on the
    critical value is taken to be delta.
    """
    acceptance = Acceptance(labels, share, _INFINITE)
    known = labels * share * max_error > _SMOOTH
    t = delta if known else critical_value(acceptance, max_error, delta)
    m, _ = acceptance.laws()
    return int(m[0]), _boundary(t, m, max_error)


def rejected_error(errors: int, accepted: int, acceptance: Acceptance, max_error: float, delta: float) -> float:
    """The smallest error that the test still rejects, to 1e-4 of `max_error`, which it must reject itself.

    The test's own upper confidence bound of the error above this one threshold.
    """
    low, high = errors / accepted, max_error
    while high - low > 1e-4 * max_error:
        middle = 0.5 * (low + high)
        if rejects(errors, accepted, acceptance, middle, delta):
            high = middle
        else:
            low = middle
    return high


def _sizes(t: float, m: Counts, laws: Floats, max_error: float) -> Floats:
    """S(t) under each law, shape (l,)."""
    rejected = _at_most(_boundary(t, m, max_error), m, max_error)
    sizes: Floats = laws @ rejected + np.maximum(1.0 - laws.sum(axis=1), 0.0)
    return sizes


def _boundary(t: float, m: Counts, max_error: float) -> Counts:
    """The largest k with mid(k, m) <= t for each m, or -1, shape (r,)."""
    t = t * _SAME
    deviation = np.sqrt(m * max_error * (1.0 - max_error))
    k = np.clip(np.floor(m * max_error + float(ndtri(min(t, 1.0 - 1e-9))) * deviation), -1, m).astype(np.int64)
    while (down := (k >= 0) & (mid_p(k, m, max_error) > t)).any():
        k[down] -= 1
    while (up := (k < m) & (mid_p(k + 1, m, max_error) <= t)).any():
        k[up] += 1
    boundary: Counts = k
    return boundary


def _at_most(k: Counts, m: Counts, rate: float) -> Floats:
    """P(Bin(m, rate) <= k), 0 for k < 0."""
    inside = (k >= 0) & (k < m)
    tail = betainc(np.where(inside, m - k, 1), np.where(inside, k + 1, 1), 1.0 - rate)
    below: Floats = np.where(inside, tail, np.where(k < 0, 0.0, 1.0))
    return below


def _binomial(m: Counts, n: int, share: float) -> Floats:
    if share <= 0.0 or share >= 1.0:
        return np.asarray(m == (n if share >= 1.0 else 0), np.float64)
    ways = gammaln(n + 1.0) - gammaln(m + 1.0) - gammaln(n - m + 1.0)
    chance: Floats = np.exp(ways + m * math.log(share) + (n - m) * math.log1p(-share))
    return chance


def _hypergeometric(m: Counts, n: int, share: float, traffic: int) -> Floats:
    """m of n labels drawn without replacement from the traffic itself; where it has no more than n, all are drawn."""
    above = round(share * traffic)
    if traffic <= n:
        return np.asarray(m == round(share * n), np.float64)
    fits = (m <= above) & (n - m <= traffic - above)
    a, b = np.where(fits, m, 0), np.where(fits, n - m, 0)
    ways = _log_choose(above, a) + _log_choose(traffic - above, b) - _log_choose(traffic, np.array(n))
    return np.where(fits, np.exp(ways), 0.0)


def _log_choose(n: int, k: Counts) -> Floats:
    ways: Floats = gammaln(n + 1.0) - gammaln(k + 1.0) - gammaln(n - k + 1.0)
    return ways
