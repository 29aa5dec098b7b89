"""Images as strangers send them, drawn for the tests."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.reading.resize import PixelBudget

BUDGET = PixelBudget(min_pixels=28 * 28, max_pixels=112 * 112, factor=28)
"""Small, so that tests are fast."""


def picture(width: int = 112, height: int = 84, mode: str = "RGB") -> Image.Image:
    """A bright corner on dark noise: no two orientations look alike."""
    pixels = np.random.default_rng(7).integers(0, 60, (height, width, 3), np.uint8)
    pixels[: height // 2, : width // 2] = (250, 200, 40)
    return Image.fromarray(pixels).convert(mode)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    """The image as a file of this kind."""
    with io.BytesIO() as file:
        image.save(file, kind, **options)
        return file.getvalue()


def png(width: int, height: int, depth: int, colour: int, rows: bytes, extra: bytes = b"") -> bytes:
    """A PNG written by hand: any depth and colour type, whatever its rows are."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + extra + chunk(b"IDAT", zlib.compress(rows, 9)) + chunk(b"IEND", b"")


def bomb(side: int) -> bytes:
    """A valid black PNG of side x side pixels in a few kilobytes."""
    return png(side, side, 8, 2, bytes(side * (1 + 3 * side)))


def gif(frames: int, side: int = 10) -> bytes:
    """An animated GIF of many frames, 17 bytes each."""
    screen = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(3) + b"\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return screen + frame * frames + b"\x3b"


def webp_canvas(side: int) -> bytes:
    """An animated WebP that claims a huge canvas around one tiny frame."""
    still = encode(picture(16, 16), "WEBP")[12:]
    frame = bytes(6) + 2 * (15).to_bytes(3, "little") + (100).to_bytes(3, "little") + b"\0" + still
    parts = (
        (b"VP8X", b"\x02\0\0\0" + 2 * (side - 1).to_bytes(3, "little")),
        (b"ANIM", bytes(6)),
        (b"ANMF", frame),
    )
    body = b"WEBP" + b"".join(name + struct.pack("<I", len(data)) + data for name, data in parts)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def corner(pixels: NDArray[np.uint8]) -> str:
    """Which corner is bright."""
    height, width = pixels.shape[:2]
    bright = {
        f"{vertical} {horizontal}": float(pixels[rows, columns].mean())
        for vertical, rows in (("top", slice(0, height // 3)), ("bottom", slice(-(height // 3), None)))
        for horizontal, columns in (("left", slice(0, width // 3)), ("right", slice(-(width // 3), None)))
    }
    return max(bright, key=lambda name: bright[name])
