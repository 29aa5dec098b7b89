"""Puts one prepared image to the engine: a free answer, one constrained retry, a second look where there is doubt, and
bounded patience with a busy engine."""

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
    RequestRejectedError,
)
from worker.reading.signals import Reading, read_answer
from worker.reading.taxonomy import Taxonomy
from worker.retry import backoff
from worker.second_look import NO_SECOND_LOOK, SecondLook, agreement

log = structlog.get_logger()

_WORTH_A_GRAMMAR = {
    ParseStatus.MISSING_TAG,
    ParseStatus.EXTRA_TEXT,
    ParseStatus.UNKNOWN_LABEL,
    ParseStatus.BAD_CONFIDENCE,
}
"""A truncated or aborted answer would only be long or aborted again."""
_NO_ANSWER = {Finish.ABORT, Finish.ERROR}
"""These say nothing of the model."""


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

    def __init__(
        self,
        engine: Engine,
        patience: Patience,
        second_look: SecondLook = NO_SECOND_LOOK,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._engine = engine
        self._patience = patience
        self._second_look = second_look
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
                reading = second.model_copy(update={"constrained": True})
        return await self._look_again(reading, request, taxonomy) if self._second_look.wanted(reading) else reading

    def is_whole(self, reading: Reading) -> bool:
        """Whether it was read and has all its signals: nothing is missing because the engine failed."""
        looked = reading.signals.agreement is not None or not self._second_look.wanted(reading)
        return looked and reading.signals.parse_status is ParseStatus.OK

    async def _look_again(self, reading: Reading, request: EngineRequest, taxonomy: Taxonomy) -> Reading:
        """The reading with the agreement of further answers: of those that came, or None."""
        assert reading.label is not None
        tasks = [asyncio.create_task(self._sample(further)) for further in self._second_look.requests(request)]
        try:
            answers = await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
        samples = [read_answer(answer, taxonomy) for answer in answers if answer is not None]
        for sample in samples:
            result = "unparsed" if sample.label is None else "same" if sample.label == reading.label else "other"
            telemetry.SECOND_LOOK_SAMPLES.labels(result).inc()
        telemetry.SECOND_LOOK_SAMPLES.labels("failed").inc(len(answers) - len(samples))
        came = "all" if len(samples) == len(answers) else "some" if samples else "none"
        telemetry.SECOND_LOOKS.labels(came).inc()
        signals = reading.signals.model_copy(update={"agreement": agreement(reading.label, samples)})
        return reading.model_copy(update={"signals": signals})

    async def _sample(self, request: EngineRequest) -> EngineAnswer | None:
        """One further answer; None where none came. The first one was read: this must not cost the event."""
        try:
            answer = await self._ask(request)
        except RequestRejectedError as error:
            log.warning("further answer refused", request=request.request_id, error=str(error))
            return None
        return None if answer.finish in _NO_ANSWER else answer

    async def _read_once(self, request: EngineRequest, taxonomy: Taxonomy) -> Reading:
        answer = await self._ask(request)
        reading = read_answer(answer, taxonomy)
        telemetry.READINGS.labels(reading.signals.parse_status.value, str(request.constrained).lower()).inc()
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
                telemetry.ENGINE_TOKENS.labels("prompt").inc(answer.prompt_tokens)
                telemetry.ENGINE_TOKENS.labels("output").inc(answer.output_tokens)
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
