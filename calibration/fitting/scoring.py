"""From a posterior to scores: a million readings in arrays, or one reading in a few microseconds. The same numbers.

The log-odds of a reading are eta = x'b + u + v, for features x, coefficients b, and the intercepts u of its label and v
of its source. Their variance is taken with the intercepts regressed on the coefficients, u = s_u'b + rest:

    var(eta) = (x + s_u + s_v)' cov(b) (x + s_u + s_v) + var(rest of u) + var(rest of v)

which leaves out only the covariance of the two rests. It cannot be negative, and with equal weights it is never too
small: given b, what pushes u up pushes v down where they share outcomes, and so along every path (the precision of
(u, -v) is an M-matrix, whose inverse has no negative entry). The interval is that of the log-odds, put through the
sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import repeat
from operator import mul

import numpy as np

from calibration.fitting.features import TOKEN_CLIP, VERBAL_CLIP, Version, design, design_row
from calibration.outcome import ParseStatus, Signals
from calibration.table import Floats, SignalTable, Texts

Z90 = 1.6448536269514722
"""The interval is 90 %: the normal quantile of .95."""
LIMIT = 30.0
"""Log-odds are kept within this, so that no score is 0 or 1."""
_CHUNK = 16_384
"""Rows at a time: what they need stays in the cache."""

Scored = tuple[float, float, float]
_NO_SCORE = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True)
class Intercepts:
    """Those of k labels, or of k sources; the last row is what a name has that was never seen: 0, with variance tau^2.

    Args:
        position: of each name, 0 to k - 1.
        value: (k + 1,).
        slope: (k + 1, f), of their regression on the coefficients.
        rest: (k + 1,), variance of what this leaves.
    """

    position: Mapping[str, int]
    value: Floats
    slope: Floats
    rest: Floats

    @classmethod
    def of(cls, names: tuple[str, ...], value: Floats, slope: Floats, rest: Floats, variance: float) -> Intercepts:
        """With the last row for all other names, for intercepts whose prior variance is `variance`."""
        return cls(
            position={name: at for at, name in enumerate(names)},
            value=np.append(value, 0.0),
            slope=np.vstack([slope, np.zeros((1, slope.shape[1]))]),
            rest=np.append(rest, variance),
        )

    def rows(self, names: Texts) -> list[int]:
        """The row of each of n names."""
        return list(map(self.position.get, names.tolist(), repeat(len(self.position))))


@dataclass(frozen=True, slots=True)
class Posterior:
    """Coefficients (f,), the lower Cholesky factor of their covariance (f, f), and the intercepts."""

    version: Version
    """Of the features."""
    mean: Floats
    root: Floats
    labels: Intercepts
    sources: Intercepts

    def score(self, signals: SignalTable) -> tuple[Floats, Floats, Floats]:
        """Score, low and high end of n readings, whether they were parsed or not."""
        label, source = np.array(self.labels.rows(signals.label)), np.array(self.sources.rows(signals.source))
        label_turned, source_turned = self.labels.slope @ self.root, self.sources.slope @ self.root
        n = len(signals)
        score, low, high = np.empty(n), np.empty(n), np.empty(n)
        for start in range(0, n, _CHUNK):
            rows = slice(start, start + _CHUNK)
            u, v = label[rows], source[rows]
            x = design(signals.take(rows), self.version)
            eta = x @ self.mean + self.labels.value[u] + self.sources.value[v]
            turned = x @ self.root
            turned += label_turned[u]
            turned += source_turned[v]
            variance = np.einsum("ij,ij->i", turned, turned) + self.labels.rest[u] + self.sources.rest[v]
            half = Z90 * np.sqrt(variance)
            score[rows], low[rows], high[rows] = _sigmoid(eta), _sigmoid(eta - half), _sigmoid(eta + half)
        return score, low, high

    def one(self) -> Callable[[str, str, Signals], Scored]:
        """A function that scores one reading of a label and a source; nan where it was not parsed."""
        return _scorer(self) if self.version == 1 else _scorer_of_looks(self)


def _sigmoid(eta: Floats) -> Floats:
    score: Floats = 1.0 / (1.0 + np.exp(-np.clip(eta, -LIMIT, LIMIT)))
    return score


def _scorer(posterior: Posterior) -> Callable[[str, str, Signals], Scored]:  # noqa: PLR0915 - loops take twice as long
    """`Posterior.score` of one row in plain floats; whatever does not depend on the five signals is worked out before.

    Column j of the root is empty above row j: c_j = a_j + sum over signals i >= j of x_i root_ij, and var = sum c_j^2.
    """
    root = posterior.root.tolist()
    _, b1, b2, b3, b4, b5, *_ = posterior.mean.tolist()
    (r10, r11), (r20, r21, r22), (r30, r31, r32, r33) = root[1][:2], root[2][:3], root[3][:4]
    (r40, r41, r42, r43, r44), (r50, r51, r52, r53, r54, r55) = root[4][:5], root[5][:6]
    labels, new_label = _rows(posterior.labels, posterior.root)
    sources, new_source = _rows(posterior.sources, posterior.root)
    bases = _bases(posterior)
    log, exp, sqrt, ok = math.log, math.exp, math.sqrt, ParseStatus.OK
    verbal_top, token_top = 1.0 - VERBAL_CLIP, 1.0 - TOKEN_CLIP

    def score(label: str, source: str, signals: Signals) -> Scored:
        if signals.parse_status is not ok:
            return _NO_SCORE
        missing = 0
        x1 = x2 = x3 = x4 = x5 = 0.0
        value = signals.verbal_confidence
        if value is None:
            missing = 1
        else:
            value = VERBAL_CLIP if value < VERBAL_CLIP else verbal_top if value > verbal_top else value
            x1 = log(value / (1.0 - value))
        value = signals.label_probability
        if value is None:
            missing += 2
        else:
            value = TOKEN_CLIP if value < TOKEN_CLIP else token_top if value > token_top else value
            x2 = log(value / (1.0 - value))
        value = signals.label_margin
        if value is None:
            missing += 4
        else:
            x3 = value
            if value < 0.0:
                x4 = 1.0
        value = signals.label_entropy
        if value is None:
            missing += 8
        else:
            x5 = exp(-value)
        base, a0, a1, a2, a3, a4, a5, a6, a7, a8, a9 = bases[missing]
        u, lrest, l0, l1, l2, l3, l4, l5, l6, l7, l8, l9 = labels.get(label, new_label)
        v, srest, s0, s1, s2, s3, s4, s5, s6, s7, s8, s9 = sources.get(source, new_source)
        eta = base + u + v + b1 * x1 + b2 * x2 + b3 * x3 + b4 * x4 + b5 * x5
        c0 = a0 + l0 + s0 + r10 * x1 + r20 * x2 + r30 * x3 + r40 * x4 + r50 * x5
        c1 = a1 + l1 + s1 + r11 * x1 + r21 * x2 + r31 * x3 + r41 * x4 + r51 * x5
        c2 = a2 + l2 + s2 + r22 * x2 + r32 * x3 + r42 * x4 + r52 * x5
        c3 = a3 + l3 + s3 + r33 * x3 + r43 * x4 + r53 * x5
        c4 = a4 + l4 + s4 + r44 * x4 + r54 * x5
        c5 = a5 + l5 + s5 + r55 * x5
        c6, c7, c8, c9 = a6 + l6 + s6, a7 + l7 + s7, a8 + l8 + s8, a9 + l9 + s9
        half = Z90 * sqrt(
            c0 * c0 + c1 * c1 + c2 * c2 + c3 * c3 + c4 * c4 + c5 * c5 + c6 * c6 + c7 * c7 + c8 * c8 + c9 * c9
            + lrest + srest
        )  # fmt: skip
        low, high = eta - half, eta + half
        return (
            1.0 / (1.0 + exp(-eta if -LIMIT < eta < LIMIT else math.copysign(LIMIT, -eta))),
            1.0 / (1.0 + exp(-low if -LIMIT < low < LIMIT else math.copysign(LIMIT, -low))),
            1.0 / (1.0 + exp(-high if -LIMIT < high < LIMIT else math.copysign(LIMIT, -high))),
        )

    return score


def _scorer_of_looks(posterior: Posterior) -> Callable[[str, str, Signals], Scored]:
    """The same with the features of a second look, in loops: beside a model's further answers their time is nothing."""
    mean, root = posterior.mean.tolist(), posterior.root.tolist()
    labels, new_label = _rows(posterior.labels, posterior.root)
    sources, new_source = _rows(posterior.sources, posterior.root)

    def score(label: str, source: str, signals: Signals) -> Scored:
        if signals.parse_status is not ParseStatus.OK:
            return _NO_SCORE
        x = design_row(signals)
        u, label_rest, *turned = labels.get(label, new_label)
        v, source_rest, *source_turned = sources.get(source, new_source)
        eta = u + v + sum(map(mul, x, mean))
        variance = label_rest + source_rest
        for at, (own, other) in enumerate(zip(turned, source_turned, strict=True)):
            c = own + other + sum(value * row[at] for value, row in zip(x[at:], root[at:], strict=True))
            variance += c * c
        half = Z90 * math.sqrt(variance)
        return _squeezed(eta), _squeezed(eta - half), _squeezed(eta + half)

    return score


def _squeezed(eta: float) -> float:
    return 1.0 / (1.0 + math.exp(-min(max(eta, -LIMIT), LIMIT)))


def _rows(group: Intercepts, root: Floats) -> tuple[dict[str, tuple[float, ...]], tuple[float, ...]]:
    """For each name, and for any other: intercept, rest, and the slope turned by the root."""
    rows = np.column_stack([group.value, group.rest, group.slope @ root]).tolist()
    return {name: tuple(rows[at]) for name, at in group.position.items()}, tuple(rows[-1])


def _bases(posterior: Posterior) -> tuple[tuple[float, ...], ...]:
    """For each set of missing signals, by its bits: what the constant and the flags give to eta and to each c_j."""
    bases = []
    for missing in range(16):
        x = np.zeros(len(posterior.mean))
        x[[0, 6, 7, 8, 9]] = [1, missing & 1, missing >> 1 & 1, missing >> 2 & 1, missing >> 3 & 1]
        bases.append((float(x @ posterior.mean), *(x @ posterior.root).tolist()))
    return tuple(bases)
