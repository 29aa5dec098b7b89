"""What a model is asked about: fresh scenes, VECBench, or what `tidegate train prepare` held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.data.checking import check_words
from training.data.drawn import TAXONOMY, DrawnItems
from training.data.drops import Dropped, refuse_too_many
from training.data.item import DrawnImage, ImageFile, Item
from training.data.loading import Examples, as_served
from training.data.prepared import read_prepared
from training.data.vecbench import read_vecbench
from training.evaluation.answering import Pixels
from training.evaluation.readings import EvaluationError
from worker.reading.resize import PixelBudget
from worker.reading.taxonomy import Taxonomy, load_taxonomies

Kind = Literal["scenes", "vecbench", "prepared"]


@dataclass(frozen=True)
class Source:
    """Items to ask about."""

    kind: Kind
    name: str
    """In words."""
    items: tuple[Item, ...]
    taxonomies: Mapping[str, Taxonomy]
    root: Path = Path()
    """Where relative paths of images start."""
    dropped: tuple[Dropped, ...] = ()

    def pixels(self, budget: PixelBudget) -> Callable[[Item], Pixels]:
        """Decodes and resizes an item's image as for the stages, with the worker's own code."""

        def of(item: Item) -> Pixels:
            match item.image:
                case DrawnImage():
                    return Examples((item,), budget)[0].image
                case ImageFile(path=path):  # not through Examples: a broken image is an error, and no reason to stop
                    return as_served((self.root / path).read_bytes(), budget)

        return of


def scenes(count: int, seed: int) -> Source:
    """The first scenes of a world."""
    taxonomy = load_taxonomies()[TAXONOMY]
    return Source("scenes", f"{count:,} scenes of seed {seed}", tuple(DrawnItems(seed, count)), {TAXONOMY: taxonomy})


def vecbench(file: Path, images: Path, max_dropped: float) -> Source:
    """The records of a VECBench file.

    Raises:
        DataError: it cannot be read, or more than this share of it cannot be used.
    """
    read = read_vecbench(file, images)
    items, unusable = check_words(read.items, read.taxonomies, Path())
    dropped = (*read.dropped, *unusable)
    refuse_too_many(len(items), dropped, max_dropped)
    return Source("vecbench", f"VECBench, {file}", tuple(items), read.taxonomies, dropped=dropped)


def prepared(folder: Path) -> Source:
    """The held-out items of a prepared folder.

    Raises:
        DataError: it cannot be read. EvaluationError: it holds nothing out.
    """
    read = read_prepared(folder)
    items = read.items["held_out"]
    if not items:
        raise EvaluationError(f"{folder} holds no item out: prepare it again with --held-out")
    return Source("prepared", f"held out in {folder}", items, read.taxonomies, root=folder)
