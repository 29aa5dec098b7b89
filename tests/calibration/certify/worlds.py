"""Worlds whose true error above any threshold is known."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit, ndtr, ndtri

from calibration.certificate import Certificate, Certified
from calibration.table import Bools, Floats

_RIGHT = 0.82
_APART = math.sqrt(2.0) * float(ndtri(0.80))  # of the two normals, for an AUROC of .80


def binormal(n: int, rng: np.random.Generator) -> tuple[Floats, Bools]:
    """n calibrated scores and whether the readings were wrong: accuracy .82, AUROC .80."""
    wrong = rng.random(n) > _RIGHT
    signal = rng.normal(np.where(wrong, 0.0, _APART))
    return expit(logit(_RIGHT) + _APART * signal - 0.5 * _APART**2), wrong


def binormal_above(threshold: float) -> tuple[float, float]:
    """True error among, and share of, the events with a score at or above the threshold."""
    signal = (logit(threshold) - logit(_RIGHT)) / _APART + 0.5 * _APART
    wrong, right = (1.0 - _RIGHT) * ndtr(-signal), _RIGHT * ndtr(_APART - signal)
    return float(wrong / (wrong + right)), float(wrong + right)


@dataclass(frozen=True)
class Population:
    """A finite population with a known probability of error for every score; labels are drawn with replacement."""

    score: Floats
    error: Floats

    @classmethod
    def of(cls, score: Floats, error: Callable[[Floats], Floats]) -> Population:
        return cls(score, np.clip(error(score), 0.0, 1.0))

    def draw(self, n: int, rng: np.random.Generator) -> tuple[Floats, Bools]:
        rows = rng.integers(0, len(self.score), n)
        return self.score[rows], rng.random(n) < self.error[rows]

    def broken(self, certificate: Certificate, max_error: float) -> bool:
        if not isinstance(certificate, Certified):
            return False
        return float(self.error[self.score >= certificate.threshold].mean()) > max_error
