"""Items as the stages take them: with their image in pixels, decoded and resized by the worker's own code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from training.data.drawn import DrawnItems
from training.data.drops import DataError
from training.data.item import DrawnImage, ImageFile, Item
from training.scenes import encode, scene
from training.tiny import PIXELS
from worker.intake.decode import DecodeLimits, decode_image
from worker.intake.refusal import ImageRefusedError
from worker.reading.resize import PixelBudget

TINY = PixelBudget(PIXELS, PIXELS)
"""The one image size of the tiny model."""


@dataclass(frozen=True, slots=True, eq=False)
class Example:
    """One image whose label is known."""

    item: Item
    image: NDArray[np.uint8]
    """(height, width, 3), RGB, on the grid of the model's pixel budget."""

    @property
    def label(self) -> str:
        """The true one, or one drawn from `probabilities`."""
        return self.item.label

    @property
    def taxonomy(self) -> str:
        """Name of the label set."""
        return self.item.taxonomy

    @property
    def reasoning(self) -> Mapping[str, str] | None:
        """The five sections of the response format, in their order; None where nobody wrote them."""
        return None if self.item.reasoning is None else self.item.reasoning.model_dump()

    @property
    def probabilities(self) -> NDArray[np.float64] | None:
        """(n_labels,), true, in the order of the taxonomy; None where they are not known."""
        return None if self.item.probabilities is None else np.array(self.item.probabilities)


class Examples(Dataset[Example]):
    """Items with their images, loaded when asked for: a map-style dataset for any number of loading processes.

    Args:
        items: of one stage; may be lazy.
        budget: the pixel budget of the model that is trained.
        root: where relative paths of image files start: the prepared folder.
    """

    def __init__(self, items: Sequence[Item], budget: PixelBudget, root: Path | None = None) -> None:
        self.items, self.budget, self.root = items, budget, root

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Example:
        """One example.

        Raises:
            DataError: its image file is gone or was changed since it was checked.
        """
        if isinstance(self.items, DrawnItems):
            item, drawn = self.items.draw(number)
            return Example(item, as_served(_sent(drawn.image, self.items.start + number), self.budget))
        item = self.items[number]
        match item.image:
            case DrawnImage(seed=seed, number=place):
                return Example(item, as_served(_sent(scene(seed, place).image, place), self.budget))
            case ImageFile(path=path):
                where = path if self.root is None else self.root / path
                return Example(item, self._file(item, where))

    def _file(self, item: Item, path: Path) -> NDArray[np.uint8]:
        try:
            return as_served(path.read_bytes(), self.budget)
        except (OSError, ImageRefusedError) as error:
            raise DataError(
                f"{item.item_id}: the image {path} cannot be loaded any more ({error}): put it back, or prepare the "
                "data anew with `tidegate train prepare`"
            ) from error


class SceneExamples(Examples):
    """Scenes `start` to `start + count` of the world `seed`, as the tiny model sees them."""

    def __init__(self, seed: int, count: int, start: int = 0) -> None:
        super().__init__(DrawnItems(seed, count, start), TINY)


def as_served(data: bytes, budget: PixelBudget = TINY) -> NDArray[np.uint8]:
    """The pixels of an image file, (height, width, 3), as the worker puts them to a model of this budget.

    Raises:
        ImageRefusedError: the worker would not take it.
    """
    return decode_image(data, DecodeLimits(), budget).pixels


Batches: TypeAlias = DataLoader[Example]
"""Yields lists of examples; its length is their number."""


def batches(examples: Dataset[Example], size: int, loaders: int = 0) -> Batches:
    """All examples once, in their order, `size` at a time; made ahead by `loaders` processes."""
    return DataLoader(examples, batch_size=size, num_workers=loaders, collate_fn=list)


def _sent(image: NDArray[np.uint8], number: int) -> bytes:
    """A scene as a file. JPEGs are decoded at a fraction of their size and PNGs are not: platforms send both."""
    return encode(image, "PNG" if number % 4 == 0 else "JPEG")
