"""From the bytes of a stranger's image to pixels that a model can read. Runs in the decoding processes.

Everything that a header says is checked before anything is decoded. Imports Pillow only, so that a decoding process
starts in a tenth of a second and holds nothing worth stealing.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from PIL import (  # noqa: F401 - a plugin registers its format
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    ImageStat,
    JpegImagePlugin,
    PngImagePlugin,
    WebPImagePlugin,
)

from worker.reading.resize import BACKGROUND, FILTER, MAX_ASPECT_RATIO, PixelBudget, smart_resize

_FORMATS: dict[str, Callable[[bytes], bool]] = {
    "JPEG": lambda head: head.startswith(b"\xff\xd8\xff"),
    "PNG": lambda head: head.startswith(b"\x89PNG\r\n\x1a\n"),
    "WEBP": lambda head: head.startswith(b"RIFF") and head[8:12] == b"WEBP",
    "GIF": lambda head: head.startswith((b"GIF87a", b"GIF89a")),
    "BMP": lambda head: head.startswith(b"BM"),
}
_GIF_FRAME, _GIF_EXTENSION = 0x2C, 0x21
_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF orientation."""
_SIDEWAYS = {5, 6, 7, 8}
_BLANK_DEVIATION = 2.0
"""Standard deviation, of 255, that no channel of a blank image exceeds: the noise of a compressed single colour."""


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What is refused before it is decoded."""

    max_pixels: int = 50_000_000
    max_aspect_ratio: float = 200.0
    max_frames: int = 1000
    min_side: int = 8
    """A smaller side makes an image tiny: not refused, but flagged."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """One image on the model's grid."""

    rgb: Image.Image
    width: int
    """Of the original, upright."""
    height: int
    format: str
    animated: bool
    blank: bool
    tiny: bool


class UnusableImageError(Exception):
    """This image can never be read. The reason is the value of one of the worker's dead-letter reasons."""

    def __init__(self, reason: Literal["image_unsupported", "image_undecodable", "image_limits"], detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


def decode(data: bytes, limits: DecodeLimits, budget: PixelBudget) -> Decoded:
    """Decode, turn upright, lay on white and resize to the model's grid; of an animation the first frame.

    EXIF and colour profiles are dropped. JPEGs are decoded at a fraction of their size where the grid is smaller yet.

    Raises:
        UnusableImageError: another format, broken or truncated, or beyond a limit.
        MemoryError: it needs more memory than this process may have.
    """
    kind = next((name for name, matches in _FORMATS.items() if matches(data[:16])), None)
    if kind is None:
        known = ", ".join(_FORMATS)
        raise UnusableImageError(
            "image_unsupported", f"none of {known}: {len(data):,} bytes that start with {data[:12].hex(' ')}"
        )
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data), formats=(kind,)) as image:
            return _prepare(image, _frames(image, data, limits.max_frames), limits, budget)
    except (UnusableImageError, MemoryError):
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise UnusableImageError("image_limits", f"{kind}: {error}") from error
    except Exception as error:  # Pillow raises almost anything on a broken file
        raise UnusableImageError("image_undecodable", f"broken {kind}: {type(error).__name__}: {error}") from error


def _prepare(image: ImageFile.ImageFile, frames: int, limits: DecodeLimits, budget: PixelBudget) -> Decoded:
    size = f"{image.width} x {image.height} pixels"
    if frames > limits.max_frames:
        raise UnusableImageError("image_limits", f"more than {limits.max_frames:,} frames")
    if image.width * image.height > limits.max_pixels:
        raise UnusableImageError("image_limits", f"{size}; at most {limits.max_pixels:,} are decoded")
    longest = min(limits.max_aspect_ratio, MAX_ASPECT_RATIO)
    if max(image.size) > longest * min(image.size):
        raise UnusableImageError("image_limits", f"{size}: one side is more than {longest:g} times the other")
    orientation = _orientation(image)
    width, height = image.size[::-1] if orientation in _SIDEWAYS else image.size
    rows, columns = smart_resize(height, width, budget)
    if max(rows, columns) > MAX_ASPECT_RATIO * min(rows, columns):  # rounding to the grid can do that to a narrow image
        raise UnusableImageError("image_limits", f"{size}: too narrow for the model's grid of {budget.factor} pixels")
    image.draft(None, (rows, columns) if orientation in _SIDEWAYS else (columns, rows))
    rgb = _on_background(image)
    if orientation in _UPRIGHT:
        rgb = rgb.transpose(_UPRIGHT[orientation])
    rgb = rgb.resize((columns, rows), FILTER)
    return Decoded(
        rgb=rgb,
        width=width,
        height=height,
        format="JPEG" if image.format == "MPO" else str(image.format),
        animated=frames > 1,
        blank=max(ImageStat.Stat(rgb).stddev) < _BLANK_DEVIATION,
        tiny=min(width, height) < limits.min_side,
    )


def _orientation(image: ImageFile.ImageFile) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to refuse an image, and Pillow raises almost anything on it
        return 1


def _on_background(image: ImageFile.ImageFile) -> Image.Image:
    """Decode into RGB."""
    if image.mode.startswith("I"):  # 16 bits: Pillow's own conversion to 8 would clip instead of scale
        return image.convert("I").point(lambda value: value * (1 / 256)).convert("L").convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        rgb = Image.new("RGB", layer.size, BACKGROUND)
        rgb.paste(layer, mask=layer.getchannel("A"))
        return rgb
    return image.convert("RGB")


def _frames(image: ImageFile.ImageFile, data: bytes, at_most: int) -> int:
    """How many frames an animation has; counting stops soon after `at_most`."""
    if image.format == "GIF":
        return _gif_frames(data, at_most)
    if image.format == "MPO":  # a JPEG with a depth or gain map beside it, as phones write them, is no animation
        return 1
    return int(getattr(image, "n_frames", 1))


def _gif_frames(data: bytes, at_most: int) -> int:
    """By the blocks of the file alone: Pillow's own count takes many seconds for a hostile one."""

    def colours(flags: int) -> int:
        return 3 * (2 << (flags & 7)) if flags & 0x80 else 0

    frames = 0
    with suppress(IndexError):  # truncated: an image all the same, if its first frame is whole
        at = 13 + colours(data[10])
        while frames <= at_most and data[at] in {_GIF_FRAME, _GIF_EXTENSION}:
            if data[at] == _GIF_FRAME:
                frames += 1
                at += 11 + colours(data[at + 9])
            else:
                at += 2
            while size := data[at]:
                at += size + 1
            at += 1
    return frames
