"""What each outcome stands for, and what all of them together are worth."""

from __future__ import annotations

import numpy as np

from calibration.table import Floats

WEIGHT_CAP = 50.0
"""The inverse of the smallest audit rate that is usual (2 %): beyond it, one outcome would speak for all."""


def inverse_propensity(propensity: Floats) -> Floats:
    """1 / propensity, at most `WEIGHT_CAP`; (n,).

    Raises:
        ValueError: a propensity is not above 0 and at most 1.
    """
    if not np.all((propensity > 0.0) & (propensity <= 1.0)):
        row = int(np.flatnonzero(~((propensity > 0.0) & (propensity <= 1.0)))[0])
        raise ValueError(f"propensity must be above 0 and at most 1; row {row} has {propensity[row]}")
    return np.minimum(1.0 / propensity, WEIGHT_CAP)


def effective_n(weight: Floats) -> float:
    """(sum w)^2 / sum w^2 (Kish 1965): how many equally weighted outcomes tell as much of a mean; 0 of none."""
    return float(weight.sum() ** 2 / (weight @ weight)) if len(weight) else 0.0


def scaled(weight: Floats) -> Floats:
    """The weights times what makes them sum to the effective n.

    Only their ratios remove the bias of selection; their scale says how much the outcomes weigh against the priors, and
    how sure the fit is. With the plain sum, 100 audits at 2 % would pass for 5,000 outcomes; with n, for more than the
    mean of so uneven a sample is worth. Where few weights are far larger than all others, even this scale makes single
    outcomes count for several: the covariance is therefore not read off the curvature (`hierarchical.fit`).
    """
    return weight * (effective_n(weight) / weight.sum()) if len(weight) else weight
