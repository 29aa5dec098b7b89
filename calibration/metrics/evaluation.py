"""Metrics of scores whose truth is known: of all of them, and group by group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.metrics.bootstrap import chance_errors, drawable, interval, resampled
from calibration.metrics.contracts import Figure, GroupedMetrics, Metrics
from calibration.metrics.statistics import ranked, statistics
from calibration.table import Bools, Floats, Texts

_COVERAGE = "coverage_at."
_NOTHING = np.zeros(0), np.zeros(0, np.bool_), np.zeros(0)


@dataclass(frozen=True, slots=True)
class _Measured:
    """Figures before they are a document: nan is what is not defined."""

    n: int
    values: Mapping[str, float]
    samples: Mapping[str, Floats]
    """Of each figure, shape (resamples,); empty without resamples."""
    chance: Mapping[str, Floats]
    """Of the calibration errors, were the scores true; likewise."""


def evaluate(
    score: Floats, correct: Bools, weight: Floats | None = None, *, resamples: int = 1000, seed: int = 0
) -> Metrics:
    """Every figure of n scores, with 95 % bootstrap intervals.

    Args:
        score: (n,) from 0 to 1; nan where the answer could not be parsed.
        correct: (n,) whether the answers were right.
        weight: (n,) inverse propensities, above 0; None: all the same.
        resamples: of the bootstrap; 0 gives no intervals.
        seed: of the resamples; the same data and seed give the same intervals.

    Raises:
        ValueError: columns of different lengths, a score outside [0, 1], or a weight that is none.
    """
    return _document(_measure(score, correct, _weights(score, correct, weight), resamples, seed))


def evaluate_groups(
    score: Floats,
    correct: Bools,
    group: Texts,
    weight: Floats | None = None,
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> GroupedMetrics:
    """The same for each group of rows (labels, or sources), in the order of their names; pooled, and as a macro mean.

    Args:
        group: (n,) the name of each row's group; the other arguments are those of `evaluate`.

    Raises:
        ValueError: as `evaluate`.
    """
    weights = _weights(score, correct, weight)
    if len(group) != len(score):
        raise ValueError(f"columns of different lengths: {len(score)} scores and {len(group)} groups")
    names, codes = np.unique(group.astype(str), return_inverse=True)
    measured = []
    for index in range(len(names)):
        rows = codes == index
        measured.append(_measure(score[rows], correct[rows], weights[rows], resamples, seed + 1 + index))
    return GroupedMetrics(
        pooled=_document(_measure(score, correct, weights, resamples, seed)),
        macro=_document(_mean(measured)),
        groups={str(name): _document(found) for name, found in zip(names, measured, strict=True)},
    )


def _weights(score: Floats, correct: Bools, weight: Floats | None) -> Floats:
    weights = np.ones(len(score)) if weight is None else weight
    if not len(score) == len(correct) == len(weights):
        lengths = f"{len(score)} scores, {len(correct)} truths, {len(weights)} weights"
        raise ValueError(f"columns of different lengths: {lengths}")
    if ((score < 0.0) | (score > 1.0)).any():
        raise ValueError("a score is outside 0 to 1")
    if not (np.isfinite(weights) & (weights > 0.0)).all():
        raise ValueError("a weight is not a number above 0")
    return weights


def _measure(score: Floats, correct: Bools, weight: Floats, resamples: int, seed: int) -> _Measured:
    rows = np.flatnonzero(~np.isnan(score))
    rows = rows[np.argsort(-score[rows], kind="stable")]
    readings, mass, unread = ranked(score[rows], correct[rows]), weight[rows], weight[np.isnan(score)]
    found = statistics(readings, mass[np.newaxis], np.array([unread.sum()]))
    values = {name: float(each[0]) for name, each in found.items()}
    if not resamples or not len(score):
        return _Measured(len(rows), values, {}, {})
    source = drawable(readings, mass, unread)
    chance = chance_errors(source, resamples, seed) if len(rows) else {}
    return _Measured(len(rows), values, resampled(source, resamples, seed), chance)


def _mean(measured: Sequence[_Measured]) -> _Measured:
    """Each figure's mean over the groups that define it, and the same of every resample."""
    values: dict[str, float] = {}
    samples: dict[str, Floats] = {}
    chance: dict[str, Floats] = {}
    for name in (measured[0] if measured else _measure(*_NOTHING, 0, 0)).values:
        defined = [found for found in measured if not np.isnan(found.values[name])]
        values[name] = float(np.mean([found.values[name] for found in defined])) if defined else np.nan
        if defined and defined[0].samples:
            samples[name] = np.mean([found.samples[name] for found in defined], axis=0)  # nan where any is not defined
            if name in defined[0].chance:
                chance[name] = np.mean([found.chance[name] for found in defined], axis=0)
    return _Measured(sum(found.n for found in measured), values, samples, chance)


def _document(measured: _Measured) -> Metrics:
    figures = {name: _figure(measured, name) for name in measured.values}
    coverage = {name.removeprefix(_COVERAGE): found for name, found in figures.items() if name.startswith(_COVERAGE)}
    plain = {name: found for name, found in figures.items() if not name.startswith(_COVERAGE)}
    return Metrics(n=measured.n, coverage_at=coverage, **plain)


def _figure(measured: _Measured, name: str) -> Figure:
    value = measured.values[name]
    if np.isnan(value):
        return Figure(value=None)
    samples = measured.samples.get(name)
    ends = None if samples is None else interval(name, value, samples, measured.chance.get(name))
    return Figure(value=value) if ends is None else Figure(value=value, low=ends[0], high=ends[1])
