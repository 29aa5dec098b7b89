"""Figures with their intervals, of counts by day: pure.

Days differ more than counts within one do, so a day is the unit of which a figure is made. All intervals are 95 %
intervals of the mean over days like these, by Student's t on the days' own scatter (linearised ratio estimate: Cochran
1977, section 6.3). Where days follow each other alike, as in a week, they are somewhat too narrow.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from calibration.table import Floats
from calibration.whatif.contracts import Estimate

_LEVEL = 0.95


@dataclass(frozen=True)
class Days:
    """The 24-hour days of a survey, counted back from its end; the oldest may be cut short."""

    count: int
    span: float
    """Days between first and last moment, at most `count`."""

    @property
    def complete(self) -> int:
        """So many, from the newest on, are whole."""
        return min(self.count, math.floor(self.span + 1e-9))


def ratio(part: Floats, whole: Floats, most: float = math.inf) -> Estimate:
    """Sum of the parts over sum of the wholes, where shape is (d,); without an interval for a single d.

    Raises:
        ValueError: the wholes sum up to nothing.
    """
    total = float(whole.sum())
    if total <= 0.0:
        raise ValueError("a ratio to nothing")
    value = float(part.sum()) / total
    d = len(whole)
    if d < 2:
        return Estimate(value=value)
    scatter = part - value * whole
    half = _quantile(d) * math.sqrt(d / (d - 1) * float(scatter @ scatter)) / total
    return Estimate(value=value, low=max(value - half, 0.0), high=min(value + half, most))


def per_day(counts: NDArray[np.floating[Any]] | NDArray[np.int64], days: Days) -> Estimate:
    """The mean of whole days, where shape is (d,); what there is of one, made a day of, where none is whole."""
    if days.complete == 0:
        return Estimate(value=float(counts.sum()) / days.span)
    whole = counts[: days.complete].astype(np.float64)
    return ratio(whole, np.ones(len(whole)))


def product(one: Estimate, other: Estimate, unit: float = 1.0) -> Estimate:
    """Of two independent figures, by their relative errors; in `unit` of that."""
    value = one.value * other.value / unit
    if one.low is None or one.high is None or other.low is None or other.high is None:
        return Estimate(value=value)
    down = math.hypot((one.value - one.low) * other.value, (other.value - other.low) * one.value) / unit
    up = math.hypot((one.high - one.value) * other.value, (other.high - other.value) * one.value) / unit
    return Estimate(value=value, low=max(value - down, 0.0), high=value + up)


def _quantile(d: int) -> float:
    return float(stdtrit(d - 1, 0.5 + _LEVEL / 2.0))
