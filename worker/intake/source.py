"""Where an image's bytes come from: its event, a URL or the object store."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import assert_never

import structlog
from aiohttp.abc import AbstractResolver

from review.task import KeyReference, UrlReference
from worker import telemetry
from worker.events import DeadLetterReason, ImageSource, InlineImage
from worker.intake.objects import StoredImages
from worker.intake.refusal import ImageRefusedError, ImageUnreachableError, IntakeError, check_size
from worker.intake.web import WebImages
from worker.retry import backoff
from worker.settings import IntakeSettings

__all__ = ["ImageRefusedError", "ImageSources", "ImageUnreachableError", "IntakeError", "Original"]

log = structlog.get_logger()


@dataclass(slots=True, eq=False)
class Original:
    """The bytes of one image. Fetched ones take one of `fetch_concurrency` places until they are dropped: that bounds
    how many are in memory, whatever is slow behind them."""

    content: bytes
    _places: asyncio.Semaphore | None = None
    """None of an image that came inside its event: the stream's window counts it."""

    def drop(self) -> None:
        """Let go of the bytes and of their place. May be called twice."""
        self.content = b""
        places, self._places = self._places, None
        if places is not None:
            places.release()


class ImageSources:
    """Fetches images, wherever they are, and tries again where that may help. Used from one event loop.

    Args:
        settings: what is fetched, and how patiently.
        resolver: looks up host names; default: the system's.
        jitter: random source of the pauses between tries.
        sleep: waits out such a pause.
    """

    def __init__(
        self,
        settings: IntakeSettings,
        *,
        resolver: AbstractResolver | None = None,
        jitter: random.Random | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._settings = settings
        self._web = WebImages(settings, resolver)
        self._stored = StoredImages(settings)
        self._jitter = jitter
        self._sleep = sleep
        self._places = asyncio.Semaphore(settings.fetch_concurrency)

    async def start(self) -> None:
        """Open the sources.

        Raises:
            IntakeError: the object store that is configured cannot be used.
        """
        await self._web.start()
        await self._stored.start()

    async def close(self) -> None:
        """Close all connections. May be called twice."""
        await self._web.close()

    async def fetch(self, image: ImageSource) -> Original:
        """The bytes of an image, at most `max_bytes`; the caller drops them.

        Raises:
            ImageRefusedError: it may not be fetched, is not there, is too large, or stayed out of reach.
        """
        started = time.perf_counter()
        if isinstance(image, InlineImage):
            source, original = "inline", Original(image.data)
            check_size(len(original.content), self._settings.max_bytes)
        elif isinstance(image, UrlReference):
            source, original = "url", await self._patiently(self._web.get, image.url)
        elif isinstance(image, KeyReference):
            source, original = "key", await self._patiently(self._stored.get, image.key)
        else:
            assert_never(image)
        telemetry.FETCH_SECONDS.labels(source).observe(time.perf_counter() - started)
        telemetry.FETCH_BYTES.labels(source).inc(len(original.content))
        return original

    async def _patiently(self, get: Callable[[str], Awaitable[bytes]], where: str) -> Original:
        attempts = self._settings.fetch_attempts
        for attempt, pause in enumerate(backoff(base_s=0.5, cap_s=15.0, source=self._jitter), start=1):
            try:
                return await self._once(get, where)
            except ImageUnreachableError as error:
                log.warning("image out of reach", attempt=attempt, of=attempts, error=str(error))
                if attempt >= attempts:
                    raise ImageRefusedError(
                        DeadLetterReason.IMAGE_UNREACHABLE, f"after {attempt} tries: {error}"
                    ) from error
            telemetry.RETRIES.labels("fetch").inc()
            await self._sleep(pause)
        raise AssertionError("backoff() never ends")

    async def _once(self, get: Callable[[str], Awaitable[bytes]], where: str) -> Original:
        """One try. It keeps its place if it succeeds; nobody waits out a pause on one."""
        await self._places.acquire()
        try:
            return Original(await get(where), self._places)
        except BaseException:
            self._places.release()
            raise
