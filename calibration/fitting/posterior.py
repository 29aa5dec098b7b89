"""The mode of the posterior, its evidence and its covariance, by elimination of the sources.

With the curvature A = [[A_zz, C], [C', D]] of z = (b, u) and of the sources v, D diagonal, everything follows from the
Schur complement A_zz - C D^-1 C', whose size does not grow with the number of sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from calibration.fitting.likelihood import Curvature, Likelihood, Theta
from calibration.table import Floats

SD_PRIOR = 0.5
"""Mode of the Rayleigh prior of tau. It is 0 at 0, so that few labels never pass for none (Chung et al., Psychometrika
78, 2013), and it is what stands where there are no outcomes at all."""
_SD_RANGE = (0.02, 3.0)
_NEWTON_STEPS = 60
_ROUNDS = 30
_DECREMENT = 1e-14
"""Newton has arrived when the squared length of its step, in posterior standard deviations, is below this per unit of
information, or below what rounding lets a sum over n rows show."""
_SETTLED = 1e-3
"""Relative change of tau at which it is left alone: far less than it could ever be known."""


@dataclass(frozen=True, slots=True)
class Prior:
    """Gaussians: coefficients N(mean, 1 / precision), labels N(0, label_sd^2), sources N(0, source_sd^2).

    It is part of a fit: the mode says under which tau it was found.
    """

    mean: Floats
    precision: Floats
    label_sd: float
    source_sd: float

    def scaled(self, theta: Theta) -> Theta:
        """Its precision times theta."""
        return Theta(self.precision * theta.fixed, theta.label / self.label_sd**2, theta.source / self.source_sd**2)

    def centred(self, theta: Theta) -> Theta:
        """Theta minus the prior mean."""
        return Theta(theta.fixed - self.mean, theta.label, theta.source)

    def added(self, curvature: Curvature) -> Curvature:
        """The curvature of the posterior, from that of the likelihood."""
        labels = len(curvature.dense) - len(self.precision)
        return curvature.plus(np.append(self.precision, np.full(labels, self.label_sd**-2)), self.source_sd**-2)


class Elimination:
    """A positive definite curvature, factored."""

    def __init__(self, curvature: Curvature) -> None:
        self._curvature = curvature
        self._ratio = curvature.cross / curvature.diagonal  # C D^-1
        self._factor = cho_factor(curvature.dense - self._ratio @ curvature.cross.T, lower=True)

    def solve(self, theta: Theta) -> Theta:
        """The inverse times a vector."""
        top = cho_solve(self._factor, theta.dense - self._ratio @ theta.source)
        f = len(theta.fixed)
        return Theta(top[:f], top[f:], theta.source / self._curvature.diagonal - top @ self._ratio)

    @property
    def log_determinant(self) -> float:
        """Of the whole curvature."""
        return float(2.0 * np.log(np.diag(self._factor[0])).sum() + np.log(self._curvature.diagonal).sum())

    def dense_inverse(self) -> Floats:
        """The block of the inverse that belongs to (b, u)."""
        inverse: Floats = cho_solve(self._factor, np.eye(len(self._curvature.dense)))
        return inverse

    def source_variances(self, inverse: Floats) -> Floats:
        """The diagonal of the inverse that belongs to v, (s,), given the dense block of the inverse."""
        spread: Floats = np.einsum("is,is->s", self._ratio, inverse @ self._ratio)
        return 1.0 / self._curvature.diagonal + spread

    def sandwich(self, middle: Curvature) -> tuple[Floats, Floats, Floats]:
        """Of inverse @ middle @ inverse: the block of (b, u), that of (b, u) and v, and the diagonal of v."""
        inverse, ratio, d = self.dense_inverse(), self._ratio, self._curvature.diagonal
        edge = middle.cross @ ratio.T
        core = middle.dense - edge - edge.T + (ratio * middle.diagonal) @ ratio.T
        dense: Floats = inverse @ core @ inverse
        share: Floats = inverse @ ((middle.cross - ratio * middle.diagonal) / d)
        cross: Floats = share - dense @ ratio
        diagonal: Floats = (
            np.einsum("is,is->s", ratio, dense @ ratio)
            - 2.0 * np.einsum("is,is->s", ratio, share)
            + middle.diagonal / d**2
        )
        return dense, cross, diagonal


@dataclass(frozen=True, slots=True)
class Mode:
    """Where the posterior is highest, and whether the search for it ended there."""

    theta: Theta
    prior: Prior
    probability: Floats
    """(n,) P(correct) of the likelihood's rows."""
    converged: bool


def find_mode(likelihood: Likelihood, prior: Prior, start: Theta) -> Mode:
    """The mode under a prior, by Newton steps, halved where a whole one would not improve (the loss is convex)."""
    theta = start
    eta = likelihood.log_odds(theta)
    value = _objective(likelihood, prior, theta, eta)
    converged = False
    for _ in range(_NEWTON_STEPS):
        probability = _sigmoid(eta)
        slope = likelihood.gradient(probability) + prior.scaled(prior.centred(theta)).times(-1.0)
        step = Elimination(prior.added(likelihood.curvature(probability))).solve(slope)
        decrement = slope.dot(step)
        size, tried, tried_eta, tried_value = 1.0, theta, eta, value
        for _ in range(40):
            tried = theta + step.times(size)
            tried_eta = likelihood.log_odds(tried)
            tried_value = _objective(likelihood, prior, tried, tried_eta)
            if tried_value <= value - 1e-4 * size * decrement or decrement < 1e-9 * (1.0 + abs(value)):
                break
            size /= 2.0
        theta, eta, value = tried, tried_eta, tried_value
        if decrement <= _DECREMENT * (1.0 + float(likelihood.weight.sum())):
            converged = True
            break
    return Mode(theta, prior, _sigmoid(eta), converged)


def fit_posterior(likelihood: Likelihood, mean: Floats, precision: Floats, start: Mode | None = None) -> Mode:
    """The mode, with tau of labels and of sources where the evidence is highest.

    The evidence is Laplace's: the likelihood is taken as the parabola that touches it at the mode, under which the
    evidence of any other tau is known without another look at the outcomes; then the mode of the best tau is found, and
    so on until tau settles. Where it settles it is stationary for the evidence with the curvature held (as in PQL).

    Args:
        likelihood: of the outcomes.
        mean, precision: (f,), of the coefficients' prior.
        start: of a similar fit, where the search begins; where it ends does not depend on it.
    """
    labels, sources = likelihood.labels, likelihood.sources
    theta = Theta(mean, np.zeros(labels), np.zeros(sources)) if start is None else start.theta
    sds = (SD_PRIOR, SD_PRIOR) if start is None else (start.prior.label_sd, start.prior.source_sd)
    for _ in range(_ROUNDS):
        mode = find_mode(likelihood, Prior(mean, precision, *sds), theta)
        best = _best_sds(likelihood, mode)
        moved = float(np.abs(np.log(best) - np.log(sds)).max())
        theta = mode.theta
        if moved < _SETTLED:
            return mode
        sds = (float(best[0]), float(best[1]))
    return Mode(mode.theta, mode.prior, mode.probability, converged=False)


def _best_sds(likelihood: Likelihood, mode: Mode) -> Floats:
    """tau of labels and of sources that are best under the parabola at a mode, shape (2,)."""
    curvature = likelihood.curvature(mode.probability)
    pull = curvature.times(mode.theta) + likelihood.gradient(mode.probability)
    prior = mode.prior
    counts = np.array([likelihood.labels, likelihood.sources])
    f = len(prior.mean)

    def badness(log_sd: Floats) -> tuple[float, Floats]:
        """Minus log evidence and log prior of tau, and their gradient in log tau."""
        sd = np.exp(log_sd)
        here = Prior(prior.mean, prior.precision, float(sd[0]), float(sd[1]))
        target = pull + Theta(prior.precision * prior.mean, np.zeros(counts[0]), np.zeros(counts[1]))
        elimination = Elimination(here.added(curvature))
        peak = elimination.solve(target)
        inverse = elimination.dense_inverse()
        squares = np.array(
            [
                peak.label @ peak.label + np.trace(inverse[f:, f:]),
                peak.source @ peak.source + elimination.source_variances(inverse).sum(),
            ]
        )
        evidence = 0.5 * target.dot(peak) - 0.5 * elimination.log_determinant - float(counts @ log_sd)
        log_prior = float((log_sd - 0.5 * (sd / SD_PRIOR) ** 2).sum())
        slope = squares / sd**2 - counts + 1.0 - (sd / SD_PRIOR) ** 2
        return -(evidence + log_prior), -slope

    found = minimize(
        badness,
        np.log([prior.label_sd, prior.source_sd]),
        jac=True,
        method="L-BFGS-B",
        bounds=[tuple(np.log(_SD_RANGE))] * 2,
    )
    best: Floats = np.exp(found.x)
    return best


def _objective(likelihood: Likelihood, prior: Prior, theta: Theta, eta: Floats) -> float:
    away = prior.centred(theta)
    return likelihood.loss(eta) + 0.5 * away.dot(prior.scaled(away))


def _sigmoid(eta: Floats) -> Floats:
    probability: Floats = 1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0)))
    return probability
