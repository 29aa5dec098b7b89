"""Whether one model may replace another: both have read the same items, and every difference is paired. Pure.

Resamples draw items, the same for both models. Required are accuracy, AURC and answers that can be read. A clear loss
of coverage, or of accuracy in one taxonomy of several, forbids; that there is none need not be shown.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from calibration.contract import Contract
from calibration.metrics.contracts import Count
from calibration.outcome import Reader
from calibration.table import Floats
from training.evaluation.criteria import FEW_ITEMS, Criterion, Verdict, criterion, verdict_of
from training.evaluation.figures import RESAMPLES, Judged, resampled, values
from training.evaluation.readings import EvaluationError, ItemReading, Setup

Signal = Literal["verbal", "label"]

LEVEL = 0.95
_LOWER_IS_BETTER = ("parse_failures", "ece", "smooth_ece", "brier", "aurc")
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Margins:
    """By how much B may be worse; all are shares of 1."""

    accuracy: float = 0.01
    aurc: float = 0.01
    coverage: float = 0.05
    """At 10 % error; only what is clearly lost counts, since an observed coverage hangs on a few errors."""
    parse_failures: float = 0.01


@dataclass(frozen=True, slots=True)
class Evaluated:
    """A model's readings, and who it is."""

    name: str
    setup: Setup
    readings: Sequence[ItemReading]


class Difference(Contract):
    """One figure of both models; the difference is B minus A, with its 95 % paired-bootstrap interval."""

    a: float | None
    b: float | None
    difference: float | None
    low: float | None
    high: float | None


class Comparison(Contract):
    """The answer: may B replace A?"""

    verdict: Verdict
    reasons: tuple[str, ...]
    n: Count
    a: str
    b: str
    reader_a: Reader
    reader_b: Reader
    voids_certificate: bool
    """Another model, prompt or decoder: the gate begins in shadow again, whatever the verdict."""
    signal: Signal
    """The confidence that is judged by."""
    criteria: tuple[Criterion, ...]
    differences: dict[str, Difference]
    taxonomies: dict[str, Difference]
    """Of the accuracy in each; with several, their intervals are joint (Bonferroni)."""
    more_items: Count | None = None
    """About how many would settle the verdict, where it is undecided and that can be said."""


def compare(
    a: Evaluated,
    b: Evaluated,
    margins: Margins | None = None,
    *,
    signal: Signal | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Compare the readings of two models. Where true probabilities are known, figures are expectations over them.

    Args:
        a: the model in use.
        b: the one that may replace it.
        margins: what is allowed.
        signal: the confidence to judge by; None: the label's probability where both engines give it, else the verbal.
        resamples: of the bootstrap.
        seed: of the resamples.

    Raises:
        EvaluationError: they have not read the same items in the same way, or none.
    """
    margins = margins or Margins()
    first, second = _paired(a, b)
    taxonomies = a.setup.taxonomies
    judged = {"a": Judged.of(first, taxonomies, expected=True), "b": Judged.of(second, taxonomies, expected=True)}
    signal = signal or _signal(judged.values())
    at = {side: values(of) for side, of in judged.items()}
    samples = {side: resampled(of, resamples, seed) for side, of in judged.items()}
    differences = {
        name: _difference(at["a"][name], at["b"][name], samples["b"][name] - samples["a"][name], LEVEL)
        for name in at["a"]
    }
    counts = Counter(reading.taxonomy for reading in first)
    by_taxonomy = _by_taxonomy(first, judged, resamples, seed)
    n = len(first)
    criteria = [
        _criterion("accuracy", differences["accuracy"], margins.accuracy, n),
        _criterion(f"{signal}.aurc", differences[f"{signal}.aurc"], margins.aurc, n),
        _parse_failures(judged["a"], judged["b"], margins.parse_failures),
        _criterion(f"{signal}.coverage_at.0.1", differences[f"{signal}.coverage_at.0.1"], margins.coverage, n, False),
    ]
    if len(by_taxonomy) > 1:
        criteria += [
            _criterion(f"accuracy in {name}", found, margins.accuracy, counts[name], False)
            for name, found in by_taxonomy.items()
            if counts[name] >= FEW_ITEMS
        ]
    verdict, reasons, more = verdict_of(criteria, n)
    parts = "model", "prompt", "decoder"
    changed = [part for part in parts if getattr(a.setup.reader, part) != getattr(b.setup.reader, part)]
    if changed:
        reasons.append(
            f"Another {' and '.join(changed)}: certificates of A do not hold for B, so the gate begins in shadow again "
            "and everything goes to people until a new certificate is earned."
        )
    return Comparison(
        verdict=verdict,
        reasons=tuple(reasons),
        n=n,
        a=a.name,
        b=b.name,
        reader_a=a.setup.reader,
        reader_b=b.setup.reader,
        voids_certificate=bool(changed),
        signal=signal,
        criteria=tuple(criteria),
        differences=differences,
        taxonomies=by_taxonomy,
        more_items=more,
    )


def _paired(a: Evaluated, b: Evaluated) -> tuple[list[ItemReading], list[ItemReading]]:
    """The readings of both, item by item."""
    apart = a.setup.differences(b.setup, ignoring=("model", "decoder"))  # that is what is compared
    if apart:
        raise EvaluationError(f"{a.name} and {b.name} were asked differently: {'; '.join(apart)}; evaluate both alike")
    first = {reading.item_id: reading for reading in a.readings}
    second = {reading.item_id: reading for reading in b.readings}
    if alone := sorted(first.keys() ^ second.keys()):
        named = ", ".join(f"{item} (only {a.name if item in first else b.name})" for item in alone[:_LISTED])
        raise EvaluationError(
            f"{a.name} and {b.name} have not read the same items: {len(alone):,} were read by one alone, as {named}; "
            "evaluate both on the same"
        )
    if not first:
        raise EvaluationError(f"{a.name} and {b.name} have read nothing: there is nothing to compare")
    names = sorted(first)
    for name in names:
        mine, theirs = first[name], second[name]
        if (mine.content, mine.taxonomy, mine.truth) != (theirs.content, theirs.taxonomy, theirs.truth):
            raise EvaluationError(
                f"{name} is not the same item in {a.name} and {b.name}: evaluate both on the same data"
            )
    return [first[name] for name in names], [second[name] for name in names]


def _signal(judged: Iterable[Judged]) -> Signal:
    known = all(not np.isnan(of.label[of.parsed]).any() and of.parsed.any() for of in judged)
    return "label" if known else "verbal"


def _by_taxonomy(
    readings: Sequence[ItemReading], judged: Mapping[str, Judged], resamples: int, seed: int
) -> dict[str, Difference]:
    names = sorted({reading.taxonomy for reading in readings})
    member = np.array([[reading.taxonomy == name for reading in readings] for name in names])
    gain = judged["b"].right - judged["a"].right
    rng = np.random.default_rng((seed, 1))
    level = 1.0 - (1.0 - LEVEL) / len(names)
    found = {}
    for name, rows in zip(names, member, strict=True):
        own = gain[rows]
        mass = rng.poisson(1.0, (resamples, len(own)))
        with np.errstate(invalid="ignore"):
            samples = mass @ own / mass.sum(axis=1)
        before, after = (float(judged[side].right[rows].mean()) for side in ("a", "b"))
        found[name] = _difference(before, after, samples, level)
    return found


def _difference(a: float, b: float, samples: Floats, level: float) -> Difference:
    value = b - a
    known = samples[~np.isnan(samples)]
    if math.isnan(value) or 2 * len(known) < len(samples):
        return Difference(a=_number(a), b=_number(b), difference=_number(value), low=None, high=None)
    low, high = np.quantile(known, [(1.0 - level) / 2.0, (1.0 + level) / 2.0])
    return Difference(a=a, b=b, difference=value, low=min(float(low), value), high=max(float(high), value))


def _criterion(name: str, of: Difference, margin: float, n: int, required: bool = True) -> Criterion:
    if of.difference is None or of.low is None or of.high is None:
        return Criterion(name=name, required=required, gain=None, low=None, high=None, margin=margin, state="open")
    if name.rpartition(".")[2] in _LOWER_IS_BETTER:
        return criterion(name, -of.difference, -of.high, -of.low, margin, n, required)
    return criterion(name, of.difference, of.low, of.high, margin, n, required)


def _parse_failures(a: Judged, b: Judged, margin: float) -> Criterion:
    """Rare, so that resamples may hold none: exact intervals (Clopper-Pearson) of what only one of both failed at."""
    n = len(a)
    only_a, only_b = int((~a.parsed & b.parsed).sum()), int((a.parsed & ~b.parsed).sum())
    (a_low, a_high), (b_low, b_high) = _clopper_pearson(only_a, n), _clopper_pearson(only_b, n)
    return criterion("parse_failures", (only_a - only_b) / n, a_low - b_high, a_high - b_low, margin, n, True)


def _clopper_pearson(hits: int, n: int) -> tuple[float, float]:
    tail = (1.0 - LEVEL) / 2.0
    low = 0.0 if hits == 0 else float(stats.beta.ppf(tail, hits, n - hits + 1))
    return low, 1.0 if hits == n else float(stats.beta.isf(tail, hits + 1, n - hits))


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value
