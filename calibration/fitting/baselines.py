"""Calibrators of one signal, to compare with: identity, temperature, Platt, isotonic, Venn-Abers.

Each takes scores of readings whose truth is known, and gives a function from scores to probabilities. None knows
labels, sources or a second signal. Scores are from 0 to 1; log-odds are taken of scores within [.01, .99].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from scipy.optimize import minimize_scalar

from calibration.fitting.features import VERBAL_CLIP
from calibration.table import Bools, Floats

Predict = Callable[[Floats], Floats]
_LOG_TEMPERATURES = (-3.0, 3.0)


class Baseline(Protocol):
    """A way to learn a map from scores to probabilities."""

    def __call__(self, score: Floats, correct: Bools, weight: Floats) -> Predict:
        """Learn from n outcomes, shapes (n,); of none, the map that leaves scores as they are.

        Raises:
            ValueError: a score is not from 0 to 1.
        """


def identity(score: Floats, correct: Bools, weight: Floats) -> Predict:
    """The score itself."""
    _check(score)
    return _as_it_is


def temperature(score: Floats, correct: Bools, weight: Floats) -> Predict:
    """Log-odds over one number, at the least log-loss (Guo et al., ICML 2017)."""
    _check(score)
    if not len(score):
        return _as_it_is
    signed = np.where(correct, 1.0, -1.0) * _logit(score)

    def loss(log_temperature: float) -> float:
        return float(weight @ np.logaddexp(0.0, -signed * np.exp(-log_temperature)))

    found = minimize_scalar(loss, bounds=_LOG_TEMPERATURES, method="bounded", options={"xatol": 1e-6})
    sharpness = float(np.exp(-found.x))
    return lambda asked: _sigmoid(sharpness * _logit(asked))


def platt(score: Floats, correct: Bools, weight: Floats) -> Predict:
    """A logistic curve in the log-odds, with the softened targets of Platt (1999), so that one class is enough."""
    from sklearn.linear_model import LogisticRegression  # noqa: PLC0415 - takes seconds to load

    _check(score)
    if not len(score):
        return _as_it_is
    right, wrong = float(weight[correct].sum()), float(weight[~correct].sum())
    target = np.where(correct, (right + 1.0) / (right + 2.0), 1.0 / (wrong + 2.0))
    logit = _logit(score)[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-8, max_iter=1000)
    model.fit(
        np.vstack([logit, logit]),
        np.repeat([1, 0], len(score)),
        sample_weight=np.concatenate([weight * target, weight * (1.0 - target)]),
    )
    slope, offset = float(model.coef_[0, 0]), float(model.intercept_[0])
    return lambda asked: _sigmoid(slope * _logit(asked) + offset)


def isotonic(score: Floats, correct: Bools, weight: Floats) -> Predict:
    """The rising step function of least squares, with lines between the steps (Zadrozny & Elkan, KDD 2002)."""
    from sklearn.isotonic import IsotonicRegression  # noqa: PLC0415 - takes seconds to load

    _check(score)
    if not len(score):
        return _as_it_is
    model = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip")
    model.fit(score, correct.astype(np.float64), sample_weight=weight)

    def predict(asked: Floats) -> Floats:
        fitted: Floats = model.predict(asked)
        return fitted

    return predict


def venn_abers(score: Floats, correct: Bools, weight: Floats) -> Predict:
    """Inductive Venn-Abers (Vovk & Petej, UAI 2014), its two probabilities merged as p1 / (1 - p0 + p1).

    p0 and p1 are what the isotonic fit gives the asked score when it joins the outcomes as a wrong, or as a right one,
    of weight 1.
    """
    from sklearn.isotonic import isotonic_regression  # noqa: PLC0415 - takes seconds to load

    _check(score)
    if not len(score):
        return _as_it_is
    places, place = np.unique(score, return_inverse=True)
    mass = np.bincount(place, weight)
    right = np.bincount(place, weight * correct)

    def joined(spot: int, truth: float) -> float:
        at, between = divmod(spot, 2)
        if between:
            masses, sums = np.insert(mass, at, 1.0), np.insert(right, at, truth)
        else:
            masses, sums = mass.copy(), right.copy()
            masses[at] += 1.0
            sums[at] += truth
        return float(isotonic_regression(sums / masses, sample_weight=masses)[at])

    def predict(asked: Floats) -> Floats:
        at = np.searchsorted(places, asked)
        between = places[np.minimum(at, len(places) - 1)] != asked
        spots, back = np.unique(2 * at + between, return_inverse=True)  # scores between the same two fare alike
        low = np.array([joined(spot, 0.0) for spot in spots.tolist()])
        high = np.array([joined(spot, 1.0) for spot in spots.tolist()])
        merged: Floats = high / (1.0 - low + high)
        return merged[back]

    return predict


BASELINES: Mapping[str, Baseline] = {
    "identity": identity,
    "temperature": temperature,
    "platt": platt,
    "isotonic": isotonic,
    "venn_abers": venn_abers,
}


def _as_it_is(score: Floats) -> Floats:
    return score


def _check(score: Floats) -> None:
    if not np.all((score >= 0.0) & (score <= 1.0)):
        raise ValueError("scores must be from 0 to 1, and none may be missing")


def _logit(score: Floats) -> Floats:
    kept = np.clip(score, VERBAL_CLIP, 1.0 - VERBAL_CLIP)
    logit: Floats = np.log(kept / (1.0 - kept))
    return logit


def _sigmoid(eta: Floats) -> Floats:
    score: Floats = 1.0 / (1.0 + np.exp(-eta))
    return score
