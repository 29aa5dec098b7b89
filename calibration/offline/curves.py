"""What the figures of a report show, as numbers: pure, of scores, truths and weights.

Weights are inverse propensities. An interval of a weighted share is the Clopper-Pearson interval of its effective
number of observations (Kish), (sum w)^2 / sum w^2, with fractional counts: exact where all weights are equal.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
from scipy import stats

from calibration.table import Bools, Floats, Texts

LEVEL = 0.95
"""Of every interval in a report."""
_POINTS = 200
_LEAST_LABELS = 10


@dataclass(frozen=True)
class Share:
    """A weighted share with its interval."""

    n: int
    value: float
    low: float
    high: float


def share(events: Bools, weight: Floats, level: float = LEVEL) -> Share:
    """The weighted share of events in at least one row, with its interval.

    Raises:
        ValueError: there is no row.
    """
    if not len(events):
        raise ValueError("a share of no rows")
    return _share(len(events), float(weight @ events), float(weight.sum()), float(weight @ weight), level)


def _share(n: int, hits: float, total: float, squares: float, level: float) -> Share:
    value = min(max(hits / total, 0.0), 1.0)
    size = total * total / squares
    tail = (1.0 - level) / 2.0
    low = 0.0 if value == 0.0 else float(stats.beta.ppf(tail, value * size, (1.0 - value) * size + 1.0))
    high = 1.0 if value == 1.0 else float(stats.beta.isf(tail, value * size + 1.0, (1.0 - value) * size))
    return Share(n, value, low, high)


@dataclass(frozen=True)
class Bin:
    """The readings of one span of scores."""

    low: float
    high: float
    mean_score: float
    correct: Share


def reliability(score: Floats, correct: Bools, weight: Floats, bins: int = 10) -> tuple[Bin, ...]:
    """Observed against promised correctness in bins of equal width, the last one closed; empty bins are left out."""
    place = np.minimum((score * bins).astype(np.intp), bins - 1)
    found = []
    for index in np.unique(place):
        rows = place == index
        mean = float(np.average(score[rows], weights=weight[rows]))
        found.append(Bin(int(index) / bins, (int(index) + 1) / bins, mean, share(correct[rows], weight[rows])))
    return tuple(found)


@dataclass(frozen=True)
class Passing:
    """What would pass at one threshold: its share of all readings, and the error in it."""

    threshold: float
    coverage: float
    error: Share


def risk_coverage(
    score: Floats, correct: Bools, weight: Floats, traffic: Floats | None, total: float
) -> tuple[Passing, ...]:
    """Error among what would pass, from the most cautious threshold to the least: at most 200 distinct scores.

    Args:
        score: (n,) of labelled readings that were parsed.
        correct: (n,) whether they were.
        weight: (n,) their inverse propensities.
        traffic: (m,) parsed scores of the traffic, by which coverage is counted; None counts it by the labels.
        total: all rows of that traffic, or the summed weight of all labels; the unparsed ones count.
    """
    order = np.argsort(-score, kind="stable")
    ranked, wrong, mass = score[order], ~correct[order], weight[order]
    last = np.flatnonzero(np.append(np.diff(ranked) != 0.0, True))  # of equal scores, all pass together
    last = last[last >= min(_LEAST_LABELS, len(ranked)) - 1]
    last = np.unique(last[np.linspace(0, len(last) - 1, min(_POINTS, len(last))).round().astype(np.intp)])
    passed, hits, squares = np.cumsum(mass), np.cumsum(mass * wrong), np.cumsum(mass * mass)
    ascending = None if traffic is None else np.sort(traffic)
    found = []
    for at in last:
        error = _share(int(at) + 1, float(hits[at]), float(passed[at]), float(squares[at]), LEVEL)
        passing = (
            float(passed[at])
            if ascending is None
            else float(len(ascending) - np.searchsorted(ascending, ranked[at], side="left"))
        )
        found.append(Passing(float(ranked[at]), passing / total, error))
    return tuple(found)


def histogram(score: Floats, weight: Floats | None = None, bins: int = 20) -> tuple[float, ...]:
    """Share of the readings in each of the equal bins of [0, 1], the last one closed."""
    counts, _ = np.histogram(score, bins, (0.0, 1.0), weights=weight)
    total = counts.sum()
    return tuple(float(count / total) for count in counts) if total else (0.0,) * bins


def by_frequency(words: Texts, most: int) -> tuple[str, ...]:
    """Distinct words, the most frequent first; equally frequent ones by name."""
    counts = Counter(words.tolist())
    return tuple(sorted(counts, key=lambda word: (-counts[word], word))[:most])
