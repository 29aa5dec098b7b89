"""Decoding in processes of their own, so that a hostile image can hang, crash or exhaust nothing but its decoder."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import structlog

from worker import telemetry
from worker.events import DeadLetterReason
from worker.intake.decoder import Decoder, DecoderLostError, Prepared, decode_limits
from worker.intake.pixels import DecodeLimits, UnusableImageError, decode
from worker.intake.refusal import ImageRefusedError, IntakeError, check_size
from worker.reading.resize import PixelBudget
from worker.settings import IntakeSettings

__all__ = ["DecodeLimits", "DecoderPool", "Prepared", "decode_image", "decode_limits"]

log = structlog.get_logger()

_ATTEMPTS = 2
"""Of one image, when its decoder is lost: the kernel kills whom it likes when memory is short."""


def decode_image(data: bytes, limits: DecodeLimits, budget: PixelBudget) -> Prepared:
    """Decode an image that is trusted, in this process: the same pixels as from the pool.

    Raises:
        ImageRefusedError: not one of the formats, broken, or beyond a limit.
    """
    try:
        image = decode(data, limits, budget)
    except UnusableImageError as error:
        raise ImageRefusedError(DeadLetterReason(error.reason), error.detail) from error
    return Prepared(
        pixels=np.array(image.rgb),
        width=image.width,
        height=image.height,
        format=image.format,
        animated=image.animated,
        blank=image.blank,
        tiny=image.tiny,
    )


class DecoderPool:
    """A fixed number of decoding processes, replaced when they are killed or lost. Used from one event loop."""

    def __init__(self, settings: IntakeSettings, budget: PixelBudget) -> None:
        self._settings = settings
        self._decoders = [Decoder(settings, budget) for _ in range(settings.decode_processes)]
        # Last in, first out: under a light load few decoders work, and their memory stays warm.
        self._idle: asyncio.LifoQueue[Decoder] = asyncio.LifoQueue()
        for decoder in self._decoders:
            self._idle.put_nowait(decoder)
        self._closed = False

    async def start(self) -> None:
        """Start every process.

        Raises:
            IntakeError: one does not come up.
        """
        started = await asyncio.gather(*(decoder.start() for decoder in self._decoders), return_exceptions=True)
        for failure in filter(None, started):
            raise failure

    async def close(self) -> None:
        """Stop every process; images that are still being decoded fail with IntakeError. May be called twice."""
        self._closed = True
        for decoder in self._decoders:
            decoder.kill()
        stopped = [await self._idle.get() for _ in self._decoders]
        for decoder in stopped:
            await decoder.stop()
            self._idle.put_nowait(decoder)

    async def prepare(self, data: bytes) -> Prepared:
        """Decode one image, waiting for a free process. Cancelling kills the process that works on it.

        Raises:
            ImageRefusedError: the image is unusable, takes too long or too much memory, or twice took its decoder down.
            IntakeError: no decoding process can be started, or the pool is closed.
        """
        check_size(len(data), self._settings.max_bytes)
        started = time.perf_counter()
        decoder = await self._idle.get()
        try:
            return await self._prepare(decoder, data)
        finally:
            self._idle.put_nowait(decoder)
            telemetry.PREPARE_SECONDS.observe(time.perf_counter() - started)

    async def _prepare(self, decoder: Decoder, data: bytes) -> Prepared:
        for attempt in range(_ATTEMPTS):
            if self._closed:
                raise IntakeError("the decoding processes have been stopped")
            if attempt:
                telemetry.RETRIES.labels("decode").inc()
            try:
                return await decoder.decode(data)
            except DecoderLostError as error:
                telemetry.DECODERS_KILLED.labels(error.cause).inc()
                log.warning("decoder replaced", cause=error.cause, error=str(error))
                lost = error
            if lost.cause != "crash":
                raise ImageRefusedError(DeadLetterReason.DECODE_TIMEOUT, str(lost)) from lost
        detail = f"{_ATTEMPTS} decoding processes were lost over it: {lost}"
        raise ImageRefusedError(DeadLetterReason.DECODE_TIMEOUT, detail) from lost
