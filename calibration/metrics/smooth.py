"""Smooth calibration error (Blasiok & Nakkiran 2023, arXiv 2309.12236): how far scores lie from what they promise.

    smECE_s = integral over t in [0, 1] of | E[ K_s(t, f) * (y - f) ] |,    smECE = the s with smECE_s = s

where K_s is the Gaussian kernel of width s, reflected at 0 and 1. Reflected kernels are diagonal in cosines,
K_s(t, f) = 1 + 2 sum_k exp(-(s pi k)^2 / 2) cos(pi k t) cos(pi k f): after one cosine transform of the residuals, each
width costs one more, for all resamples at once.
"""

from __future__ import annotations

import numpy as np
from scipy.fft import dct
from scipy.sparse import csr_array

from calibration.table import Floats

CELLS = 1024
"""Of the grid on [0, 1]. What lies between two points goes to both by its distance: K_s widens by 4e-4 at most."""
_TOLERANCE = 2e-5
_MOST_STEPS = 40
_TINY = 1e-300


def grid_shares(score: Floats) -> csr_array:
    """(n, CELLS + 1): how much of each score belongs to each point of the grid."""
    n = len(score)
    left = np.minimum((score * CELLS).astype(np.intp), CELLS - 1)
    right_share = score * CELLS - left
    shares = np.column_stack([1.0 - right_share, right_share]).ravel()
    columns = np.column_stack([left, left + 1]).ravel()
    return csr_array((shares, columns, np.arange(0, 2 * n + 1, 2)), shape=(n, CELLS + 1))


def smooth_errors(residuals: Floats) -> Floats:
    """smECE of each row of residual masses on the grid.

    Args:
        residuals: (b, CELLS + 1), the sum of weight * (correct - score) at each point, where all weights sum to 1.

    Returns:
        (b,) in [0, 1], within 1e-3 of the exact integral (2e-5 from the search for s, the rest from the grid).
    """
    halved = residuals / 2.0  # the transform counts every point but the ends twice
    halved[:, [0, -1]] *= 2.0
    waves = dct(halved, type=1, axis=1)
    low, high = np.zeros(len(residuals)), np.ones(len(residuals))
    at_low, at_high = _error_at(waves, low), _error_at(waves, high) - 1.0
    errors: Floats = at_high + 1.0
    rows, side = np.arange(len(residuals)), np.zeros(len(residuals), np.intp)
    for _ in range(_MOST_STEPS):  # smECE_s falls in s, so it crosses s once: false position, as Illinois has it
        width = (low * at_high - high * at_low) / np.minimum(at_high - at_low, -_TINY)
        errors[rows] = found = _error_at(waves[rows], width)
        excess = found - width
        right = excess > 0.0
        at_high = np.where(right, np.where(side > 0, at_high / 2.0, at_high), excess)
        at_low = np.where(right, excess, np.where(side < 0, at_low / 2.0, at_low))
        low, high, side = np.where(right, width, low), np.where(right, high, width), np.where(right, 1, -1)
        open_ = np.abs(excess) > _TOLERANCE
        if not open_.any():
            break
        rows, side, low, high, at_low, at_high = (column[open_] for column in (rows, side, low, high, at_low, at_high))
    return np.clip(errors, 0.0, 1.0)


def _error_at(waves: Floats, width: Floats) -> Floats:
    """smECE_s of each row, at a width of its own."""
    frequency = np.pi * np.arange(CELLS + 1, dtype=np.float64)
    smoothed = dct(waves * np.exp(-0.5 * np.outer(width**2, frequency**2)), type=1, axis=1)
    size = np.abs(smoothed)
    mean: Floats = (size.sum(axis=1) - (size[:, 0] + size[:, -1]) / 2.0) / CELLS
    return mean
