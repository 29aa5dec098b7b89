"""Renditions for the screen: from each kind of reference, through the guards, shared and kept."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path

import pytest
from kafka import KafkaProducer
from PIL import Image

from calibration.settings import KafkaSettings
from review.images import ImageUnavailableError
from review.task import KeyReference, RecordPosition, RecordReference, UrlReference
from worker.intake.display import DisplayImages
from worker.settings import IntakeSettings


def picture(width: int, height: int, colour: str = "teal") -> bytes:
    out = BytesIO()
    Image.new("RGB", (width, height), colour).save(out, "PNG")
    return out.getvalue()


@pytest.fixture
async def images(tmp_path: Path, kafka_settings: KafkaSettings) -> AsyncIterator[DisplayImages]:
    settings = IntakeSettings(object_store=tmp_path.as_uri(), decode_processes=1, fetch_attempts=1)
    images = DisplayImages(settings, kafka_settings, keep_bytes=20_000)
    await images.start()
    yield images
    await images.close()


def size(jpeg: bytes) -> tuple[int, int]:
    with Image.open(BytesIO(jpeg)) as image:
        assert image.format == "JPEG"
        return image.size


async def test_small_images_keep_their_size_and_large_ones_fit_the_screen(
    images: DisplayImages, tmp_path: Path
) -> None:
    (tmp_path / "small.png").write_bytes(picture(40, 30))
    (tmp_path / "large.png").write_bytes(picture(4000, 3000))
    assert size(await images.jpeg(KeyReference(key="small.png"))) == (40, 30)
    width, height = size(await images.jpeg(KeyReference(key="large.png")))
    assert 2_300_000 < width * height <= 2_400_000
    assert width / height == pytest.approx(4 / 3, rel=0.01)


async def test_an_image_that_travelled_in_its_event_is_shown(
    images: DisplayImages, kafka_settings: KafkaSettings
) -> None:
    producer = KafkaProducer(bootstrap_servers=kafka_settings.bootstrap_servers)
    value = json.dumps({"image": {"data": base64.b64encode(picture(20, 10)).decode()}}).encode()
    sent = await asyncio.to_thread(producer.send(kafka_settings.topic("images"), value).get, 10)
    producer.close()
    at = RecordPosition(topic=sent.topic, partition=sent.partition, offset=sent.offset)
    assert size(await images.jpeg(RecordReference(record=at))) == (20, 10)


@pytest.mark.parametrize(
    ("content", "why"), [(None, "not"), (b"<svg onload='alert(1)'/>", "image"), (picture(50, 50)[:90], "image")]
)
async def test_what_cannot_be_shown_is_said(
    images: DisplayImages, tmp_path: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "it.png").write_bytes(content)
    with pytest.raises(ImageUnavailableError, match=why):
        await images.jpeg(KeyReference(key="it.png"))
    (tmp_path / "it.png").write_bytes(picture(8, 8))
    assert size(await images.jpeg(KeyReference(key="it.png"))) == (8, 8)  # a failure is not kept


async def test_the_guards_of_the_intake_hold_for_people_too(images: DisplayImages) -> None:
    with pytest.raises(ImageUnavailableError, match="host"):
        await images.jpeg(UrlReference(url="http://169.254.169.254/latest/meta-data"))


async def test_renditions_are_shared_and_kept_within_bounds(images: DisplayImages, tmp_path: Path) -> None:
    noise = Image.effect_noise((100, 100), 80)
    for name in "abc":
        noise.save(tmp_path / f"{name}.png")
    first, again = await asyncio.gather(*(images.jpeg(KeyReference(key="a.png")) for _ in range(2)))
    assert first is again
    (tmp_path / "a.png").unlink()
    assert await images.jpeg(KeyReference(key="a.png")) is first
    assert len(first) < 20_000 < 4 * len(first)
    for name in "bc":
        await images.jpeg(KeyReference(key=f"{name}.png"))
    with pytest.raises(ImageUnavailableError):  # let go of, for the others
        await images.jpeg(KeyReference(key="a.png"))
