"""What is said of labels beside a certificate: how much must be reviewed in any case, and exact bounds of an error."""

from __future__ import annotations

from scipy.special import betaincinv

from calibration.table import Bools


def least_abstention(wrong: Bools, max_error: float) -> float:
    """At least this share must be reviewed, whatever the scores, if the labels' own error is everybody's.

    Were a share a reviewed, and all errors in it, the rest would err by (error - a) / (1 - a).
    """
    if not len(wrong):
        return 0.0
    return max(0.0, (float(wrong.mean()) - max_error) / (1.0 - max_error))


def upper_bound(errors: int, trials: int, delta: float) -> float:
    """One-sided upper bound of a binomial rate, missed with probability `delta` at most (Clopper and Pearson 1934)."""
    return 1.0 if errors == trials else float(betaincinv(errors + 1, trials - errors, 1.0 - delta))


def lower_bound(errors: int, trials: int, delta: float) -> float:
    """The same from below."""
    return 0.0 if errors == 0 else float(betaincinv(errors, trials - errors + 1, delta))
