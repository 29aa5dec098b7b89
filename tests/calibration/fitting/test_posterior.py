"""The mode, its evidence and its covariance, against the same sums done densely and slowly."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from calibration.fitting.features import FEATURES, design
from calibration.fitting.likelihood import Codes, Curvature, Likelihood, Theta
from calibration.fitting.posterior import SD_PRIOR, Elimination, Mode, Prior, find_mode, fit_posterior
from calibration.table import Floats, OutcomeTable, Texts
from tests.calibration.fitting.readings import drawn

MEAN = np.array([feature.prior_mean for feature in FEATURES])
PRECISION = np.array([feature.prior_sd**-2.0 for feature in FEATURES])


@dataclass
class Dense:
    """The model with all indicators written out as columns."""

    columns: Floats
    correct: Floats
    weight: Floats
    mean: Floats
    precision: Floats

    def loss(self, theta: Floats) -> tuple[float, Floats]:
        eta = self.columns @ theta
        away = theta - self.mean
        value = self.weight @ (np.logaddexp(0.0, eta) - self.correct * eta) + 0.5 * self.precision @ away**2
        residual = self.weight * (1.0 / (1.0 + np.exp(-eta)) - self.correct)
        return float(value), self.columns.T @ residual + self.precision * away

    def curvature(self, theta: Floats, power: int = 1) -> Floats:
        p = 1.0 / (1.0 + np.exp(-self.columns @ theta))
        return (self.columns.T * (self.weight**power * p * (1.0 - p))) @ self.columns + np.diag(self.precision)

    def mode(self) -> Floats:
        found = minimize(
            self.loss, self.mean, jac=True, method="L-BFGS-B", options={"ftol": 0, "gtol": 1e-9, "maxiter": 5000}
        )
        return np.asarray(found.x, np.float64)


def codes(column: Texts) -> tuple[Codes, int]:
    names, found = np.unique(column.astype(str), return_inverse=True)
    return found, len(names)


def both(
    outcomes: OutcomeTable, weight: Floats, label_sd: float = 0.4, source_sd: float = 0.3
) -> tuple[Likelihood, Dense]:
    x = design(outcomes.signals)
    label, labels = codes(outcomes.signals.label)
    source, sources = codes(outcomes.signals.source)
    likelihood = Likelihood.of(x, outcomes.correct, weight, label, source, labels, sources)
    dense = Dense(
        np.hstack([x, np.eye(labels)[label], np.eye(sources)[source]]),
        outcomes.correct.astype(np.float64),
        weight,
        np.concatenate([MEAN, np.zeros(labels + sources)]),
        np.concatenate([PRECISION, np.full(labels, label_sd**-2), np.full(sources, source_sd**-2)]),
    )
    return likelihood, dense


def flat(theta: Theta) -> Floats:
    return np.concatenate([theta.fixed, theta.label, theta.source])


def whole(curvature: Curvature) -> Floats:
    return np.block([[curvature.dense, curvature.cross], [curvature.cross.T, np.diag(curvature.diagonal)]])


def origin(likelihood: Likelihood) -> Theta:
    return Theta(MEAN, np.zeros(likelihood.labels), np.zeros(likelihood.sources))


@pytest.mark.parametrize("n", [1, 30, 400])
@pytest.mark.parametrize("missing", [0.0, 0.4])
def test_the_mode_is_what_a_general_optimiser_finds(n: int, missing: float) -> None:
    outcomes = drawn(n, n, missing=missing)
    weight = np.random.default_rng(n).uniform(0.2, 3.0, n)
    likelihood, dense = both(outcomes, weight)
    mode = find_mode(likelihood, Prior(MEAN, PRECISION, 0.4, 0.3), origin(likelihood))
    assert mode.converged
    assert flat(mode.theta) == pytest.approx(dense.mode(), abs=1e-6)


def test_gradient_and_curvature_are_the_dense_ones() -> None:
    outcomes = drawn(3, 200, missing=0.2)
    weight = np.random.default_rng(4).uniform(0.2, 3.0, 200)
    likelihood, dense = both(outcomes, weight)
    theta = np.random.default_rng(5).normal(0.0, 0.5, len(dense.mean))
    split = Theta(*np.split(theta, [10, 10 + likelihood.labels]))
    p = 1.0 / (1.0 + np.exp(-likelihood.log_odds(split)))
    prior = Prior(MEAN, PRECISION, 0.4, 0.3)
    gradient = flat(likelihood.gradient(p)) - dense.precision * (theta - dense.mean)
    assert gradient == pytest.approx(-dense.loss(theta)[1], abs=1e-10)
    for power, squared in ((1, False), (2, True)):
        found = whole(prior.added(likelihood.curvature(p, squared=squared)))
        assert found == pytest.approx(dense.curvature(theta, power), abs=1e-10)


def test_elimination_is_the_inverse() -> None:
    outcomes = drawn(6, 150)
    weight = np.random.default_rng(7).uniform(0.2, 3.0, 150)
    likelihood, dense = both(outcomes, weight)
    prior = Prior(MEAN, PRECISION, 0.4, 0.3)
    mode = find_mode(likelihood, prior, origin(likelihood))
    elimination = Elimination(prior.added(likelihood.curvature(mode.probability)))
    middle = prior.added(likelihood.curvature(mode.probability, squared=True))
    theta, z = flat(mode.theta), 10 + likelihood.labels
    inverse = np.linalg.inv(dense.curvature(theta)).astype(np.float64)
    assert elimination.log_determinant == pytest.approx(np.linalg.slogdet(dense.curvature(theta))[1], abs=1e-9)
    assert elimination.dense_inverse() == pytest.approx(inverse[:z, :z], abs=1e-10)
    assert elimination.source_variances(inverse[:z, :z]) == pytest.approx(np.diag(inverse)[z:], abs=1e-10)
    assert flat(elimination.solve(mode.theta)) == pytest.approx(inverse @ theta, abs=1e-10)
    sandwich = inverse @ dense.curvature(theta, 2) @ inverse
    block, cross, diagonal = elimination.sandwich(middle)
    assert block == pytest.approx(sandwich[:z, :z], abs=1e-10)
    assert cross == pytest.approx(sandwich[:z, z:], abs=1e-10)
    assert diagonal == pytest.approx(np.diag(sandwich)[z:], abs=1e-10)


def exact_evidence(outcomes: OutcomeTable, label_sd: float, source_sd: float) -> float:
    """Laplace's, with the mode found anew for these tau, and the prior of tau itself."""
    _, dense = both(outcomes, np.ones(len(outcomes)), label_sd, source_sd)
    mode = dense.mode()
    log_prior = sum(np.log(sd) - 0.5 * (sd / SD_PRIOR) ** 2 for sd in (label_sd, source_sd))
    determinants = np.log(dense.precision).sum() - np.linalg.slogdet(dense.curvature(mode))[1]
    return float(-dense.loss(mode)[0] + 0.5 * determinants + log_prior)


@pytest.mark.parametrize("n", [60, 400, 2000])
def test_tau_has_almost_the_highest_evidence(n: int) -> None:
    """Against a grid of the exact one: what the parabola costs is far from mattering (a factor of e would)."""
    outcomes = drawn(n + 1, n)
    likelihood, _ = both(outcomes, np.ones(n))
    found = fit_posterior(likelihood, MEAN, PRECISION)
    assert found.converged
    grid = np.geomspace(0.05, 1.6, 9)
    highest = max(exact_evidence(outcomes, a, b) for a in grid for b in grid)
    assert exact_evidence(outcomes, found.prior.label_sd, found.prior.source_sd) > highest - 0.1


def test_tau_tells_labels_that_differ_from_labels_that_do_not() -> None:
    def taus(label_sd: float) -> list[float]:
        found = []
        for seed in range(4):
            likelihood, _ = both(drawn(seed, 4000, label_sd=label_sd), np.ones(4000))
            found.append(fit_posterior(likelihood, MEAN, PRECISION).prior.label_sd)
        return found

    assert np.mean(taus(1.0)) > 0.5
    assert np.mean(taus(0.0)) < 0.25


def test_a_start_elsewhere_ends_at_the_same_place() -> None:
    likelihood, _ = both(drawn(8, 500), np.ones(500))
    plain = fit_posterior(likelihood, MEAN, PRECISION)
    far = Theta(MEAN + 3.0, np.full(likelihood.labels, -4.0), np.full(likelihood.sources, 4.0))
    start = Mode(far, Prior(MEAN, PRECISION, 2.0, 0.05), plain.probability, converged=True)
    again = fit_posterior(likelihood, MEAN, PRECISION, start)
    assert again.converged
    assert flat(again.theta) == pytest.approx(flat(plain.theta), abs=2e-3)  # tau is settled to a thousandth


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 3), st.integers(0, 3)), max_size=40),
    st.floats(1e-3, 50.0),
)
def test_always_arrives(rows: list[tuple[bool, int, int]], weight: float) -> None:
    """Whatever the groups and the truths, codes of names without an intercept (3) included."""
    n = len(rows)
    correct = np.array([row[0] for row in rows], np.bool_)
    label, source = (np.array([row[at] for row in rows], np.intp) for at in (1, 2))
    x = np.random.default_rng(n).normal(0.0, 2.0, (n, 10))
    mode = fit_posterior(Likelihood.of(x, correct, np.full(n, weight), label, source, 3, 3), MEAN, PRECISION)
    assert mode.converged
    assert np.isfinite(flat(mode.theta)).all()
