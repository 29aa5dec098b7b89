"""Puts one prepared image to the engine: a free answer, one constrained retry, bounded patience with a busy engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from calibration.outcome import ParseStatus
from worker import telemetry
from worker.engine.protocol import (
    Engine,
    EngineAnswer,
    EngineBusyError,
    EngineDeadError,
    EngineRequest,
    Finish,
)
from worker.reading.signals import Reading, read_answer
from worker.reading.taxonomy import Taxonomy
from worker.retry import backoff

log = structlog.get_logger()

_WORTH_A_GRAMMAR = {
    ParseStatus.MISSING_TAG,
    ParseStatus.EXTRA_TEXT,
    ParseStatus.UNKNOWN_LABEL,
    ParseStatus.BAD_CONFIDENCE,
}
"""A truncated or aborted answer would only be long or aborted again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the reader bears with an engine."""

    answer_timeout_s: float
    """For one answer, queueing included."""
    attempts: int
    """Tries of one request while the engine is busy; after them its event goes to a person."""
    outage_s: float
    """No answer at all for this long while requests fail: the engine counts as dead."""


class Reader:
    """Asks the engine. One for all events of a worker."""

    def __init__(self, engine: Engine, patience: Patience, clock: Callable[[], float] = time.monotonic) -> None:
        self._engine = engine
        self._patience = patience
        self._clock = clock
        self._failing_since: float | None = None

    async def read(self, request: EngineRequest, taxonomy: Taxonomy) -> Reading:
        """The model's reading of one image; what could not be read comes back as such, for a person to look at.

        Raises:
            EngineDeadError: no request can be answered any more.
            RequestRejectedError: this one never can.
        """
        reading = await self._read_once(request, taxonomy)
        if reading.signals.parse_status in _WORTH_A_GRAMMAR:
            second = await self._read_once(replace(request, constrained=True), taxonomy)
            if second.signals.parse_status is ParseStatus.OK:
                return second.model_copy(update={"constrained": True})
        return reading

    async def _read_once(self, request: EngineRequest, taxonomy: Taxonomy) -> Reading:
        answer = await self._ask(request)
        reading = read_answer(answer, taxonomy)
        telemetry.READINGS.labels(reading.signals.parse_status.value, str(request.constrained).lower()).inc()
        telemetry.ENGINE_TOKENS.labels("prompt").inc(answer.prompt_tokens)
        telemetry.ENGINE_TOKENS.labels("output").inc(answer.output_tokens)
        if reading.signals.label_mass is not None:
            telemetry.LABEL_MASS.observe(reading.signals.label_mass)
        return reading

    async def _ask(self, request: EngineRequest) -> EngineAnswer:
        pauses = backoff()
        for attempt in range(1, self._patience.attempts + 1):
            started = self._clock()
            telemetry.ENGINE_IN_FLIGHT.inc()
            try:
                async with asyncio.timeout(self._patience.answer_timeout_s):
                    answer = await self._engine.answer(request)
            except (EngineBusyError, TimeoutError) as error:
                await self._note_failure(error)
                log.warning("engine busy", attempt=attempt, of=self._patience.attempts, error=str(error) or "timed out")
            else:
                self._failing_since = None
                telemetry.ENGINE_SECONDS.observe(self._clock() - started)
                return answer
            finally:
                telemetry.ENGINE_IN_FLIGHT.dec()
            if attempt < self._patience.attempts:
                telemetry.RETRIES.labels("engine").inc()
                await asyncio.sleep(next(pauses))
        return EngineAnswer(text="", finish=Finish.ERROR, label_probabilities=None, prompt_tokens=0, output_tokens=0)

    async def _note_failure(self, error: Exception) -> None:
        """Tell one busy moment from an engine that answers nobody."""
        await self._engine.check_health()
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        elif now - self._failing_since > self._patience.outage_s:
            raise EngineDeadError(
                f"no answer for {now - self._failing_since:.0f} s; the last failure was: {error or 'timed out'}"
            ) from error
