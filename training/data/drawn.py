"""Scenes as items: a range of a world's numbers, each drawn only when somebody asks for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from review.task import Reasoning
from training.data.item import DrawnImage, Item, Stage
from training.scenes import LABELS, Scene, scene

TAXONOMY = "scenes"


class DrawnItems(Sequence[Item]):
    """The scenes `start` to `start + count` of the world `seed`, as items; each look at one draws it, about 1 ms."""

    def __init__(self, seed: int, count: int, start: int = 0, stage: Stage | None = None) -> None:
        self.seed, self.start, self.stage = seed, start, stage
        self._count = count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> DrawnItems: ...
    def __getitem__(self, index: int | slice) -> Item | DrawnItems:
        """One item, or a range of them that is as lazy.

        Raises:
            IndexError: beyond the end. ValueError: a slice with a step.
        """
        if isinstance(index, int):
            return self.draw(index)[0]
        first, end, step = index.indices(self._count)
        if step != 1:
            raise ValueError(f"a range of scenes has no step, and this one has {step}")
        return DrawnItems(self.seed, max(0, end - first), self.start + first, self.stage)

    def draw(self, index: int) -> tuple[Item, Scene]:
        """An item together with its scene, drawn once.

        Raises:
            IndexError: beyond the end.
        """
        if not -self._count <= index < self._count:
            raise IndexError(f"scene {index} of {self._count}")
        number = self.start + index % self._count
        drawn = scene(self.seed, number)
        item = Item(
            item_id=f"scene:{self.seed}:{number}",
            image=DrawnImage(seed=self.seed, number=number),
            content=f"scene:{self.seed}:{number}",
            taxonomy=TAXONOMY,
            label=LABELS[drawn.label],
            reasoning=Reasoning(**drawn.cues.reasoning()),
            probabilities=tuple(drawn.probabilities.tolist()),
            stage=self.stage,
        )
        return item, drawn
