"""The figures of readings, for many weightings of the same readings at once: the maths of this room, without I/O.

Definitions are those of `calibration.metrics.statistics`. What is added is the accuracy, in which an answer that cannot
be read is an error like any other, F1, and truths that are probabilities: where an answer is right with probability r,
it counts as r of a right one and 1 - r of a wrong one, which gives the expectation of every figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.metrics.statistics import ranked, statistics
from calibration.table import Bools, Floats
from training.evaluation.readings import ItemReading
from worker.reading.taxonomy import Taxonomy

NO_ANSWER = 1.0
"""The confidence of an answer that cannot be read, in ECE, Brier score and AUROC: it counts as wrong, and as said with
full confidence. So no wrong answer weighs more in Brier score and AUROC, and not to answer never pays: at 0 it would
earn a perfect Brier score, at .5 be ranked better than many a wrong answer. In AURC it is ranked last, and in coverage
it never passes: in service it goes to a person."""
SIGNALS = ("verbal", "label")
"""The confidence that the model wrote, and the probability of its label's token among the labels."""
OF_SIGNAL = ("ece", "smooth_ece", "brier", "brier_skill", "auroc")
RESAMPLES = 1000
_CHUNK = 2_000_000
"""Masses that are held in memory at a time."""


@dataclass(frozen=True)
class Judged:
    """n readings whose truth is known."""

    labels: tuple[str, ...]
    truth: Floats
    """(n, n_labels): the probability of each label: 0 or 1, unless only their distribution is known."""
    said: NDArray[np.intp]
    """(n,) the label that the model gave; -1 where its answer cannot be read."""
    verbal: Floats
    """(n,) the confidence it wrote; nan where there is none."""
    label: Floats
    """(n,) the probability of its label's token; nan where the engine cannot tell."""

    @classmethod
    def of(
        cls, readings: Iterable[ItemReading], taxonomies: Mapping[str, Taxonomy], *, expected: bool = False
    ) -> Judged:
        """Columns of readings; with `expected`, against the true probabilities where they are known.

        Labels of one name count as one label, whatever taxonomy they come from: as in the published figures.
        """
        rows = list(readings)
        names = dict.fromkeys(label for row in rows for label in taxonomies[row.taxonomy].labels)
        places = {label: place for place, label in enumerate(names)}
        truth = np.zeros((len(rows), len(places)))
        for number, row in enumerate(rows):
            if expected and row.probabilities is not None:
                truth[number, [places[label] for label in taxonomies[row.taxonomy].labels]] = row.probabilities
            else:
                truth[number, places[row.truth]] = 1.0
        return cls(
            labels=tuple(places),
            truth=truth,
            said=np.array([-1 if row.label is None else places[row.label] for row in rows], np.intp),
            verbal=np.array([row.signals.verbal_confidence for row in rows], np.float64),  # None becomes nan
            label=np.array([row.signals.label_probability for row in rows], np.float64),
        )

    def __len__(self) -> int:
        return len(self.said)

    @property
    def parsed(self) -> Bools:
        """(n,) whether the answer can be read."""
        return self.said >= 0

    @property
    def right(self) -> Floats:
        """(n,) the probability that the answer is right; 0 where it cannot be read."""
        right: Floats = np.where(self.parsed, self.truth[np.arange(len(self)), self.said], 0.0)
        return right

    def score(self, signal: str) -> Floats:
        """(n,) one of SIGNALS; nan where there is none."""
        return self.verbal if signal == "verbal" else self.label


def figures(judged: Judged, mass: Floats) -> dict[str, Floats]:
    """Every figure for b weightings of n readings; nan is what is not defined.

    Args:
        judged: n readings.
        mass: (b, n), not negative: ones give the figure itself, counts of draws a bootstrap resample.

    Returns:
        By name, each (b,): accuracy, f1_weighted, f1_macro, parse_failures; and for each signal, as `verbal.ece`: ece,
        smooth_ece, brier, brier_skill, auroc, aurc, coverage_at.0.01 and so on. Readings that parse but lack a signal
        are left out of that signal's figures.
    """
    right, parsed = judged.right, judged.parsed
    with np.errstate(divide="ignore", invalid="ignore"):
        total = mass.sum(axis=1)
        found = {"accuracy": mass @ right / total, "parse_failures": mass @ ~parsed / total} | _f1(judged, mass)
    for signal in SIGNALS:
        score = judged.score(signal)
        rows = np.flatnonzero(~(parsed & np.isnan(score)))
        of_signal = _of_signal(score[rows], right[rows], parsed[rows], mass[:, rows])
        found |= {f"{signal}.{name}": values for name, values in of_signal.items()}
    return found


def resampled(judged: Judged, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Floats]:
    """Every figure of b bootstrap resamples, each (b,): a resample draws each reading Poisson(1) times.

    The same number of readings and the same seed give the same resamples, whoever read them: differences are paired.
    """
    rng = np.random.default_rng(seed)
    parts = [
        figures(judged, rng.poisson(1.0, (count, len(judged))).astype(np.float64))
        for count in _chunks(resamples, len(judged))
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def values(judged: Judged) -> dict[str, float]:
    """Every figure itself; nan where it is not defined."""
    return {name: float(found[0]) for name, found in figures(judged, np.ones((1, len(judged)))).items()}


def _f1(judged: Judged, mass: Floats) -> dict[str, Floats]:
    """F1 as scikit-learn has it over the labels that occur: weighted by how often they do, and as a plain mean."""
    said = np.zeros_like(judged.truth)
    parsed = np.flatnonzero(judged.parsed)
    said[parsed, judged.said[parsed]] = 1.0
    support, given, hits = mass @ judged.truth, mass @ said, mass @ (judged.truth * said)
    f1 = np.where(support > 0.0, 2.0 * hits / (support + given), 0.0)
    return {
        "f1_weighted": (f1 * support).sum(axis=1) / support.sum(axis=1),
        "f1_macro": f1.sum(axis=1) / (support > 0.0).sum(axis=1),
    }


def _of_signal(score: Floats, right: Floats, parsed: Bools, mass: Floats) -> dict[str, Floats]:
    whole = _statistics(np.where(parsed, score, NO_ANSWER), right, mass)
    found = {name: whole[name] for name in OF_SIGNAL}
    ranking = passing = whole
    if not parsed.all():
        ranking = _statistics(np.where(parsed, score, 0.0), right, mass)
        passing = _statistics(score[parsed], right[parsed], mass[:, parsed], mass[:, ~parsed].sum(axis=1))
    found["aurc"] = ranking["aurc"]
    return found | {name: passed for name, passed in passing.items() if name.startswith("coverage_at")}


def _statistics(score: Floats, right: Floats, mass: Floats, unread: Floats | None = None) -> dict[str, Floats]:
    """`calibration.metrics.statistics` of answers that are right with a probability."""
    index, correct, share = parts(right)
    order = np.argsort(-score[index], kind="stable")
    index, correct, share = index[order], correct[order], share[order]
    readings = ranked(score[index], correct)
    return statistics(readings, mass[:, index] * share, np.zeros(len(mass)) if unread is None else unread)


def parts(right: Floats) -> tuple[NDArray[np.intp], Bools, Floats]:
    """Answers that are right with a probability, as right ones and wrong ones with shares: (index, correct, share)."""
    rights, wrongs = np.flatnonzero(right > 0.0), np.flatnonzero(right < 1.0)
    index = np.concatenate([rights, wrongs])
    correct = np.arange(len(index)) < len(rights)
    return index, correct, np.where(correct, right[index], 1.0 - right[index])


def _chunks(resamples: int, columns: int) -> Iterator[int]:
    size = max(1, _CHUNK // max(1, columns, 1024))
    for start in range(0, resamples, size):
        yield min(size, resamples - start)
