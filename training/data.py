"""What the stages learn from: images as the worker serves them, with labels and, where known, reasoning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from training.scenes import LABELS, encode, scene
from training.tiny import PIXELS
from worker.intake.decode import DecodeLimits, decode_image
from worker.reading.resize import PixelBudget


@dataclass(frozen=True, slots=True)
class Example:
    """One image whose label is known."""

    image: NDArray[np.uint8]
    """(height, width, 3), RGB, decoded and resized by the worker's own code."""
    label: str
    reasoning: Mapping[str, str]
    """The five sections of the response format, in their order."""
    probabilities: NDArray[np.float64]
    """(n_labels,), true."""


class SceneExamples(Dataset[Example]):
    """Scenes `start` to `start + count` of the world `seed`, sent through the file format and resize of the worker."""

    def __init__(self, seed: int, count: int, start: int = 0) -> None:
        self.seed, self.count, self.start = seed, count, start

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> Example:
        number += self.start
        drawn = scene(self.seed, number)
        # JPEGs are decoded at a fraction of their size and PNGs are not: platforms send both.
        data = encode(drawn.image, "PNG" if number % 4 == 0 else "JPEG")
        return Example(as_served(data), LABELS[drawn.label], drawn.cues.reasoning(), drawn.probabilities)


def as_served(data: bytes) -> NDArray[np.uint8]:
    """The pixels of an image file as the worker puts them to the tiny model."""
    return decode_image(data, DecodeLimits(), PixelBudget(PIXELS, PIXELS)).pixels


Batches: TypeAlias = DataLoader[Example]
"""Yields lists of examples; its length is their number."""


def batches(examples: Dataset[Example], size: int, loaders: int = 0) -> Batches:
    """All examples once, in their order, `size` at a time; made ahead by `loaders` processes."""
    return DataLoader(examples, batch_size=size, num_workers=loaders, collate_fn=list)
