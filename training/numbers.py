"""Where in an answer the confidence is decided, and by which tokens: spellings differ between tokenizers.

Qwen spells 0.85 as `0`, `.`, `8`, `5`, so that its first decimal is where confidences part ways; the tiny model has one
token for both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from training.dialogue import Dialogue, confidence_text

GRID: NDArray[np.float64] = np.arange(1, 20) / 20
"""The confidences that may be said: two digits, never 0 or 1."""


@dataclass(frozen=True)
class NumberTokens:
    """The tokens of one place in an answer that decide its confidence."""

    grid: NDArray[np.float64]
    """(n,): the confidences that may be said."""
    back: int
    """How far the place is from the end of an answer, the end token included."""
    ids: Tensor
    """(m,): the tokens at that place."""
    token: Tensor
    """(n,): which of them each confidence of the grid begins with."""
    values: Tensor
    """(m,): the mean confidence behind each token."""

    @classmethod
    def of(cls, dialogue: Dialogue, grid: NDArray[np.float64]) -> Self:
        """Find the place by spelling every confidence of the grid.

        Raises:
            ValueError: the tokenizer spells them at different lengths, so that there is no such place.
        """
        spelled = [dialogue.encode(confidence_text(float(value))) for value in grid]
        if len({len(tokens) for tokens in spelled}) != 1:
            raise ValueError("this tokenizer spells two-digit confidences at different lengths: it cannot be trained")
        columns = np.array(spelled)
        place = int(np.argmax((columns != columns[0]).any(axis=0)))
        ids, token = np.unique(columns[:, place], return_inverse=True)
        values = np.bincount(token, grid) / np.bincount(token)
        return cls(
            grid,
            columns.shape[1] - place + 1,
            torch.tensor(ids),
            torch.tensor(token),
            torch.tensor(values, dtype=torch.float32),
        )

    def nearest(self, confidence: float) -> float:
        """The confidence of the grid that is nearest."""
        return float(self.grid[np.abs(self.grid - confidence).argmin()])

    def by_token(self, weights: Tensor) -> Tensor:
        """(batch, m): weights (batch, n) of the grid, summed over the confidences that share a token."""
        return torch.zeros(len(weights), len(self.ids)).index_add(1, self.token, weights)
