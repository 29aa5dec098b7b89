"""What stage 3 rewards: objectives for groups of K answers to the same question, on numpy arrays, for any trainer.

Three coupled objectives give every token of an answer the same advantage. The decoupled one (after DCPO, arXiv
2603.09117) judges the answer by its correctness alone and the confidence by a proper score alone, so that neither can
be bought with the other. Advantages are a difference to the group's mean and are never divided by its deviation: that
division makes forecasts of chance events overconfident (arXiv 2508.11800).

What can go wrong is in `honest_reward_is_monotone`. Let h(p) be what an answer that is right with probability p earns
at best, hence with its honest confidence. Where h falls, a worse answer earns more, and training looks for it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from calibration.outcome import Probability
from calibration.policy import Positive

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]

Clip = Annotated[float, Field(gt=0.0, lt=0.5)]


@dataclass(frozen=True, slots=True)
class Answers:
    """n groups of K answers; all arrays are (n, K), and a group shares one question and one truth.

    Raises:
        ValueError: fewer than two answers in a group, or arrays that contradict each other.
    """

    label: Ints
    """Its place in the label set; -1 where the answer names none of them."""
    correct: Bools
    confidence: Floats
    """0 to 1; nan where none could be read."""
    format_ok: Bools
    """Whether the answer keeps to the response format. Only then is its confidence scored."""
    belief: Floats | None = None
    """(n, K, labels): the model's probabilities of the labels where it named one, rows of nan where unknown; None where
    nobody looked. In the place of a label that was drawn from it, a belief says the same with far less noise."""

    def __post_init__(self) -> None:
        shapes = {self.label.shape, self.correct.shape, self.confidence.shape, self.format_ok.shape}
        if len(shapes) > 1 or self.label.ndim != 2:
            raise ValueError(f"every array of Answers is (groups, answers of a group), these are {sorted(shapes)}")
        if self.belief is not None and self.belief.shape[:2] != self.label.shape:
            raise ValueError(f"beliefs of {self.belief.shape[:2]} answers, and labels of {self.label.shape}")
        if self.label.shape[1] < 2:
            raise ValueError("a group of one answer has nothing to compare it with: sample at least 2 per question")
        for wrong, why in (
            (self.label < -1, "have a label below -1"),
            (self.correct & (self.label < 0), "are correct without a label"),
            ((self.confidence < 0) | (self.confidence > 1), "have a confidence outside of 0 to 1"),
            (self.format_ok & np.isnan(self.confidence), "are in format without a confidence"),
        ):
            if wrong.any():
                raise ValueError(f"{wrong.sum()} answers {why}, the first at {tuple(np.argwhere(wrong)[0].tolist())}")

    def others(self) -> Ints:
        """(n, K): how many other answers of the group are in format."""
        return np.asarray(self.format_ok.sum(axis=1, keepdims=True) - self.format_ok)

    def alike(self) -> Bools:
        """(n, K, K): whether the second is another answer than the first, in format, with the same label."""
        others = ~np.eye(self.label.shape[1], dtype=np.bool_)
        return np.asarray((self.label[:, :, None] == self.label[:, None, :]) & self.format_ok[:, None, :] & others)

    def agreement(self) -> Floats:
        """(n, K): the share of the others in format that have this label; nan where there are no others.

        Where their beliefs are known, the mean of those: its expectation is the same.

        Leaving the answer itself out matters: its own label is there by choice. Counted in, an answer that the model
        gives with probability q would seem to have (1 + (K-1)q)/K. An answer without a label agrees with none.
        """
        others = self.others()
        if self.belief is not None:
            return self._agreement_of_beliefs(self.belief)
        share = self.alike().sum(axis=2) * (self.label >= 0) / np.maximum(others, 1)
        return np.where(others > 0, share, np.nan)

    def _agreement_of_beliefs(self, belief: Floats) -> Floats:
        # (n, K, K): what the second answer believes of the first one's label.
        votes = np.take_along_axis(belief[:, None], np.maximum(self.label, 0)[:, :, None, None], axis=3)[..., 0]
        others = self.format_ok[:, None, :] & ~np.isnan(votes) & ~np.eye(self.label.shape[1], dtype=np.bool_)
        counted = others.sum(axis=2)
        share = np.where(others, votes, 0.0).sum(axis=2) * (self.label >= 0) / np.maximum(counted, 1)
        return np.where(counted > 0, share, np.nan)


@dataclass(frozen=True, slots=True)
class Advantages:
    """Both (n, K). Coupled objectives give the same for both."""

    answer: Floats
    """For all tokens up to and including `</answer>`."""
    confidence: Floats
    """For the tokens from `<confidence>` on."""


def brier_score(confidence: Floats, target: Floats) -> Floats:
    """Minus the expected squared error, -1 to 0, of an answer that is right with probability `target`.

    Between soft targets it differs from -(c-t)^2 by t(1-t) only, which no confidence can change.
    """
    return -target * (1 - confidence) ** 2 - (1 - target) * confidence**2


def log_score(confidence: Floats, target: Floats, clip: float) -> Floats:
    """The expected log score, log(clip) to 0, of an answer that is right with probability `target`.

    Confidences beyond [clip, 1-clip] count as its ends.
    """
    said = np.clip(confidence, clip, 1 - clip)
    return np.asarray(target * np.log(said) + (1 - target) * np.log1p(-said))


class _Objective(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    honest_reward_is_monotone: ClassVar[bool] = True
    """Whether a better answer, with its honest confidence, never earns less than a worse one."""
    warning: ClassVar[str | None] = None
    """What people should read before they train with it."""


class _Coupled(_Objective, ABC):
    @abstractmethod
    def rewards(self, answers: Answers) -> Floats:
        """(n, K)."""

    def advantages(self, answers: Answers) -> Advantages:
        """The reward minus the mean of its group, for all tokens of an answer."""
        relative = _centred(self.rewards(answers))
        return Advantages(relative, relative)


class Brier(_Coupled):
    """R = i + weight * -(c-i)^2, with i = 1 for a correct answer (RLCR, arXiv 2507.16806, where weight = 1).

    h(p) = p - weight * p(1-p), whose slope 1 - weight * (1-2p) is nowhere negative if and only if weight <= 1.
    """

    objective: Literal["brier"] = "brier"
    weight: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    format_penalty: Positive = 1.0
    """What an answer out of format loses; it earns nothing."""

    def rewards(self, answers: Answers) -> Floats:
        """(n, K): -weight to 1, or -format_penalty."""
        correct = answers.correct.astype(np.float64)
        score = brier_score(_filled(answers), correct)
        return np.where(answers.format_ok, correct + self.weight * score, -self.format_penalty)


class LogClipped(_Coupled):
    """R = i + weight * log score, with confidences clipped to [clip, 1-clip].

    h has its least slope, 1 + weight * log(clip/(1-clip)), at the clip: hence the largest weight, which is the default.
    """

    objective: Literal["log_clipped"] = "log_clipped"
    clip: Clip = 0.01
    weight: Positive = Field(default_factory=lambda given: _largest_log_weight(given["clip"]))
    """At most 1/log((1-clip)/clip), .218 for a clip of .01."""
    format_penalty: Positive = 1.0
    """What an answer out of format loses; it earns nothing."""

    @model_validator(mode="after")
    def _honesty_pays(self) -> Self:
        most = _largest_log_weight(self.clip)
        if self.weight > most:
            raise ValueError(
                f"a weight of {self.weight:g} pays for answers that are surely wrong: with a clip of {self.clip:g} "
                f"it may be at most {most:.4g}"
            )
        return self

    def rewards(self, answers: Answers) -> Floats:
        """(n, K): weight * log(clip) to 1, or -format_penalty."""
        correct = answers.correct.astype(np.float64)
        score = log_score(_filled(answers), correct, self.clip)
        return np.where(answers.format_ok, correct + self.weight * score, -self.format_penalty)


class EmocaliberLog(_Coupled):
    """The reward of EmoCaliber's public code (arXiv 2512.15528), for comparison: 1 + i + 2 * log score, else -5.

    h(p) = 1 + p - 2H(p), H the entropy in nats, has the slope 1 + 2 log(p/(1-p)): negative up to p = 1/(1+sqrt(e)).
    `format_ok` has to mean what it means there: all tags are there, and the answer is one word, in the label set or
    not.
    """

    honest_reward_is_monotone: ClassVar[bool] = False
    warning: ClassVar[str | None] = (
        "emocaliber_log pays for wrong answers: what an honest answer earns falls until it is right with probability "
        ".378, and one that is surely wrong, with a confidence near 0, earns more than any honest one below .849. "
        "Accuracy can collapse while calibration looks perfect. Use it to compare with, and prefer `decoupled`."
    )

    objective: Literal["emocaliber_log"] = "emocaliber_log"

    def rewards(self, answers: Answers) -> Floats:
        """(n, K): below 2 without a bound, or -5."""
        usable = answers.format_ok & (answers.confidence > 0) & (answers.confidence < 1)
        said = np.where(usable, answers.confidence, 0.5)
        score = np.where(answers.correct, np.log(said), np.log1p(-said))
        return np.where(usable, 1 + answers.correct + 2 * score, -5.0)


class Decoupled(_Objective):
    """Answers are judged by correctness and format; confidences by a proper score and format.

    The confidence of an answer with label l is scored on t = w * correct + (1-w) * agreement, w = `target_weight`.
    E[correct | x, l] is what it should say, so w = 1 is proper whatever the model does. Agreement estimates how often
    the model itself says l: with w < 1 the best confidence is w * P(correct) + (1-w) * P(said again), the right one if
    and only if the model says labels as often as they are true. Stage 1 gets near that, but rewarding correctness moves
    away from it: the most probable label is said ever more often, up to always, and is not right any more often for it.
    So w = 1 is the default and a smaller one is for short runs, where the lower variance outweighs that. The share of
    correct answers in the group, DCPO's other half, is no substitute: its expectation is the same for all labels of a
    question, so that it pulls the confidences of likely and unlikely labels together.

    A confidence is compared with what the others of its group scored, above all those with the same label: they were
    judged on the same target, so that the luck of being right drops out. What the others said does not depend on this
    confidence, hence the baseline leaves the expected gradient as it is. All others together stand for one more answer,
    for labels that nobody else gave. (Scoring the confidences of *all* others on this answer's target removes the luck
    too, but holds a likely label against what was said of unlikely ones: up to 2.6 times the variance of the plain
    mean, where this has .65 to 1.)
    """

    objective: Literal["decoupled"] = "decoupled"
    score: Literal["brier", "log_clipped"] = "brier"
    clip: Clip = 0.01
    """For the log score alone."""
    target_weight: Probability = 1.0
    """Of correctness in the target; the rest is agreement."""
    confidence_weight: Positive = 1.0
    """Of the confidence's score."""
    answer_weight: Annotated[float, Field(ge=0.0)] = 1.0
    """Of correctness. 0 leaves answers as they are, but for their format: for a model that answers as well as it can,
    whose label probabilities would be sharpened for nothing."""
    format_penalty: Positive = 1.0
    """What an answer out of format loses."""

    def targets(self, answers: Answers) -> Floats:
        """(n, K): what each confidence is scored on; correctness alone where no other answer could agree."""
        correct = answers.correct.astype(np.float64)
        agreement = answers.agreement()
        belief = np.where(np.isnan(agreement), correct, agreement)
        return np.asarray(self.target_weight * correct + (1 - self.target_weight) * belief)

    def rewards(self, answers: Answers) -> Floats:
        """(n, K): all that an answer earns, for people to follow. Nothing is trained on this sum."""
        earned = self.answer_weight * answers.correct + self._format(answers)
        return earned + self.confidence_weight * self._scores(answers)

    def advantages(self, answers: Answers) -> Advantages:
        """Answer: correctness and format against the group's mean. Confidence: score and format.

        An answer out of format has no score and is in nobody's baseline.
        """
        form = self._format(answers)
        scored = self.confidence_weight * _against_alike(self._scores(answers), answers)
        return Advantages(_centred(self.answer_weight * answers.correct + form), scored + _centred(form))

    def _scores(self, answers: Answers) -> Floats:
        """0 where there is no score."""
        said, target = _filled(answers), self.targets(answers)
        score = brier_score(said, target) if self.score == "brier" else log_score(said, target, self.clip)
        return np.where(answers.format_ok, score, 0.0)

    def _format(self, answers: Answers) -> Floats:
        return np.where(answers.format_ok, 0.0, -self.format_penalty)


Objective: TypeAlias = Annotated[Decoupled | Brier | LogClipped | EmocaliberLog, Field(discriminator="objective")]
"""Chosen in a configuration by the name in its field `objective`."""


def _largest_log_weight(clip: float) -> float:
    return 1 / math.log((1 - clip) / clip)


def _filled(answers: Answers) -> Floats:
    """Confidences, with a number that nobody reads where there is none."""
    return np.where(np.isnan(answers.confidence), 0.5, answers.confidence)


def _centred(values: Floats) -> Floats:
    return np.asarray(values - values.mean(axis=1, keepdims=True))


def _against_alike(scores: Floats, answers: Answers) -> Floats:
    """Minus the mean over the others with the same label and, as one more of them, the mean over all others.

    Only answers in format count; 0 for those out of it, and where there are no others.
    """
    alike, others = answers.alike(), answers.others()
    all_others = (scores.sum(axis=1, keepdims=True) - scores) / np.maximum(others, 1)
    baseline = (np.einsum("nij,nj->ni", alike, scores) + all_others) / (alike.sum(axis=2) + 1)
    return np.where(answers.format_ok & (others > 0), scores - baseline, 0.0)
