"""The perceptual hash: near for the same picture in another file, far for another one, none where nothing is to see."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from training.scenes import scene
from worker.intake.likeness import pdq


def hashed(image: Image.Image) -> str:
    found = pdq(np.asarray(image.convert("RGB")))
    assert found is not None
    return found


def distance(one: str, other: str) -> int:
    return (int(one, 16) ^ int(other, 16)).bit_count()


def saved(image: Image.Image, kind: str, **options: int) -> Image.Image:
    out = BytesIO()
    image.save(out, kind, **options)
    return Image.open(out)


@pytest.mark.parametrize("number", [0, 1, 3, 4])
def test_the_same_picture_in_another_file_is_near_and_another_picture_is_far(number: int) -> None:
    picture = Image.fromarray(scene(3, number).image)
    own = hashed(picture)
    for other in (
        saved(picture, "JPEG", quality=40),
        saved(picture, "WEBP", quality=60),
        picture.resize((500, 430)),
        ImageEnhance.Brightness(picture).enhance(0.9),
    ):
        assert distance(own, hashed(other)) <= 20
    assert distance(own, hashed(Image.fromarray(scene(3, number + 100).image))) > 60


def test_an_image_without_structure_has_none() -> None:
    assert pdq(np.full((300, 200, 3), 240, np.uint8)) is None
    gradient = np.linspace(0, 20, 256).astype(np.uint8)
    assert pdq(np.repeat(np.tile(gradient, (256, 1))[..., None], 3, axis=2)) is None
