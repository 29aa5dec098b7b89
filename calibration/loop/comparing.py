"""Whether a new calibrator may replace the one in use: paired, on outcomes that neither has seen. Pure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.calibrator import Calibrator
from calibration.table import Floats, OutcomeTable

_RESAMPLES = 2000
_LARGEST_WEIGHT = 50.0
_INFERIOR = 0.005
"""A Brier score that is worse by more than this is worse."""


@dataclass(frozen=True)
class Comparison:
    """Means over the outcomes, weighted by inverse propensities; differences are new minus old."""

    n: int
    brier: tuple[float, float, float]
    """Difference, and the ends of its 95 % paired-bootstrap interval."""
    log_loss: float
    bias: tuple[float, float]
    """Mean score minus the share correct, of the old and of the new."""

    @property
    def better(self) -> bool:
        """Clearly better; or not worse, and less biased. Never where the log-loss is worse."""
        not_worse = self.brier[2] < _INFERIOR and abs(self.bias[1]) < abs(self.bias[0])
        return self.log_loss <= 0.0 and (self.brier[2] < 0.0 or not_worse)

    def __str__(self) -> str:
        """In words, for the steps of a rollout."""
        difference, low, high = self.brier
        return (
            f"on {self.n:,} newer outcomes the Brier score changes by {difference:+.4f} ({low:+.4f} to {high:+.4f}), "
            f"the log-loss by {self.log_loss:+.4f}, the bias from {self.bias[0]:+.3f} to {self.bias[1]:+.3f}"
        )


def compare(old: Calibrator, new: Calibrator, outcomes: OutcomeTable, seed: int = 0) -> Comparison:
    """Compare two calibrators on n outcomes.

    Raises:
        ValueError: none of them was parsed.
    """
    before, after = old.score(outcomes.signals).score, new.score(outcomes.signals).score
    known = ~np.isnan(before) & ~np.isnan(after)
    if not known.any():
        raise ValueError("no outcome to compare on was parsed")
    before, after, correct = before[known], after[known], outcomes.correct[known].astype(np.float64)
    weight = np.minimum(1.0 / outcomes.propensity[known], _LARGEST_WEIGHT)
    gain = (after - correct) ** 2 - (before - correct) ** 2
    rng = np.random.default_rng(seed)
    means = np.empty(_RESAMPLES)
    for number in range(_RESAMPLES):
        drawn = rng.integers(0, len(gain), len(gain))
        means[number] = np.average(gain[drawn], weights=weight[drawn])
    low, high = np.quantile(means, [0.025, 0.975])
    return Comparison(
        n=len(gain),
        brier=(float(np.average(gain, weights=weight)), float(low), float(high)),
        log_loss=float(np.average(_log_loss(after, correct) - _log_loss(before, correct), weights=weight)),
        bias=(
            float(np.average(before - correct, weights=weight)),
            float(np.average(after - correct, weights=weight)),
        ),
    )


def _log_loss(score: Floats, correct: Floats) -> Floats:
    clipped = np.clip(score, 1e-12, 1.0 - 1e-12)
    loss: Floats = -(correct * np.log(clipped) + (1.0 - correct) * np.log1p(-clipped))
    return loss
