"""VECBench, per task, pooled and as a macro mean, with bootstrap intervals and without the published defects.

What cannot be read is an error in accuracy and F1 and is never left out of a calibration figure (`figures.NO_ANSWER`).
The published accuracies are macro means, the other published figures pooled: here each is reported both ways.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.contract import Contract
from calibration.metrics.bootstrap import chance_errors, drawable, interval
from calibration.metrics.contracts import Count, Figure
from calibration.metrics.statistics import ranked
from calibration.table import Floats
from training.evaluation.figures import NO_ANSWER, RESAMPLES, SIGNALS, Judged, resampled, values
from training.evaluation.published import published
from training.evaluation.readings import ItemReading
from worker.reading.taxonomy import Taxonomy

_COVERAGE = "coverage_at."
_CALIBRATION_ERRORS = ("ece", "smooth_ece")


class SignalFigures(Contract):
    """How good one signal is as a confidence. Definitions: `training.evaluation.figures`."""

    n: Count
    """Readings it is judged on: all but those that parse and lack it."""
    ece: Figure
    """10 bins of equal width, the last one closed."""
    smooth_ece: Figure
    brier: Figure
    brier_skill: Figure
    """Against always saying the accuracy."""
    auroc: Figure
    aurc: Figure
    """Mean error over all coverages."""
    coverage_at: dict[str, Figure]
    """By error: the largest share that could pass with no more than that among it, as observed."""


class TaskFigures(Contract):
    """Figures of some readings, each with a 95 % bootstrap interval."""

    n: Count
    parse_failures: Count
    """Answers that cannot be read: each counts as an error."""
    accuracy: Figure
    f1_weighted: Figure
    """Over the labels that occur, weighted by how often they do: the published one."""
    f1_macro: Figure
    """The plain mean over the labels that occur."""
    verbal: SignalFigures
    """Of the confidence that the model wrote."""
    label: SignalFigures | None
    """Of the probability of its label's token; None where the engine gives none."""


class GroupFigures(Contract):
    """Several tasks together."""

    tasks: tuple[str, ...]
    pooled: TaskFigures
    """Of all their readings: large tasks count for more."""
    macro: TaskFigures
    """Means over the tasks in which a figure is defined: each task counts the same."""


class VecbenchResult(Contract):
    """The whole protocol."""

    tasks: dict[str, TaskFigures]
    """By taxonomy."""
    groups: dict[str, GroupFigures]
    """The published groups, as far as there are readings of their tasks."""
    overall: GroupFigures


@dataclass(frozen=True)
class _Measured:
    """Figures before they are a document: nan is what is not defined."""

    n: int
    parse_failures: int
    judged_on: Mapping[str, int]
    """By signal."""
    values: Mapping[str, float]
    samples: Mapping[str, Floats]
    """Of each figure, (resamples,)."""
    chance: Mapping[str, Floats]
    """Of the calibration errors, were the confidences true; likewise."""


def vecbench_result(
    readings: Sequence[ItemReading], taxonomies: Mapping[str, Taxonomy], *, resamples: int = RESAMPLES, seed: int = 0
) -> VecbenchResult:
    """Figures of readings by task (their taxonomy) and by published group.

    Raises:
        ValueError: there are none.
    """
    if not readings:
        raise ValueError("no readings: there is nothing to evaluate")
    names = list(dict.fromkeys(reading.taxonomy for reading in readings))
    known = published()
    order = [name for group in known.groups.values() for name in group.tasks]
    names.sort(key=lambda name: (order.index(name) if name in order else len(order), name))
    tasks: dict[str, _Measured] = {}

    def measured(of: Sequence[str], number: int) -> _Measured:
        rows = [reading for reading in readings if reading.taxonomy in of]
        return _measure(rows, taxonomies, resamples, seed + number)

    for number, name in enumerate(names, 1):
        tasks[name] = measured([name], number)

    def group(of: Sequence[str], number: int) -> GroupFigures:
        pooled = tasks[of[0]] if len(of) == 1 else measured(of, number)
        macro = _mean([tasks[name] for name in of])
        return GroupFigures(tasks=tuple(of), pooled=_document(pooled), macro=_document(macro))

    groups = {}
    for number, (title, members) in enumerate(known.groups.items(), len(names) + 1):
        if present := [name for name in members.tasks if name in tasks]:
            groups[title] = group(present, number)
    return VecbenchResult(
        tasks={name: _document(found) for name, found in tasks.items()},
        groups=groups,
        overall=group(names, 0),
    )


def _measure(
    readings: Sequence[ItemReading], taxonomies: Mapping[str, Taxonomy], resamples: int, seed: int
) -> _Measured:
    judged = Judged.of(readings, taxonomies)
    chance: dict[str, Floats] = {}
    judged_on = {}
    for signal in SIGNALS:
        score = np.where(judged.parsed, judged.score(signal), NO_ANSWER)
        rows = np.flatnonzero(~np.isnan(score))
        rows = rows[np.argsort(-score[rows], kind="stable")]
        judged_on[signal] = len(rows)
        if len(rows):
            source = drawable(ranked(score[rows], judged.right[rows] > 0.0), np.ones(len(rows)), np.zeros(0))
            found = chance_errors(source, resamples, seed)
            chance |= {f"{signal}.{name}": found[name] for name in _CALIBRATION_ERRORS}
    return _Measured(
        n=len(judged),
        parse_failures=int((~judged.parsed).sum()),
        judged_on=judged_on,
        values=values(judged),
        samples=resampled(judged, resamples, seed),
        chance=chance,
    )


def _mean(measured: Sequence[_Measured]) -> _Measured:
    """Each figure's mean over the tasks that define it, and the same of every resample."""
    found: dict[str, float] = {}
    samples: dict[str, Floats] = {}
    chance: dict[str, Floats] = {}
    for name in measured[0].values:
        defined = [each for each in measured if not np.isnan(each.values[name])]
        found[name] = float(np.mean([each.values[name] for each in defined])) if defined else np.nan
        if defined:
            samples[name] = np.mean([each.samples[name] for each in defined], axis=0)  # nan where any is not defined
        if defined and all(name in each.chance for each in defined):
            chance[name] = np.mean([each.chance[name] for each in defined], axis=0)
    return _Measured(
        n=sum(each.n for each in measured),
        parse_failures=sum(each.parse_failures for each in measured),
        judged_on={signal: sum(each.judged_on[signal] for each in measured) for signal in SIGNALS},
        values=found,
        samples=samples,
        chance=chance,
    )


def _document(measured: _Measured) -> TaskFigures:
    of = {name: _figure(measured, name) for name in measured.values}
    signals: dict[str, SignalFigures | None] = {}
    for signal in SIGNALS:
        own = {name.removeprefix(f"{signal}."): figure for name, figure in of.items() if name.startswith(f"{signal}.")}
        coverage = {name.removeprefix(_COVERAGE): own.pop(name) for name in list(own) if name.startswith(_COVERAGE)}
        signals[signal] = SignalFigures(n=measured.judged_on[signal], coverage_at=coverage, **own)
    label = signals["label"]
    known = label is not None and label.n > measured.parse_failures
    return TaskFigures(
        n=measured.n,
        parse_failures=measured.parse_failures,
        accuracy=of["accuracy"],
        f1_weighted=of["f1_weighted"],
        f1_macro=of["f1_macro"],
        verbal=signals["verbal"],
        label=label if known else None,
    )


def _figure(measured: _Measured, name: str) -> Figure:
    value = measured.values[name]
    if np.isnan(value):
        return Figure(value=None)
    bare = name.partition(".")[2] or name
    ends = interval(bare, value, measured.samples[name], measured.chance.get(name))
    return Figure(value=value) if ends is None else Figure(value=value, low=ends[0], high=ends[1])
