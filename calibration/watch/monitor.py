"""Whether the error of what passes is still within the promise: a test that may be looked at after every audit.

H0: given all before it, an audited event is wrong with probability at most p0. Against it stands a mixture of constant
errors above p0. The ratio of the likelihoods,

    E(k, n) = integral of p^k (1-p)^(n-k) dPi(p)  /  (p0^k (1-p0)^(n-k)),    Pi = Beta(a, b) cut to (p0, 1],

is a supermartingale under H0 that starts at 1, so P(E ever reaches 1/level) <= level (Ville 1939), however often and
whenever somebody looks. Without the cut, and held against each p alone, the same mixture gives an interval for the
error that holds at all times at once (Robbins 1970; Howard et al., Annals of Statistics 49, 2021).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import betainc, betaln, xlog1py, xlogy

from calibration.table import Bools, Floats

Counts = NDArray[np.integer[Any]]

LEVEL = 0.05
"""Of false alarms over the whole life of a gate whose promise holds."""
_TINY = 1e-280
"""Below this a tail is computed by its logarithm: doubles end at 1e-308."""


@dataclass(frozen=True, slots=True)
class Monitor:
    """The audits of one gate so far. A value: adding to it makes another.

    Args:
        max_error: p0, the promise.
        errors, audits: k and n.
        prior: (a, b) of the mixture.
        peak: largest log E at any look; an alarm that was once raised stays raised.
    """

    max_error: float
    prior: tuple[float, float]
    errors: int = 0
    audits: int = 0
    peak: float = 0.0

    @classmethod
    def start(cls, max_error: float) -> Self:
        """A monitor without audits.

        The mixture is Beta(1, b) with mean 2 * max_error: errors two or three times the promise are found soonest. At
        max_error 5 % and an error of 8 or 10 % it takes 3/5 of the audits that Beta(1, 1) takes.

        Raises:
            ValueError: `max_error` is not between 0 and 1.
        """
        if not 0.0 < max_error < 1.0:
            raise ValueError(f"max_error must be between 0 and 1, not {max_error}")
        return cls(max_error, prior=(1.0, max(1.0, 0.5 / max_error - 1.0)))

    def add(self, errors: int, audits: int) -> Self:
        """After so many more audits, of which so many were wrong; looked at once, at their end.

        Raises:
            ValueError: more errors than audits, or fewer than none.
        """
        if not 0 <= errors <= audits:
            raise ValueError(f"{errors} errors in {audits} audits cannot be")
        after = replace(self, errors=self.errors + errors, audits=self.audits + audits)
        return replace(after, peak=max(self.peak, after.log_e))

    def follow(self, wrong: Bools) -> Self:
        """After audits in their order, shape (n,); looked at after each."""
        audits = self.audits + np.arange(1, len(wrong) + 1)
        errors = self.errors + np.cumsum(wrong, dtype=np.intp)
        if not len(wrong):
            return self
        peak = float(log_e_values(errors, audits, self.max_error, self.prior).max())
        return replace(self, errors=int(errors[-1]), audits=int(audits[-1]), peak=max(self.peak, peak))

    @property
    def log_e(self) -> float:
        """Natural logarithm of the evidence against the promise, now."""
        return float(log_e_values(np.array([self.errors]), np.array([self.audits]), self.max_error, self.prior)[0])

    def alarm(self, level: float = LEVEL) -> bool:
        """Whether the evidence has ever reached 1/level: with a promise that holds, of probability `level` at most."""
        return self.peak >= -math.log(level)

    @property
    def error(self) -> float | None:
        """The observed share of wrong audits; None before the first."""
        return self.errors / self.audits if self.audits else None

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Low and high end of the error: over all looks together they miss it with probability `level` at most."""
        return error_interval(self.errors, self.audits, self.prior, level)


def first_alarm(wrong: Bools, max_error: float, level: float = LEVEL, block: int = 100) -> tuple[int, Monitor] | None:
    """The monitor that raises an alarm over n audits in their order, shape (n,), and the audit at which it started.

    A monitor that has seen many good audits takes long to see a change. So a further one starts with every block of
    audits, and the j-th (from 1) has level / (j (j + 1)) to itself: together they still raise a false alarm with
    probability `level` at most.
    """
    for j, start in enumerate(range(0, len(wrong), block), start=1):
        monitor = Monitor.start(max_error).follow(wrong[start:])
        if monitor.alarm(level / (j * (j + 1))):
            return start, monitor
    return None


def log_e_values(errors: Counts, audits: Counts, max_error: float, prior: tuple[float, float]) -> Floats:
    """Natural logarithm of E for n pairs of errors and audits, shape (n,). Exact to 1e-9 up to 1e6 audits."""
    a, b = prior
    wrong, right = errors.astype(np.float64), (audits - errors).astype(np.float64)
    alternative = betaln(a + wrong, b + right) + _log_tail(a + wrong, b + right, max_error)
    cut = betaln(a, b) + _log_tail(np.array([a]), np.array([b]), max_error)[0]
    ratio: Floats = alternative - cut - wrong * math.log(max_error) - right * math.log1p(-max_error)
    return ratio


def error_interval(
    errors: int, audits: int, prior: tuple[float, float] = (1.0, 1.0), level: float = LEVEL
) -> tuple[float, float]:
    """All p whose own E, without the cut, is below 1/level: an interval, since log E is convex in p."""
    if not audits:
        return 0.0, 1.0
    a, b = prior
    right = audits - errors
    mixture = betaln(a + errors, b + right) - betaln(a, b) + math.log(level)

    def excess(p: float) -> float:
        return float(mixture - xlogy(errors, p) - xlog1py(right, -p))

    middle, least, most = errors / audits, 1e-300, 1.0 - 1e-15
    low = brentq(excess, least, middle, xtol=1e-15) if excess(least) > 0.0 else 0.0
    high = brentq(excess, middle, most, xtol=1e-15) if excess(most) > 0.0 else 1.0
    return float(low), float(high)


def _log_tail(a: Floats, b: Floats, p0: float) -> Floats:
    """log P(Beta(a, b) > p0), shape (n,)."""
    tail = betainc(b, a, 1.0 - p0)  # of 1 - Beta: no cancellation in the small tail
    logs: Floats = np.log(np.maximum(tail, _TINY))
    for row in np.flatnonzero(tail < _TINY):
        logs[row] = _log_small_tail(float(a[row]), float(b[row]), p0)
    return logs


def _log_small_tail(a: float, b: float, p0: float) -> float:
    """The same far in the tail, by the series of DLMF 8.17.8: positive terms that fall at least geometrically."""
    x = 1.0 - p0
    ratio = x * (a + b) / (b + 1.0)  # of the first two terms, the largest of all
    terms = math.ceil(40.0 / -math.log(ratio))
    steps = np.arange(terms)
    sizes = np.cumsum(np.log(x * (a + b + steps) / (b + 1.0 + steps)))
    series = np.log1p(np.exp(sizes).sum())
    return float(b * math.log(x) + a * math.log(p0) - math.log(b) - betaln(a, b) + series)
