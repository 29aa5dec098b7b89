"""`make pictures`: what each page looks like, on a platform with a history. Pictures for the documentation."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Page, expect

from calibration.routing import Reason
from calibration.settings import KafkaSettings
from deploy.browser import chromium
from deploy.local import EmbeddedBroker, EmbeddedValkey
from review.access.roles import Role
from review.console.pages import PAGES
from review.settings import ValkeySettings
from review.task import Alternative, Reasoning
from tests.review.console.history import fill
from tests.review.console.platform import Platform, serving
from tests.review.tasks import make_task
from worker.stream.topics import ensure_topics

_VIEWS = (("review", "light", 1280, 800), ("review-dark", "dark", 1280, 800), ("tablet", "light", 820, 1180))
_ASKED = {"/what-if": "&max_error=0.15"}
_SETTLED_MS = 2_500


def take(folder: Path) -> None:
    """One picture of each page, as the one sees it who works there; `review` also in the dark and on a tablet."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="tidegate-pictures-") as name,
        EmbeddedBroker(Path(name)) as broker,
        EmbeddedValkey(Path(name)) as valkey,
    ):
        kafka = KafkaSettings(bootstrap_servers=broker.bootstrap)
        ensure_topics(kafka, partitions=1)
        platform = Platform(kafka, ValkeySettings(url=valkey.url), Path(name))
        platform.add("ada", Role.MODERATOR)
        platform.add("grace", Role.LEAD, Role.ANALYST, Role.ADMIN)
        fill(platform, "emoset-8")
        _shore(platform)
        with serving(platform), chromium() as browser:
            for picture, theme, width, height in _VIEWS:
                with platform.page(browser, "ada", "/review", width=width, height=height) as page:
                    page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]  # one of two words
                    _reveal(page)
                    page.screenshot(path=folder / f"{picture}.png")
            for each in PAGES[1:]:
                where = f"{each.path}?taxonomy=emoset-8{_ASKED.get(each.path, '')}"
                with platform.page(browser, "grace", where, width=1280, height=800, expected="404|503") as page:
                    if each.path == "/what-if":
                        expect(page.locator("#answer")).to_be_visible(timeout=60_000)
                    page.wait_for_timeout(_SETTLED_MS)
                    page.screenshot(path=folder / f"{each.path[1:]}.png")


def _reveal(page: Page) -> None:
    expect(page.locator("#image")).to_have_js_property("complete", value=True)
    page.keyboard.press("2")
    page.keyboard.down(" ")
    page.wait_for_timeout(300)


def _shore(platform: Platform) -> None:
    """An image worth a look, first in the queue."""
    task = make_task(
        "upload-4711",
        priority=100,
        reason=Reason.BELOW_THRESHOLD,
        probability=0.874,
        label="awe",
        alternatives=(Alternative(label="awe", probability=0.81), Alternative(label="contentment", probability=0.15)),
        reasoning=Reasoning(
            element="A low sun over dark ridges, its light on still water.",
            human="Nobody is in sight.",
            context="The end of a day by a lake, far from any town.",
            interaction="Nothing moves; the light alone changes.",
            analysis="Vastness and silence call for awe, the calm for contentment.",
        ),
    )
    platform.put(task)
    rng = np.random.default_rng(7)
    width, height = 1200, 800
    sky = np.linspace(0, 1, height)[:, None, None]
    colours = (1 - sky) * np.array([46, 58, 110]) + sky * np.array([250, 176, 96])
    image = Image.fromarray(np.broadcast_to(colours, (height, width, 3)).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.ellipse((760, 380, 900, 520), fill=(255, 236, 190))
    image = image.filter(ImageFilter.GaussianBlur(3))
    draw = ImageDraw.Draw(image)
    for depth, shade in enumerate(((96, 84, 116), (62, 56, 88), (34, 32, 56))):
        heights = 500 + 45 * depth + np.cumsum(rng.normal(0, 7, width // 8 + 2))
        ridge = [(8 * at, float(each)) for at, each in enumerate(heights - heights.mean() + 500 + 45 * depth)]
        draw.polygon([(0, height), *ridge, (width, height)], fill=shade)
    water = image.crop((0, 420, width, 620)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    image.paste(Image.blend(water, Image.new("RGB", water.size, (30, 40, 70)), 0.35), (0, 640))
    image.save(platform.images / "photos" / "upload-4711.jpg", quality=92)


if __name__ == "__main__":
    take(Path(sys.argv[1]))
