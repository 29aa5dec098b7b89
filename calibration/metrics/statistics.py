"""The definitions of all figures, worked out for many weightings of the same readings at once.

A weighting is a row of masses: the inverse propensities for the figure itself, or those of one bootstrap resample. What
a weighting leaves undefined (a rate of nothing, the AUROC of one class) is nan here, and null in a document.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from calibration.metrics.smooth import grid_shares, smooth_errors
from calibration.table import Bools, Floats

ERRORS = (0.01, 0.02, 0.05, 0.1)
"""At which coverage is reported."""
BINS = 10
_LEAST_PROBABILITY = float(np.finfo(np.float64).eps)
"""Scores are kept this far from 0 and 1 in the logarithm, as scikit-learn does."""
_ROUNDING = 1e-12


@dataclass(frozen=True, slots=True)
class Ranked:
    """n readings, best score first, and what of them does not depend on weights."""

    score: Floats
    correct: Bools
    last: NDArray[np.intp]
    """(g,) where each run of equal scores ends,"""
    run: NDArray[np.intp]
    """(n,) in which run each reading is,"""
    length: NDArray[np.intp]
    """(n,) how long that is,"""
    share: Floats
    """(n,) and how much of it has come with this reading: 1 for the last of a run."""
    losses: Floats
    """(n, 3): correct, squared error, log-loss."""
    grid: csr_array
    """(n, CELLS + 1): where each score lies on the grid of the smooth calibration error,"""
    bins: csr_array
    """(n, BINS): and in bins of equal width."""


def ranked(score: Floats, correct: Bools) -> Ranked:
    """Readings with scores that fall from row to row."""
    truth = correct.astype(np.float64)
    kept = np.clip(score, _LEAST_PROBABILITY, 1.0 - _LEAST_PROBABILITY)
    log_loss = -np.log(np.where(correct, kept, 1.0 - kept))
    n = len(score)
    last = np.flatnonzero(np.append(np.diff(score) != 0.0, True)) if n else np.zeros(0, np.intp)
    lengths = np.diff(last, prepend=-1)
    run = np.repeat(np.arange(len(last)), lengths)
    bins = np.minimum((score * BINS).astype(np.intp), BINS - 1)
    return Ranked(
        score=score,
        correct=correct,
        last=last,
        run=run,
        length=lengths[run],
        share=1.0 - (last[run] - np.arange(n)) / lengths[run],
        losses=np.column_stack([truth, (score - truth) ** 2, log_loss]),
        grid=grid_shares(score),
        bins=csr_array((np.ones(n), bins, np.arange(n + 1)), shape=(n, BINS)),
    )


def statistics(readings: Ranked, mass: Floats, unread: Floats) -> dict[str, Floats]:
    """Every figure for b weightings, each shape (b,).

    Args:
        readings: n readings that have a score.
        mass: (b, n) their masses, not negative.
        unread: (b,) summed mass of the readings that have none.
    """
    total = mass.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):  # nan is the answer where nothing has mass
        rate, brier, log_loss = ((mass @ readings.losses) / total[:, np.newaxis]).T
        spread = rate * (1.0 - rate)
        found = {
            "base_rate": rate,
            "brier": brier,
            "brier_skill": np.where(spread > _ROUNDING, 1.0 - brier / spread, np.nan),
            "log_loss": log_loss,
            "not_parsed": unread / (total + unread),
        } | calibration_errors(readings, mass * (readings.correct - readings.score), total)
        passed = np.cumsum(mass, axis=1)[:, readings.last]
        wrong = np.cumsum(mass * ~readings.correct, axis=1)[:, readings.last]
        found["auroc"] = _auroc(passed, wrong)
        found["aurc"] = _aurc(readings, passed, wrong)
        for error in ERRORS:
            within = wrong <= error * passed * (1.0 + _ROUNDING)
            most = np.max(np.where(within, passed, 0.0), axis=1, initial=0.0)
            found[f"coverage_at.{error:g}"] = most / (total + unread)
    return found


def calibration_errors(readings: Ranked, residuals: Floats, total: Floats) -> dict[str, Floats]:
    """Smooth and binned calibration error, each shape (b,).

    Args:
        readings: n readings.
        residuals: (b, n) mass * (correct - score).
        total: (b,) summed masses.
    """
    smooth = np.full(len(residuals), np.nan)
    some = total > 0.0
    smooth[some] = smooth_errors((residuals[some] @ readings.grid) / total[some, np.newaxis])
    with np.errstate(divide="ignore", invalid="ignore"):
        return {"smooth_ece": smooth, "ece": np.abs(residuals @ readings.bins).sum(axis=1) / total}


def _auroc(passed: Floats, wrong: Floats) -> Floats:
    """P(a right reading scores above a wrong one) + P(they score the same) / 2, from sums up to each distinct score."""
    right = passed - wrong
    if not right.shape[1]:
        return np.full(len(right), np.nan)
    wrong_here = np.diff(wrong, axis=1, prepend=0.0)
    above = (right + np.hstack([np.zeros((len(right), 1)), right[:, :-1]])) / 2.0
    pairs = right[:, -1] * wrong[:, -1]
    area: Floats = np.clip((wrong_here * above).sum(axis=1) / pairs, 0.0, 1.0)
    return np.where(pairs > 0.0, area, np.nan)


def _aurc(readings: Ranked, passed: Floats, wrong: Floats) -> Floats:
    """Mean over the readings, best first, of the error among those up to each (Geifman et al. 2019); weighted.

    Within a run of equal scores the order is a matter of chance: errors and masses grow there by equal steps.
    """
    if not passed.shape[1]:
        return np.full(len(passed), np.nan)
    run, share = readings.run, readings.share
    steps = [np.diff(sums, axis=1, prepend=0.0) for sums in (passed, wrong)]
    upto, errors = (
        sums[:, run] - step[:, run] * (1.0 - share) for sums, step in zip((passed, wrong), steps, strict=True)
    )
    mass = steps[0][:, run] / readings.length
    area: Floats = (mass * np.where(upto > 0.0, errors / upto, 0.0)).sum(axis=1) / passed[:, -1]
    return area
