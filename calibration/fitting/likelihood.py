"""The logistic likelihood of outcomes in two crossed groups, and its curvature, in time and memory linear in them.

theta = (b, u, v): f coefficients of features, l intercepts of labels, s of sources. Rows are sorted by cell (label,
source), so that everything about the intercepts is a sum over cells, and no indicator matrix is ever written down.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.table import Bools, Floats

Codes = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Theta:
    """A point, a gradient or a step: of coefficients (f,), labels (l,) and sources (s,)."""

    fixed: Floats
    label: Floats
    source: Floats

    def __add__(self, other: Theta) -> Theta:
        return Theta(self.fixed + other.fixed, self.label + other.label, self.source + other.source)

    def times(self, factor: float) -> Theta:
        """Every number times a factor."""
        return Theta(self.fixed * factor, self.label * factor, self.source * factor)

    def dot(self, other: Theta) -> float:
        """The inner product."""
        return float(self.fixed @ other.fixed + self.label @ other.label + self.source @ other.source)

    @property
    def dense(self) -> Floats:
        """Coefficients and labels, shape (f + l,)."""
        return np.concatenate([self.fixed, self.label])


@dataclass(frozen=True, slots=True)
class Curvature:
    """A symmetric matrix over theta whose block of sources is diagonal.

    Args:
        dense: (f + l, f + l), of coefficients and labels.
        cross: (f + l, s), of these and the sources.
        diagonal: (s,), of the sources.
    """

    dense: Floats
    cross: Floats
    diagonal: Floats

    def times(self, theta: Theta) -> Theta:
        """The product with a vector."""
        top = self.dense @ theta.dense + self.cross @ theta.source
        f = len(theta.fixed)
        return Theta(top[:f], top[f:], self.cross.T @ theta.dense + self.diagonal * theta.source)

    def plus(self, dense: Floats, source: float) -> Curvature:
        """With numbers added to the diagonal: (f + l,) to the coefficients and labels, one to every source."""
        return Curvature(self.dense + np.diag(dense), self.cross, self.diagonal + source)


@dataclass(frozen=True, slots=True)
class Likelihood:
    """n weighted outcomes, sorted by cell.

    Args:
        x: (n, f) features.
        correct: (n,) 0 or 1.
        weight: (n,).
        starts: (c,) first row of each cell.
        cell_label, cell_source: (c,) codes; l or s stands for a name without an intercept.
        labels, sources: l and s.
    """

    x: Floats
    correct: Floats
    weight: Floats
    starts: Codes
    cell_label: Codes
    cell_source: Codes
    labels: int
    sources: int

    @classmethod
    def of(
        cls, x: Floats, correct: Bools, weight: Floats, label: Codes, source: Codes, labels: int, sources: int
    ) -> Likelihood:
        """From rows in any order, with codes 0 to l - 1 and 0 to s - 1, and l or s for a name without an intercept."""
        cell = label * (sources + 1) + source
        order = np.argsort(cell, kind="stable")
        cells, starts = np.unique(cell[order], return_index=True)
        return cls(
            x=x[order],
            correct=correct[order].astype(np.float64),
            weight=weight[order],
            starts=starts,
            cell_label=cells // (sources + 1),
            cell_source=cells % (sources + 1),
            labels=labels,
            sources=sources,
        )

    def log_odds(self, theta: Theta) -> Floats:
        """eta of each row, shape (n,)."""
        offset = np.append(theta.label, 0.0)[self.cell_label] + np.append(theta.source, 0.0)[self.cell_source]
        eta: Floats = self.x @ theta.fixed
        eta += np.repeat(offset, np.diff(self.starts, append=len(self.x)))
        return eta

    def loss(self, eta: Floats) -> float:
        """Minus the weighted log-likelihood."""
        signed = np.where(self.correct > 0.0, -eta, eta)
        return float(self.weight @ (np.maximum(signed, 0.0) + np.log1p(np.exp(-np.abs(signed)))))

    def gradient(self, probability: Floats) -> Theta:
        """Of the log-likelihood, given P(correct) of each row."""
        residual = self.weight * (self.correct - probability)
        cells = self._cell_sums(residual)
        return Theta(self.x.T @ residual, self._by_label(cells), self._by_source(cells))

    def curvature(self, probability: Floats, *, squared: bool = False) -> Curvature:
        """Minus the Hessian of the log-likelihood; with weights squared, the variance of its gradient."""
        weight = self.weight**2 if squared else self.weight
        mass = weight * probability * (1.0 - probability)
        weighted = self.x * mass[:, None]
        f, l, s = self.x.shape[1], self.labels, self.sources  # noqa: E741 - as in the formulas
        sums, masses = self._cell_sums(weighted), self._cell_sums(mass)
        dense, cross = np.zeros((f + l, f + l)), np.zeros((f + l, s))
        dense[:f, :f] = weighted.T @ self.x
        for at in range(f):
            dense[at, f:] = self._by_label(sums[:, at])
            cross[at] = self._by_source(sums[:, at])
        dense[f:, :f] = dense[:f, f:].T
        dense[np.arange(f, f + l), np.arange(f, f + l)] = self._by_label(masses)
        known = (self.cell_label < l) & (self.cell_source < s)
        cross[f + self.cell_label[known], self.cell_source[known]] = masses[known]
        return Curvature(dense, cross, self._by_source(masses))

    def _cell_sums(self, values: Floats) -> Floats:
        if not len(self.starts):
            return np.zeros((0, *values.shape[1:]))
        sums: Floats = np.add.reduceat(values, self.starts, axis=0)
        return sums

    def _by_label(self, cells: Floats) -> Floats:
        sums: Floats = np.bincount(self.cell_label, cells, self.labels + 1)[: self.labels].astype(np.float64)
        return sums

    def _by_source(self, cells: Floats) -> Floats:
        sums: Floats = np.bincount(self.cell_source, cells, self.sources + 1)[: self.sources].astype(np.float64)
        return sums
