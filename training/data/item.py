"""One image with a known label, wherever it came from: what every reader gives and every stage takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from calibration.contract import Contract
from calibration.outcome import Probability
from review.task import Reasoning

Stage = Literal["reasoning", "confidence", "calibration", "held_out"]
"""Which stage may see an item; `held_out` is for measuring."""


class ImageFile(Contract):
    """An image in a file; a relative path starts at the folder of the file that names it."""

    path: Path


class DrawnImage(Contract):
    """A scene of `training.scenes`, drawn when it is needed."""

    seed: int
    number: Annotated[int, Field(ge=0)]


class Item(Contract):
    """One image with its label, and with reasoning or label probabilities where they are known."""

    item_id: Annotated[str, Field(min_length=1, max_length=512)]
    """Names it in messages: the file and line, or the event it came from."""
    image: ImageFile | DrawnImage
    content: Annotated[str, Field(min_length=1)]
    """What the image shows, as an identity: sha256 of the decoded pixels, or of a scene its seed and number. Of a file
    that was not checked yet (`training.data.checking`) its path."""
    taxonomy: str
    label: str
    reasoning: Reasoning | None = None
    """The five sections, where somebody wrote them."""
    confidence: Probability | None = None
    """A confidence that the data came with, where it did."""
    probabilities: tuple[Probability, ...] | None = None
    """True label probabilities in the order of the taxonomy; only drawn scenes have them."""
    stage: Stage | None = None
    """None until the items are split."""


def place(path: Path, line: int | None = None) -> str:
    """The file, and the line (from 1) where there is one, as an item's id; of a very long path the end."""
    return (str(path) if line is None else f"{path}:{line}")[-512:]
