"""PDQ, the perceptual hash by which near-duplicates are found (Davis and Rosen, Facebook, 2019)."""

from __future__ import annotations

import numpy as np
import pdqhash  # a compiled extension without stubs
from numpy.typing import NDArray
from PIL import Image

_SIDE = 256
"""The hash is made of 64 x 64 means, so that more pixels would only cost time."""
_LEAST_QUALITY = 50
"""Of 100, as its authors advise: below it an image has too little structure to be told from others."""


def pdq(pixels: NDArray[np.uint8]) -> str | None:
    """The 256 bits of an image as 64 hexadecimal digits; None where it has too little structure.

    Args:
        pixels: (height, width, 3), RGB.
    """
    small = Image.fromarray(pixels).resize((_SIDE, _SIDE), Image.Resampling.BOX)
    bits, quality = pdqhash.compute(np.asarray(small))
    return np.packbits(bits.astype(np.uint8)).tobytes().hex() if quality >= _LEAST_QUALITY else None
