"""How good a model is on fresh scenes, measured against the truth rather than against drawn labels.

A scene's label probabilities are known, so that an answer is right with a known probability. Every number here is the
expectation over the labels that might have been drawn: the same as on drawn labels in the mean, with less noise.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.evaluation.figures import NO_ANSWER, Judged
from training.evaluation.readings import EvaluationError, ItemReading
from training.scenes import bayes_accuracy, best_brier_skill
from worker.reading.taxonomy import Taxonomy

__all__ = [
    "NO_ANSWER",
    "Answers",
    "auroc",
    "brier",
    "brier_skill",
    "expected_calibration_error",
    "from_readings",
    "summary",
]

Floats = NDArray[np.float64]
BINS = 10


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of n scenes."""

    truth: Floats
    """(n, n_labels): true label probabilities."""
    right: Floats
    """(n,): probability that the answer is right; 0 where it could not be read."""
    verbal: Floats
    """(n,): the confidence that the model said; NO_ANSWER where it could not be read."""
    label: Floats
    """(n,): the probability of the label's token among the labels; NO_ANSWER where it could not be read, nan where the
    engine cannot tell."""
    parsed: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    """(n,): length of each answer, its end included."""


def from_readings(readings: Sequence[ItemReading], taxonomy: Taxonomy) -> Answers:
    """What an engine's readings of scenes amount to.

    Raises:
        EvaluationError: the true probabilities of a reading's item are not known.
    """
    if unknown := [reading.item_id for reading in readings if reading.probabilities is None]:
        raise EvaluationError(f"{unknown[0]} has no true probabilities: only drawn scenes do")
    judged = Judged.of(readings, {taxonomy.name: taxonomy}, expected=True)
    return Answers(
        truth=judged.truth,
        right=judged.right,
        verbal=np.where(judged.parsed, judged.verbal, NO_ANSWER),
        label=np.where(judged.parsed, judged.label, NO_ANSWER),
        parsed=judged.parsed,
        tokens=np.array([reading.output_tokens for reading in readings], np.int64),
    )


def summary(answers: Answers, resamples: int = 1000, seed: int = 0) -> dict[str, float | list[float]]:
    """The metrics, with 95 % bootstrap intervals over scenes (`*_interval`) of those that a reader will compare.

    nan is what is not defined, as the AUROC of a model that is never right. What is said of the label's probability
    (`label_*`) is of the answers that have one; if none has, it is left out.
    """
    right, n = answers.right, len(answers.right)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, n, n) for _ in range(resamples)]

    def interval(metric: Callable[[Floats, Floats], float], confidence: Floats) -> list[float]:
        known = ~np.isnan(confidence)
        drawn = [draw[known[draw]] for draw in draws]
        found = np.array([metric(confidence[draw], right[draw]) for draw in drawn if len(draw)])
        defined = found[~np.isnan(found)]
        low, high = np.quantile(defined, (0.025, 0.975)) if len(defined) else (np.nan, np.nan)
        return [round(float(low), 4), round(float(high), 4)]

    found: dict[str, float | list[float]] = {
        "scenes": n,
        "accuracy": right.mean(),
        "accuracy_interval": interval(lambda _, drawn: float(drawn.mean()), right),
        "best_accuracy": bayes_accuracy(answers.truth),
        "parse_failures": int((~answers.parsed).sum()),
        "best_brier_skill": best_brier_skill(answers.truth),
        "distinct_confidences": len(np.unique(answers.verbal[answers.parsed])),
        "answer_tokens": answers.tokens.mean(),
    }
    for prefix, confidence in (("", answers.verbal), ("label_", answers.label)):
        known = ~np.isnan(confidence)
        if not known.any():
            continue
        for name, metric in _METRICS.items():
            found[f"{prefix}{name}"] = metric(confidence[known], right[known])
        found[f"{prefix}brier_skill_interval"] = interval(brier_skill, confidence)
    return {name: value if isinstance(value, int | list) else round(float(value), 4) for name, value in found.items()}


def expected_calibration_error(confidence: Floats, right: Floats) -> float:
    """Mean distance of confidence and accuracy over BINS equal bins, weighted by their size (Guo et al. 2017)."""
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(places, confidence - right, BINS)).sum() / len(right))


def brier(confidence: Floats, right: Floats) -> float:
    """Mean squared error of the confidence as a forecast of being right."""
    return float((right * (1 - confidence) ** 2 + (1 - right) * confidence**2).mean())


def brier_skill(confidence: Floats, right: Floats) -> float:
    """1 for perfect foresight, 0 for always saying the accuracy; nan where all or none are right."""
    accuracy = float(right.mean())
    spread = accuracy * (1 - accuracy)
    return 1 - brier(confidence, right) / spread if spread > 0 else math.nan


def auroc(confidence: Floats, right: Floats) -> float:
    """Probability that a right answer is said with more confidence than a wrong one; ties count half.

    nan where all or none are right.
    """
    _, places = np.unique(confidence, return_inverse=True)
    rights, wrongs = np.bincount(places, right), np.bincount(places, 1 - right)
    below = np.cumsum(wrongs) - wrongs
    pairs = float(rights.sum() * wrongs.sum())
    return float((rights * (below + wrongs / 2)).sum()) / pairs if pairs > 0 else math.nan


_METRICS: Mapping[str, Callable[[Floats, Floats], float]] = {
    "ece": expected_calibration_error,
    "brier": brier,
    "brier_skill": brier_skill,
    "auroc": auroc,
}
