"""Images for people: fetched and decoded with the guards of the intake, and drawn anew for the screen.

A browser is given neither a stranger's address nor a stranger's bytes: what it shows are our own JPEGs of the pixels
that a decoding process returned, upright and without metadata. Of an animation it is the first frame, which is also all
that the model saw.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from io import BytesIO

from PIL import Image

from calibration.settings import KafkaSettings
from review.images import ImageUnavailableError
from review.inline import InlineImageError, inline_image
from review.task import ImageReference, RecordReference
from worker.intake.decode import DecoderPool, Prepared
from worker.intake.source import ImageRefusedError, ImageSources, IntakeError
from worker.reading.resize import PixelBudget
from worker.settings import IntakeSettings

_SCREEN = PixelBudget(min_pixels=1, max_pixels=2_400_000, factor=1)
"""What a large screen shows, whatever the model was given."""
_QUALITY = 90


class DisplayImages:
    """Renditions for the screen; the last ones are kept, since pages load images ahead. Used from one event loop."""

    def __init__(self, intake: IntakeSettings, kafka: KafkaSettings, *, keep_bytes: int = 256_000_000) -> None:
        self._kafka = kafka
        self._sources = ImageSources(intake)
        self._decoder = DecoderPool(intake, _SCREEN)
        self._keep_bytes = keep_bytes
        self._kept: OrderedDict[str, asyncio.Task[bytes]] = OrderedDict()

    async def start(self) -> None:
        """Open the sources and start the decoding processes.

        Raises:
            IntakeError: the configured object store cannot be used, or a process does not start.
        """
        await self._sources.start()
        await self._decoder.start()

    async def close(self) -> None:
        """Close them again. May be called twice."""
        for drawing in self._kept.values():
            drawing.cancel()
        self._kept.clear()
        await self._decoder.close()
        await self._sources.close()

    async def jpeg(self, image: ImageReference) -> bytes:
        """The image as a JPEG of at most 2.4 million pixels. Those who ask for the same one share the work.

        Raises:
            ImageUnavailableError: it is gone, out of reach, refused by the guards, or no image.
        """
        key = image.model_dump_json()
        drawing = self._kept.get(key)
        if drawing is None:
            drawing = self._kept[key] = asyncio.create_task(self._draw(image))
        self._kept.move_to_end(key)
        try:
            drawn = await asyncio.shield(drawing)
        except Exception:
            self._kept.pop(key, None)  # the next one tries again
            raise
        self._make_room()
        return drawn

    def forget(self) -> None:
        """Keep no rendition any longer. What is being drawn is finished for those who wait for it."""
        self._kept.clear()

    async def _draw(self, image: ImageReference) -> bytes:
        try:
            prepared = await self._decoder.prepare(await self._original(image))
        except ImageRefusedError as error:
            raise ImageUnavailableError(f"the image cannot be shown: {error}") from error
        except (InlineImageError, IntakeError) as error:
            raise ImageUnavailableError(str(error)) from error
        return await asyncio.to_thread(_encode, prepared)

    async def _original(self, image: ImageReference) -> bytes:
        if isinstance(image, RecordReference):
            return await asyncio.to_thread(inline_image, self._kafka, image.record)
        original = await self._sources.fetch(image)
        content = original.content
        original.drop()
        return content

    def _make_room(self) -> None:
        done = [(key, task) for key, task in self._kept.items() if task.done() and not task.cancelled()]
        size = sum(len(task.result()) for _, task in done if task.exception() is None)
        for key, task in done[:-1]:
            if size <= self._keep_bytes:
                return
            size -= len(task.result()) if task.exception() is None else 0
            del self._kept[key]


def _encode(prepared: Prepared) -> bytes:
    out = BytesIO()
    Image.fromarray(prepared.pixels).save(out, "JPEG", quality=_QUALITY)
    return out.getvalue()
