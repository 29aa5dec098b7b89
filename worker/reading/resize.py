"""The grid that Qwen-VL sees images on, as plain arithmetic: the same for training and serving.

Engines do not always respect pixel bounds that they are given, so images are resized here, before any engine sees them.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import PIL
from PIL import Image, features

if TYPE_CHECKING:  # the decoding processes import this file, and should not have to load pydantic for it
    from worker.settings import EngineSettings

MIN_PIXELS, MAX_PIXELS = 200_704, 451_584
"""The bounds that EmoCaliber was trained and evaluated with: 256 to 576 tokens of 28 x 28 pixels."""
MAX_ASPECT_RATIO = 200
"""Of the longer to the shorter side. Qwen's own processor refuses anything beyond."""
BACKGROUND = (255, 255, 255)
"""What lies under transparent pixels."""
FILTER = Image.Resampling.BICUBIC
_REVISION = 1
"""Of our own decoding: raise it with any change that gives other pixels for the same bytes."""


@dataclass(frozen=True, slots=True)
class PixelBudget:
    """How many pixels a resized image may have, and what its sides are multiples of (patch size x merge size)."""

    min_pixels: int = MIN_PIXELS
    max_pixels: int = MAX_PIXELS
    factor: int = 28

    def __post_init__(self) -> None:
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ValueError(f"min_pixels {self.min_pixels} must be above 0 and at most max_pixels {self.max_pixels}")
        if not 0 < self.factor**2 <= self.max_pixels:
            raise ValueError(f"max_pixels {self.max_pixels} has no room for one token of {self.factor} x {self.factor}")


def smart_resize(height: int, width: int, budget: PixelBudget) -> tuple[int, int]:
    """The (height, width) that Qwen's image processor gives an image of this size (transformers, `qwen2_vl`).

    Both are multiples of the factor, their product lies in the budget wherever the grid allows it, and the aspect ratio
    is kept as nearly as the grid allows.

    Raises:
        ValueError: a side is not positive, or the aspect ratio is above 200.
    """
    if min(height, width) < 1:
        raise ValueError(f"an image of {width} x {height} pixels has no pixels")
    if max(height, width) / min(height, width) > MAX_ASPECT_RATIO:
        raise ValueError(f"{width} x {height}: one side is more than {MAX_ASPECT_RATIO} times the other")
    factor = budget.factor
    rows, columns = round(height / factor), round(width / factor)
    if rows * columns * factor**2 > budget.max_pixels:
        shrink = math.sqrt((height * width) / budget.max_pixels)
        rows, columns = (max(1, math.floor(side / shrink / factor)) for side in (height, width))
    elif rows * columns * factor**2 < budget.min_pixels:
        stretch = math.sqrt(budget.min_pixels / (height * width))
        rows, columns = (math.ceil(side * stretch / factor) for side in (height, width))
    return rows * factor, columns * factor


def load_pixel_budget(engine: EngineSettings) -> PixelBudget:
    """The budget of the configured model. The settings' bounds come first, then the checkpoint's, then EmoCaliber's.

    A local folder says its patch and merge size in `preprocessor_config.json`, and may say in `tidegate.json` which
    `min_pixels` and `max_pixels` it was trained with. Of a name on the hub only the family is known: 32 pixels a token
    for a Qwen3-VL, else Qwen2.5-VL's 28.

    Raises:
        ValueError: a file of the folder is missing or says nothing usable, or the bounds contradict each other.
    """
    folder = Path(engine.model)
    trained: dict[str, int] = {}
    if folder.is_dir():
        processor = _integers(folder / "preprocessor_config.json", "patch_size", "merge_size")
        factor = processor["patch_size"] * processor["merge_size"]
        if (folder / "tidegate.json").exists():
            trained = _integers(folder / "tidegate.json", "min_pixels", "max_pixels")
    else:
        factor = 32 if "qwen3-vl" in engine.model.lower() else 28
    try:
        return PixelBudget(
            min_pixels=engine.min_pixels or trained.get("min_pixels", MIN_PIXELS),
            max_pixels=engine.max_pixels or trained.get("max_pixels", MAX_PIXELS),
            factor=factor,
        )
    except ValueError as error:
        raise ValueError(
            f"{error}; see TIDEGATE_ENGINE_MIN_PIXELS, TIDEGATE_ENGINE_MAX_PIXELS and the model {engine.model}"
        ) from error


def decoder_version(budget: PixelBudget) -> str:
    """Names everything that decides which pixels the same bytes become: part of each decision and each cache key."""
    libraries = "-".join(f"{name}{features.version(name)}" for name in ("libjpeg_turbo", "webp"))
    return (
        f"r{_REVISION}-pillow{PIL.__version__}-{libraries}-{budget.min_pixels}-{budget.max_pixels}-{budget.factor}"
        f"-{FILTER.name.lower()}-{bytes(BACKGROUND).hex()}"
    )


def _integers(path: Path, *names: str) -> dict[str, int]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        found = {name: fields[name] for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} must be a JSON object with {' and '.join(names)}: {error!r}") from error
    if not all(type(value) is int and value > 0 for value in found.values()):
        raise ValueError(f"{path}: {' and '.join(names)} must be positive whole numbers, not {found}")
    return found
