"""What stage 2 teaches: the confidence that each of a model's own answers should have come with. Pure, on numpy arrays.

The model answers every question K times. Column 0 is the answer as it will be served (greedy, say); the others are
drawn from the model at temperature 1, so that their labels, and its beliefs at them, are samples of what it thinks.

What a model will say when it decodes greedily depends on the loss as much as on the target. A cross-entropy towards
`spread` learns the *distribution* of targets, and greedy decoding says its mode. With correctness in the target that
distribution has two modes, `weight` apart, and where answers are right more often than not the upper one wins: the
model says .95 where .8 is true. So cross-entropy wants a `weight` well below twice the width of the spread, or 0, and
beliefs rather than bare labels. `tokenised_brier` has no such trap: what minimises it is the one number next to the
*mean* target.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Samples:
    """K answers to each of n questions, the served one first.

    Raises:
        ValueError: arrays that contradict each other, or fewer than one sampled answer beside the served one.
    """

    label: Ints
    """(n, K): places in the label set; -1 where an answer could not be read."""
    truth: Ints
    """(n,): the true label's place."""
    n_labels: int
    belief: Floats | None = None
    """(n, K, n_labels): the model's probabilities of the labels where it named one; rows of nan where unknown."""

    def __post_init__(self) -> None:
        if self.label.ndim != 2 or self.label.shape[1] < 2:
            raise ValueError(
                f"labels are (questions, answers), the served one and at least one sampled, not {self.label.shape}"
            )
        if self.truth.shape != self.label.shape[:1]:
            raise ValueError(f"{self.label.shape[0]} questions, and truths of shape {self.truth.shape}")
        if ((self.label < -1) | (self.label >= self.n_labels)).any():
            raise ValueError(f"labels are places among {self.n_labels}, or -1")
        if ((self.truth < 0) | (self.truth >= self.n_labels)).any():
            raise ValueError(f"truths are places among {self.n_labels}")
        if self.belief is None:
            return
        if self.belief.shape != (*self.label.shape, self.n_labels):
            raise ValueError(
                f"beliefs are {(*self.label.shape, self.n_labels)} for these labels, not {self.belief.shape}"
            )
        known = self.belief[~np.isnan(self.belief).all(axis=2)]
        if not ((known >= 0).all() and np.allclose(known.sum(axis=1), 1, atol=1e-4)):
            raise ValueError("beliefs are probabilities with the sum 1 over the labels, or nan for all of them")

    @property
    def parsed(self) -> Bools:
        """(n, K): which answers name a label."""
        return np.asarray(self.label >= 0)

    @property
    def drawn(self) -> Bools:
        """(n, K): which answers tell what the model thinks: those that name a label and were sampled."""
        drawn = self.parsed
        drawn[:, 0] = False
        return drawn

    @property
    def votes(self) -> Floats:
        """(n, K, n_labels): what each answer says for each label: its belief where known, else 1 for the label named.

        Both have the same expectation over the model's answers, and the belief far less noise (Rao-Blackwell). That
        needs temperature 1: colder samples name likely labels more often than the beliefs say.
        """
        named: Floats = (self.label[:, :, None] == np.arange(self.n_labels)).astype(np.float64)
        if self.belief is None:
            return named
        known = self.parsed[:, :, None] & ~np.isnan(self.belief)
        return np.where(known, self.belief, named)


@dataclass(frozen=True, slots=True)
class Chosen:
    """m answers to train on, ordered by question and column."""

    item: NDArray[np.intp]
    """(m,): which question."""
    column: NDArray[np.intp]
    """(m,): which of its answers; 0 is the served one."""


def agreement(samples: Samples) -> Floats:
    """(n, n_labels): the model's mean vote for each label over its sampled answers that could be read.

    Rows have the sum 1; a question without such an answer has a row of nan. There is no shrinkage towards anything:
    each row is an unbiased estimate, and a loss averages the noise out where it could not undo a bias.
    """
    drawn = samples.drawn
    count = drawn.sum(axis=1)[:, None]
    total = (samples.votes * drawn[:, :, None]).sum(axis=1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def choose(samples: Samples, sampled: int, rng: np.random.Generator) -> Chosen:
    """Of each question the served answer and up to `sampled` others at random, as far as they could be read.

    Served answers come first because what is taught has to match how the model will be decoded: sampled answers are
    right less often. Whether an answer is right plays no part, for without wrong ones there is no doubt to learn
    (EpiCaR and CaOPD keep them for the same reason).
    """
    order = rng.random(samples.label.shape)
    order[~samples.drawn] = np.inf
    picked = samples.drawn & (order.argsort(axis=1).argsort(axis=1) < sampled)
    picked[:, 0] = samples.parsed[:, 0]
    item, column = np.nonzero(picked)
    return Chosen(item, column)


def confidence_targets(samples: Samples, chosen: Chosen, weight: float = 0.5) -> Floats:
    """(m,), 0 to 1: weight * correct + (1-weight) * agreement of the other sampled answers with this one's label.

    The first part is unbiased whatever the model does, and coarse. The second is fine, and unbiased if and only if the
    model names labels as often as they are true. Half of each is DCPO's mixture (arXiv 2603.09117), with agreement in
    the place of the group's accuracy, which would be the same for all labels of a question. An answer's own vote is
    left out: it named this label by choice, so it would always be for it. Where no other was drawn, correctness counts
    alone.

    Raises:
        ValueError: a weight that is no share, or a chosen answer that names no label.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"the weight of correctness is a share from 0 to 1, not {weight}")
    at = chosen.item, chosen.column
    label = samples.label[at]
    if (label < 0).any():
        raise ValueError(f"{(label < 0).sum()} chosen answers name no label, so that they have nothing to be sure of")
    drawn = samples.drawn
    mine = drawn[at]
    votes = samples.votes * drawn[:, :, None]
    others = drawn.sum(axis=1)[chosen.item] - mine
    theirs = votes.sum(axis=1)[chosen.item, label] - votes[(*at, label)]
    correct = (label == samples.truth[chosen.item]).astype(np.float64)
    belief = np.where(others > 0, theirs / np.maximum(others, 1), correct)
    return np.asarray(np.clip(weight * correct + (1 - weight) * belief, 0.0, 1.0))


def spread(target: Floats, grid: Floats, width: float) -> Floats:
    """(m, len(grid)), rows with the sum 1: the targets as distributions over the numbers that can be said.

    With width 0 the two numbers next to the target, with its mean; else a normal distribution of that standard
    deviation. A target beyond the grid becomes its end. Near the ends the normal has its mean inside of the target, by
    up to .8 width. To tilt it until the mean fits was worse: rows at the ends become spikes that noisy targets add up
    to a false mode.

    Raises:
        ValueError: a grid that does not rise from 0 to 1 at most, a width that is neither 0 nor .001 or more, or
            targets outside of 0 to 1.
    """
    _require_grid(grid)
    _require_probabilities(target)
    if not (width == 0 or width >= 1e-3):
        raise ValueError(f"the width is 0 or a standard deviation of at least .001, not {width}")
    mean = np.clip(target, grid[0], grid[-1])
    if width == 0:
        upper = np.clip(np.searchsorted(grid, mean, side="right"), 1, len(grid) - 1)
        share = (mean - grid[upper - 1]) / (grid[upper] - grid[upper - 1])
        rows = np.arange(len(mean))
        two = np.zeros((len(mean), len(grid)))
        two[rows, upper], two[rows, upper - 1] = share, 1 - share
        return two
    logits = -(((grid - mean[:, None]) / width) ** 2) / 2
    weights = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def tokenised_brier(target: Floats, grid: Floats) -> Floats:
    """(m, len(grid)), 0 to 1: what it costs to say each number. The loss is its mean under the number's probabilities.

    ConfTuner's tokenised Brier score (arXiv 2508.18847) for an answer that is `target`, 0 or 1 or a probability of
    being right. It is proper: over many targets the cheapest is all probability on the number next to their mean. Its
    gradient is that of a policy gradient over all numbers at once, without the noise of sampling one.

    Raises:
        ValueError: a grid that does not rise from 0 to 1 at most, or targets outside of 0 to 1.
    """
    _require_grid(grid)
    _require_probabilities(target)
    return (grid - target[:, None]) ** 2


def _require_grid(grid: Floats) -> None:
    if grid.ndim != 1 or len(grid) < 2 or not (grid[0] >= 0 and grid[-1] <= 1 and (np.diff(grid) > 0).all()):
        raise ValueError("the grid is a rising row of at least two confidences from 0 to 1")


def _require_probabilities(target: Floats) -> None:
    if target.ndim != 1 or not ((target >= 0) & (target <= 1)).all():
        raise ValueError("targets are a row of numbers from 0 to 1")
