"""Drawn scenes whose label probabilities are known: the tiny world on which everything can be checked against truth.

A scene has five cues. Its label is drawn from softmax(SHARPNESS * AFFINITY @ cues), so that no reader can be right more
often than the mean of the largest probability (`bayes_accuracy`, about 74 %), and a perfect confidence is known.
Everything else that is drawn (ridge line, places, colours of skin and ground) is nuisance.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

LABELS = ("amusement", "anger", "awe", "contentment", "disgust", "excitement", "fear", "sadness")
SIDE = 224
"""Pixels of a drawn scene, each way."""
MAX_LEAVES = 20
FACE_SHARE = 0.75
SHARPNESS = 5.0

# Rows are LABELS; columns are the cues: brightness, warmth, leaves, hill, mouth.
AFFINITY = np.array(
    [
        [0.5, 0.3, 0.5, -0.3, 1.0],
        [-0.2, 1.0, 0.4, 0.3, -0.9],
        [0.3, -0.4, -0.2, 1.2, 0.3],
        [0.4, 0.4, -0.9, -0.2, 0.6],
        [0.1, -0.2, 0.7, -0.7, -0.9],
        [0.7, 0.6, 0.8, 0.3, 0.4],
        [-0.9, -0.5, 0.4, 0.7, -0.5],
        [-0.7, -0.9, -0.8, -0.5, -0.6],
    ]
)

LEVELS: Mapping[str, tuple[str, ...]] = {
    "brightness": ("dark", "dim", "even", "bright", "brilliant"),
    "warmth": ("cold", "cool", "neutral", "warm", "hot"),
    "leaves": ("no", "few", "some", "many", "countless"),
    "hill": ("flat", "low", "rolling", "high", "towering"),
    "mouth": ("scowling", "frowning", "plain", "smiling", "beaming"),
    "valence": ("bleak", "grim", "mixed", "pleasant", "cheerful"),
    "arousal": ("still", "calm", "lively", "busy", "hectic"),
}


@dataclass(frozen=True, slots=True)
class Cues:
    """What a scene shows, each in [-1, 1]; `mouth` is None where there is no face."""

    brightness: float
    warmth: float
    leaves: float
    hill: float
    mouth: float | None

    def vector(self) -> NDArray[np.float64]:
        """The five cues as (5,), in the order of AFFINITY's columns; a mouth that is not there says nothing."""
        return np.array([self.brightness, self.warmth, self.leaves, self.hill, self.mouth or 0.0])

    def reasoning(self) -> dict[str, str]:
        """The five sections of the response format, said of the cues alone: neither label nor certainty leaks."""
        valence = 0.5 * (self.brightness + (self.mouth or 0.0))
        arousal = 0.5 * (self.warmth + self.leaves)
        return {
            "element": f"{_level('brightness', self.brightness)} {_level('warmth', self.warmth)} light",
            "human": "nobody here" if self.mouth is None else f"{_level('mouth', self.mouth)} face",
            "context": f"{_level('hill', self.hill)} ground",
            "interaction": f"{_level('leaves', self.leaves)} leaves above",
            "analysis": f"{_level('valence', valence)} {_level('arousal', arousal)} mood",
        }


@dataclass(frozen=True, slots=True)
class Scene:
    """One drawn image with everything that is true of it."""

    image: NDArray[np.uint8]
    """(SIDE, SIDE, 3), RGB."""
    cues: Cues
    probabilities: NDArray[np.float64]
    """(n_labels,), true, in the order of LABELS; sums to 1."""
    label: int
    """Index into LABELS, drawn from `probabilities`."""


def scene(seed: int, number: int) -> Scene:
    """Scene `number` of the world `seed`, the same whatever was drawn before it."""
    return draw_scene(np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(number,))))


def scenes(seed: int, count: int, start: int = 0) -> Iterator[Scene]:
    """`count` scenes of the world `seed`, from number `start`."""
    return (scene(seed, number) for number in range(start, start + count))


def draw_scene(rng: np.random.Generator) -> Scene:
    """One scene with independent uniform cues; a face is there in FACE_SHARE of them."""
    count = int(rng.integers(0, MAX_LEAVES + 1))
    brightness, warmth, hill, mouth = rng.uniform(-1.0, 1.0, 4).tolist()
    cues = Cues(brightness, warmth, 2 * count / MAX_LEAVES - 1, hill, mouth if rng.random() < FACE_SHARE else None)
    probabilities = label_probabilities(cues)
    label = int(rng.choice(len(LABELS), p=probabilities))
    return Scene(_paint(cues, count, rng), cues, probabilities, label)


def label_probabilities(cues: Cues) -> NDArray[np.float64]:
    """(n_labels,): the true probability of each label."""
    logits = SHARPNESS * AFFINITY @ cues.vector()
    weights = np.exp(logits - logits.max())
    return np.asarray(weights / weights.sum())


def bayes_accuracy(probabilities: NDArray[np.float64]) -> float:
    """The accuracy that no reader can pass, for true `probabilities` (n, n_labels)."""
    return float(probabilities.max(axis=1).mean())


def best_brier_skill(probabilities: NDArray[np.float64]) -> float:
    """Brier skill of the true confidence of the best reader against its constant base rate, in expectation."""
    confidence = probabilities.max(axis=1)
    return float(confidence.var() / (confidence.mean() * (1 - confidence.mean())))


def encode(image: NDArray[np.uint8], kind: Literal["PNG", "JPEG"] = "JPEG") -> bytes:
    """The image as a file, as a platform would send it."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind, **({"quality": 92} if kind == "JPEG" else {"compress_level": 1}))
    return file.getvalue()


def _level(cue: str, value: float) -> str:
    words = LEVELS[cue]
    return words[min(int((value + 1) / 2 * len(words)), len(words) - 1)]


def _paint(cues: Cues, count: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture of the cues, (SIDE, SIDE, 3); edges are smoothed by the share of each pixel that they cover."""
    tint = np.array([0.30, 0.02, -0.34], np.float32) * cues.warmth
    light = np.float32(0.52 + 0.34 * cues.brightness)
    # The sky brightens towards the horizon.
    shade = np.linspace(0.82, 1.12, SIDE, dtype=np.float32)[:, None]
    canvas = np.repeat((light * (1.0 + tint) * shade)[:, None, :], SIDE, axis=1)

    # Green stands out alike from every sky: dark or bright, cold or warm.
    leaf = np.array([0.10, 0.72, 0.18], np.float32)
    # Each in a cell of its own, so that they can be counted.
    row, column = np.divmod(rng.permutation(24)[:count], 6)
    jitter = rng.uniform((-0.04, -0.007, 0.034), (0.04, 0.007, 0.038), (count, 3))
    for cell_y, cell_x, (dx, dy, size) in zip(row.tolist(), column.tolist(), jitter.tolist(), strict=True):
        _disc(canvas, (cell_x + 0.5) / 6 + dx, 0.05 + 0.09 * cell_y + dy, size, leaf)

    ridge = 0.06 + 0.22 * (cues.hill + 1)
    across = np.linspace(0, 2 * np.pi, SIDE, dtype=np.float32)
    phases = rng.uniform(0, 2 * np.pi, 2)
    waves = 0.16 * np.sin(across + phases[0]) + 0.07 * np.sin(3 * across + phases[1])
    top = SIDE * (1 - ridge * (1 + waves))
    first = max(int(top.min()) - 1, 0)
    below = np.clip(np.arange(first, SIDE, dtype=np.float32)[:, None] - top[None, :] + 0.5, 0, 1)[:, :, None]
    earth = light * (0.42 + 0.1 * rng.uniform(-1, 1, 3).astype(np.float32)) * (1.0 + 0.5 * tint)
    canvas[first:] += below * (earth - canvas[first:])

    if cues.mouth is not None:
        _face(canvas, cues.mouth, rng)
    return np.asarray((np.clip(canvas, 0, 1) * 255 + 0.5).astype(np.uint8))


def _face(canvas: NDArray[np.float32], mouth: float, rng: np.random.Generator) -> None:
    """A round face whose mouth turns up (1) or down (-1)."""
    x, y, radius = rng.uniform((0.42, 0.64, 0.21), (0.58, 0.70, 0.23)).tolist()
    skin = rng.uniform(0.62, 1.0) * np.array([1.0, 0.80, 0.62], np.float32)
    ink = np.array([0.12, 0.06, 0.06], np.float32)
    _disc(canvas, x, y, radius, skin)
    for side in (-1, 1):
        _disc(canvas, x + side * 0.38 * radius, y - 0.30 * radius, 0.12 * radius, ink)
    width, bend, thickness = 0.62 * radius * SIDE, 0.62 * radius * SIDE * mouth, 0.09 * radius * SIDE
    centre_x, centre_y = x * SIDE, (y + 0.38 * radius) * SIDE
    rows, columns = _window(centre_x, centre_y, 0.75 * radius * SIDE)
    along = (np.arange(columns.start, columns.stop, dtype=np.float32) - centre_x) / width
    line = centre_y - bend * (along**2 - 0.5)
    # Vertical distance over the slope's length is the distance to the line, so that the stroke is evenly thick.
    slope = np.sqrt(1 + (2 * bend * along / width) ** 2)
    off = np.abs(np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - line) / slope
    cover = np.clip(thickness - off + 0.5, 0, 1) * np.clip((1 - np.abs(along)) * width + 0.5, 0, 1)
    patch = canvas[rows, columns]
    patch += cover[:, :, None] * (ink - patch)


def _disc(canvas: NDArray[np.float32], x: float, y: float, radius: float, colour: NDArray[np.float32]) -> None:
    """A filled disc; centre and radius as shares of the side."""
    x, y, radius = x * SIDE, y * SIDE, radius * SIDE
    rows, columns = _window(x, y, radius)
    down = np.arange(rows.start, rows.stop, dtype=np.float32)[:, None] - np.float32(y)
    right = np.arange(columns.start, columns.stop, dtype=np.float32) - np.float32(x)
    cover = np.clip(radius - np.sqrt(down**2 + right**2) + 0.5, 0, 1)[:, :, None]
    patch = canvas[rows, columns]
    patch += cover * (colour - patch)


def _window(x: float, y: float, reach: float) -> tuple[slice, slice]:
    """The rows and columns of the canvas within `reach` pixels of (x, y), and one more."""
    low_y, low_x = max(int(y - reach) - 1, 0), max(int(x - reach) - 1, 0)
    return slice(low_y, min(int(y + reach) + 2, SIDE)), slice(low_x, min(int(x + reach) + 2, SIDE))
