"""How far reviewers agree, as pure functions of who said what of which event.

Alpha is Krippendorff's, for nominal labels and any number of answers an event (Krippendorff, *Content Analysis*, 4th
ed., ch. 12): 1 is perfect agreement, 0 what chance gives. "Cannot tell" is a label like any other. Intervals: for alpha
a bootstrap over events, for shares Clopper and Pearson's.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CANNOT_TELL = "cannot tell"
_RESAMPLES = 1_000


@dataclass(frozen=True, slots=True)
class Interval:
    """A value between its bounds."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far people agree on the events that more than one of them answered."""

    events: int
    alpha: Interval | None
    """None where it is undefined: no event has two answers, or all answers are the same."""
    confused: tuple[tuple[str, str, int], ...]
    """Pairs of labels that two people gave for one event, the most frequent first."""


@dataclass(frozen=True, slots=True)
class Reviewer:
    """One person's answers beside those of others."""

    name: str
    answers: int
    shared: int
    """Of them, those on events that somebody else answered independently, too."""
    agreeing: Interval | None
    """The share of these pairs in which both said the same."""
    adjudicated: int
    """Disagreements of theirs that a lead decided,"""
    upheld: Interval | None
    """and the share in which the lead said what they had."""
    checked: int
    """Golden items that they answered,"""
    right: Interval | None
    """and the share that was right."""
    cannot_tell: float
    median_s: float


def agreement(answers: Iterable[Mapping[str, str]], rng: np.random.Generator, level: float = 0.95) -> Agreement:
    """Alpha over events.

    Args:
        answers: for each event what each reviewer said, independently of the others.
        rng: of the bootstrap.
        level: of the interval.
    """
    units = [list(each.values()) for each in answers if len(each) > 1]
    names = sorted({label for unit in units for label in unit})
    index = {name: at for at, name in enumerate(names)}
    coincidences = np.zeros((len(units), len(names), len(names)))
    for row, unit in zip(coincidences, units, strict=True):
        counts = np.bincount([index[label] for label in unit], minlength=len(names)).astype(float)
        row[:] = (np.outer(counts, counts) - np.diag(counts)) / (len(unit) - 1)
    value = _alpha(coincidences.sum(axis=0))
    found = None
    if value is not None:
        even = np.full(len(units), 1 / len(units))
        times = (rng.multinomial(len(units), even).astype(float) for _ in range(_RESAMPLES))
        sample = [_alpha(np.tensordot(each, coincidences, 1)) for each in times]
        defined = [each for each in sample if each is not None]
        low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2]) if defined else (value, value)
        found = Interval(value, float(low), float(high))
    confused = Counter(
        (min(one, other), max(one, other))
        for unit in units
        for at, one in enumerate(unit)
        for other in unit[at + 1 :]
        if one != other
    )
    return Agreement(len(units), found, tuple((*pair, count) for pair, count in confused.most_common()))


def _alpha(coincidences: NDArray[np.float64]) -> float | None:
    """From a matrix of coincidences of labels: 1 less observed over expected disagreement."""
    totals = coincidences.sum(axis=0)
    n = totals.sum()
    if n < 2:
        return None
    expected = (n * n - totals @ totals) / (n - 1)
    if expected <= 0:
        return None
    return float(1 - (n - np.trace(coincidences)) / expected)


@dataclass(frozen=True, slots=True)
class Said:
    """One answer to one event."""

    reviewer: str
    label: str
    seconds: float


def reviewers(
    answers: Mapping[str, list[Said]],
    adjudications: Mapping[str, str],
    checks: Mapping[str, list[bool]],
    level: float = 0.95,
) -> tuple[Reviewer, ...]:
    """Each reviewer beside the others, by name.

    Args:
        answers: independent ones, by event.
        adjudications: what a lead said of events on which they differ.
        checks: for each reviewer, whether they were right on each golden item.
        level: of the intervals.
    """
    said: dict[str, list[Said]] = defaultdict(list)
    pairs: dict[str, list[bool]] = defaultdict(list)
    judged: dict[str, list[bool]] = defaultdict(list)
    shared: Counter[str] = Counter()
    for event_id, given in answers.items():
        for one in given:
            said[one.reviewer].append(one)
            others = [other for other in given if other.reviewer != one.reviewer]
            shared[one.reviewer] += bool(others)
            pairs[one.reviewer] += [one.label == other.label for other in others]
            if event_id in adjudications:
                judged[one.reviewer].append(one.label == adjudications[event_id])
    return tuple(
        Reviewer(
            name=name,
            answers=len(said[name]),
            shared=shared[name],
            agreeing=share(pairs[name], level),
            adjudicated=len(judged[name]),
            upheld=share(judged[name], level),
            checked=len(checks.get(name, ())),
            right=share(checks.get(name, []), level),
            cannot_tell=sum(each.label == CANNOT_TELL for each in said[name]) / max(1, len(said[name])),
            median_s=float(np.median([each.seconds for each in said[name]] or [0.0])),
        )
        for name in sorted(said.keys() | checks.keys())
    )


def share(hits: list[bool], level: float = 0.95) -> Interval | None:
    """The share of hits with the interval of Clopper and Pearson; None of nothing."""
    n, k = len(hits), sum(hits)
    if not n:
        return None
    tail = (1 - level) / 2
    low = 0.0 if k == 0 else float(stats.beta.ppf(tail, k, n - k + 1))
    high = 1.0 if k == n else float(stats.beta.isf(tail, k + 1, n - k))
    return Interval(k / n, low, high)
