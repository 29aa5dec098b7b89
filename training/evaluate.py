"""How good a model is on fresh scenes, measured against the truth rather than against drawn labels.

A scene's label probabilities are known, so that an answer is right with a known probability. Every number here is the
expectation over the labels that might have been drawn: the same as on drawn labels in the mean, with less noise.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset

from training.data import Example, batches
from training.dialogue import Dialogue
from training.scenes import bayes_accuracy, best_brier_skill
from worker.engine.protocol import Finish
from worker.reading.response import Parsed, parse_response

if TYPE_CHECKING:
    from transformers import Qwen2_5_VLForConditionalGeneration

Floats = NDArray[np.float64]
BINS = 10
NO_ANSWER = 0.5
"""The confidence of an answer that cannot be read, which counts as wrong."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What a model said of n scenes."""

    truth: Floats
    """(n, n_labels): true label probabilities."""
    right: Floats
    """(n,): probability that the answer is right; 0 where it could not be read."""
    verbal: Floats
    """(n,): the confidence that the model said."""
    label: Floats
    """(n,): the probability of the label's token among the labels."""
    parsed: NDArray[np.bool_]
    tokens: NDArray[np.int64]
    """(n,): length of each answer, its end included."""


def answer(
    model: Qwen2_5_VLForConditionalGeneration, dialogue: Dialogue, examples: Dataset[Example], batch: int = 100
) -> Answers:
    """Greedy answers to all examples, through transformers and the worker's own parser."""
    right: list[float] = []
    verbal: list[float] = []
    label: list[float] = []
    lengths: list[int] = []
    parsed: list[bool] = []
    truth: list[Floats] = []
    for group in batches(examples, batch):
        said, logits = dialogue.generate(model, [example.image for example in group])
        beliefs = dialogue.label_probabilities(logits, dialogue.label_places(said))
        ended = (said == dialogue.end_id).any(dim=1).tolist()
        for example, text, stop, belief in zip(group, dialogue.text(said), ended, beliefs.tolist(), strict=True):
            response = parse_response(text, Finish.STOP if stop else Finish.LENGTH, dialogue.taxonomy)
            place = dialogue.taxonomy.labels.index(response.label) if isinstance(response, Parsed) else None
            parsed.append(isinstance(response, Parsed))
            right.append(0.0 if place is None else float(example.probabilities[place]))
            label.append(NO_ANSWER if place is None else belief[place])
            verbal.append(response.confidence if isinstance(response, Parsed) else NO_ANSWER)
            truth.append(example.probabilities)
        lengths += (said != dialogue.pad_id).sum(dim=1).tolist()
    return Answers(
        np.array(truth), np.array(right), np.array(verbal), np.array(label), np.array(parsed), np.array(lengths)
    )


def summary(answers: Answers, resamples: int = 1000, seed: int = 0) -> dict[str, float | list[float]]:
    """The metrics, with 95 % bootstrap intervals over scenes (`*_interval`) of those that a reader will compare."""
    right, n = answers.right, len(answers.right)
    rng = np.random.default_rng(seed)
    draws = [rng.integers(0, n, n) for _ in range(resamples)]

    def interval(metric: Callable[[Floats, Floats], float], confidence: Floats) -> list[float]:
        low, high = np.quantile([metric(confidence[draw], right[draw]) for draw in draws], (0.025, 0.975))
        return [round(float(low), 4), round(float(high), 4)]

    found: dict[str, float | list[float]] = {
        "scenes": n,
        "accuracy": right.mean(),
        "accuracy_interval": interval(lambda _, drawn: float(drawn.mean()), right),
        "best_accuracy": bayes_accuracy(answers.truth),
        "parse_failures": int((~answers.parsed).sum()),
        "best_brier_skill": best_brier_skill(answers.truth),
        "distinct_confidences": len(np.unique(answers.verbal)),
        "answer_tokens": answers.tokens.mean(),
    }
    for prefix, confidence in (("", answers.verbal), ("label_", answers.label)):
        found[f"{prefix}ece"] = expected_calibration_error(confidence, right)
        found[f"{prefix}brier"] = brier(confidence, right)
        found[f"{prefix}brier_skill"] = brier_skill(confidence, right)
        found[f"{prefix}brier_skill_interval"] = interval(brier_skill, confidence)
        found[f"{prefix}auroc"] = auroc(confidence, right)
    return {name: value if isinstance(value, int | list) else round(float(value), 4) for name, value in found.items()}


def expected_calibration_error(confidence: Floats, right: Floats) -> float:
    """Mean distance of confidence and accuracy over BINS equal bins, weighted by their size (Guo et al. 2017)."""
    places = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    return float(np.abs(np.bincount(places, confidence - right, BINS)).sum() / len(right))


def brier(confidence: Floats, right: Floats) -> float:
    """Mean squared error of the confidence as a forecast of being right."""
    return float((right * (1 - confidence) ** 2 + (1 - right) * confidence**2).mean())


def brier_skill(confidence: Floats, right: Floats) -> float:
    """1 for perfect foresight, 0 for always saying the accuracy."""
    accuracy = right.mean()
    return 1 - brier(confidence, right) / float(accuracy * (1 - accuracy))


def auroc(confidence: Floats, right: Floats) -> float:
    """Probability that a right answer is said with more confidence than a wrong one; ties count half."""
    _, places = np.unique(confidence, return_inverse=True)
    rights, wrongs = np.bincount(places, right), np.bincount(places, 1 - right)
    below = np.cumsum(wrongs) - wrongs
    return float((rights * (below + wrongs / 2)).sum() / (rights.sum() * wrongs.sum()))
