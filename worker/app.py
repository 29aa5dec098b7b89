"""A worker process: its parts put together, started, watched, drained and stopped."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from datetime import UTC, datetime
from enum import IntEnum

import structlog

from calibration import outcome
from calibration.gate import Gate
from review import telemetry as queue_telemetry
from review.queue import QueueUnavailableError, ReviewQueue
from worker import telemetry
from worker.admission import Admission
from worker.dead_letters import DeadLetterGuard, DeadLetterShareError
from worker.engine import make_engine
from worker.engine.protocol import Engine, EngineDeadError
from worker.engine.warm_up import warm_up
from worker.events import DeadLetter, Decision
from worker.gates.book import GateBook
from worker.gates.configured import ConfigurationError, audit_key, configured_gate, configured_taxonomies
from worker.gates.follower import GateFollower
from worker.intake.decode import DecoderPool
from worker.intake.duplicates import ReadingCache
from worker.intake.source import ImageSources, IntakeError
from worker.pipeline import Pipeline
from worker.probes import ProbeServer
from worker.reader import Patience, Reader
from worker.reading.resize import decoder_version, load_pixel_budget
from worker.reading.signals import Reading
from worker.reading.taxonomy import Taxonomy
from worker.retry import OutageError
from worker.second_look import SecondLook
from worker.settings import Settings
from worker.stream.consumer import FatalStreamError, ImageStream
from worker.stream.producer import Outbox

log = structlog.get_logger()

_HEARTBEAT_S = 1.0
_LOOP_FROZEN_S = 30.0
_WATCH_S = 5.0


class ExitCode(IntEnum):
    """What a worker's exit code says."""

    DRAINED = 0
    FAILED = 1  # an unexpected error
    CONFIGURATION = 2  # a setting is wrong: starting again will not help
    DEAD_LETTERS = 3  # too large a share of dead letters
    ENGINE = 4  # the engine cannot be started, or died
    OUTAGE = 5  # Kafka or Valkey was away for too long
    STREAM = 6  # the topic cannot be read on


_FAILURES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (ConfigurationError, ExitCode.CONFIGURATION),
    (DeadLetterShareError, ExitCode.DEAD_LETTERS),
    (IntakeError, ExitCode.CONFIGURATION),
    (EngineDeadError, ExitCode.ENGINE),
    (OutageError, ExitCode.OUTAGE),
    (FatalStreamError, ExitCode.STREAM),
)


class WorkerApp:
    """One worker. Make it, `run` it in an event loop of its own; it stops at SIGTERM, SIGINT or `stop()`."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._beat_at = clock()
        self._stream: ImageStream | None = None
        self._engine_problem: str | None = None
        self._guard = DeadLetterGuard(settings.stream.dead_letter_share, settings.stream.dead_letter_window)
        self._stop_asked = asyncio.Event()
        self._failure: Exception | None = None

    async def run(self) -> ExitCode:
        """Work until asked to stop or unable to go on; always drains first. The reason of a failure is in the log."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        try:
            async with AsyncExitStack() as stack:
                stream = await self._start(stack)
                await self._consume(stream)
        except Exception as error:
            self._failure = self._failure or error
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)
        return self._verdict()

    def stop(self) -> None:
        """Ask for a drain: no new events, those in flight are finished and committed within the deadline."""
        log.info("stop asked", drain_s=self._settings.stream.drain_s)
        self._stop_asked.set()
        if self._stream is not None:
            self._stream.stop()

    def _verdict(self) -> ExitCode:
        if self._failure is None:
            log.info("drained")
            return ExitCode.DRAINED
        for kind, code in _FAILURES:
            if isinstance(self._failure, kind):
                log.error("stopped", exit_code=int(code), meaning=code.name.lower(), error=str(self._failure))
                return code
        log.error("stopped", exit_code=int(ExitCode.FAILED), exc_info=self._failure)
        return ExitCode.FAILED

    async def _start(self, stack: AsyncExitStack) -> ImageStream:
        """Start every part, the slowest to fail first; each is closed in reverse order, after the drain."""
        settings = self._settings
        taxonomies = configured_taxonomies(settings.worker)
        gate = configured_gate(settings.gate, taxonomies)
        probes = ProbeServer(settings.worker.host, settings.worker.port, live=self._live, ready=self._ready)
        try:
            await stack.enter_async_context(_running(probes.start, probes.close))
        except OSError as error:
            raise ConfigurationError(
                f"TIDEGATE_WORKER_HOST and TIDEGATE_WORKER_PORT cannot be used: {error}"
            ) from error
        stack.enter_context(self._background(self._beat()))
        try:
            queue = ReviewQueue(settings.valkey, settings.review)
            cache = ReadingCache(settings.valkey, settings.intake.reading_cache_ttl_s, Reading)
            budget = load_pixel_budget(settings.engine)
            decoder = DecoderPool(settings.intake, budget)
            sources = ImageSources(settings.intake)
        except ValueError as error:
            raise ConfigurationError(str(error)) from error
        stack.push_async_callback(queue.close)
        stack.push_async_callback(cache.close)
        outbox = Outbox(settings.kafka)
        await stack.enter_async_context(_running(outbox.start, outbox.close))
        await stack.enter_async_context(_running(decoder.start, decoder.close))
        await stack.enter_async_context(_running(sources.start, sources.close))
        engine = make_engine(settings.engine, taxonomies)
        log.info("loading model", model=settings.engine.model, engine=settings.engine.kind)
        started = self._clock()
        await stack.enter_async_context(_running(engine.start, engine.close))
        second_look = SecondLook.of(settings.second_look)
        if second_look.samples:
            await warm_up(engine, settings.engine, taxonomies, temperature=second_look.temperature)
        log.info("model ready", version=engine.model_version, seconds=round(self._clock() - started, 1))
        made_by = outcome.Reader(
            model=engine.model_version, prompt=second_look.prompt_version, decoder=decoder_version(budget)
        )
        gates = await self._open_gates(stack, made_by, gate, taxonomies)
        pipeline = Pipeline(
            taxonomies=taxonomies,
            sources=sources,
            decoder=decoder,
            decoder_version=made_by.decoder,
            cache=cache,
            reader=Reader(
                engine,
                Patience(
                    answer_timeout_s=settings.engine.answer_timeout_s,
                    attempts=settings.engine.attempts,
                    outage_s=settings.stream.outage_s,
                ),
                second_look,
            ),
            model_version=made_by.model,
            prompt_version=made_by.prompt,
            gates=gates,
            queue=queue,
            outbox=outbox,
            outage_s=settings.stream.outage_s,
            on_outcome=self._note_outcome,
        )
        stream = self._stream = ImageStream(settings.kafka, settings.stream, pipeline.handle)
        stack.enter_context(self._background(self._watch(engine, queue, stream)))
        return stream

    async def _open_gates(
        self, stack: AsyncExitStack, made_by: outcome.Reader, gate: Gate | None, taxonomies: Mapping[str, Taxonomy]
    ) -> GateBook:
        """What applies from now on: the configured gate, or what the `gates` topic says, which is read before any event
        is taken."""
        settings = self._settings
        key = audit_key(settings.gate)
        gates = GateBook(made_by, key, taxonomies)
        if gate is not None:
            gates.fix(gate)
            log.info("gate", gate=gate.gate_id, rule=gate.rule.kind, severe_labels=sorted(gate.severe_labels))
        else:
            follower = GateFollower(
                settings.kafka, gates, has_key=key is not None, replay_s=settings.gate.replay_s, clock=self._clock
            )
            await stack.enter_async_context(_running(follower.start, follower.close))
        stack.enter_context(self._background(_observe(gates)))
        return gates

    async def _consume(self, stream: ImageStream) -> None:
        if self._stop_asked.is_set():
            return
        log.info("consuming", topic=self._settings.kafka.topic("images"), group=self._settings.stream.group_id)
        await stream.run()

    def _note_outcome(self, outcome: Decision | DeadLetter) -> None:
        try:
            self._guard.note(dead=isinstance(outcome, DeadLetter))
        except DeadLetterShareError as error:
            if self._failure is None:
                telemetry.DEAD_LETTER_STOPS.inc()
                self._fail(error)

    def _fail(self, error: Exception) -> None:
        self._failure = self._failure or error
        self.stop()

    @contextmanager
    def _background(self, work: Coroutine[None, None, None]) -> Iterator[None]:
        """Run beside the stream; an error in it stops the worker."""

        def ended(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and isinstance(error := task.exception(), Exception):
                self._fail(error)

        task = asyncio.create_task(work)
        task.add_done_callback(ended)
        try:
            yield
        finally:
            task.cancel()

    async def _beat(self) -> None:
        while True:
            self._beat_at = self._clock()
            await asyncio.sleep(_HEARTBEAT_S)

    async def _watch(self, engine: Engine, queue: ReviewQueue, stream: ImageStream) -> None:
        """Notice an engine that dies while nothing is asked of it, keep the gauges of the queue, and take no further
        events while Valkey has no room for their tasks."""
        admission = Admission(self._settings.review.memory_limit_ratio)
        while True:
            try:
                await engine.check_health()
            except EngineDeadError as error:
                self._engine_problem = str(error)
                self._fail(error)
                return
            try:
                figures = await queue.figures()
            except QueueUnavailableError as error:
                log.warning("valkey unavailable", error=str(error))
            else:
                queue_telemetry.count(figures)
                stream.admit(admission.admits(figures.memory_ratio))
            await asyncio.sleep(_WATCH_S)

    def _live(self) -> list[str]:
        problems = []
        if self._clock() - self._beat_at > _LOOP_FROZEN_S:
            problems.append("the event loop is frozen")
        if self._engine_problem is not None:
            problems.append(f"engine: {self._engine_problem}")
        if self._stream is not None:
            problems += self._stream.problems()
        return problems

    def _ready(self) -> list[str]:
        if self._stream is None:
            return ["the model is loading"]
        if self._stop_asked.is_set():
            return ["draining"]
        return [] if self._stream.assigned else ["no partition is assigned"]


async def _observe(gates: GateBook) -> None:
    while True:
        gates.observe(datetime.now(UTC))
        await asyncio.sleep(_HEARTBEAT_S)


@asynccontextmanager
async def _running(start: Callable[[], Awaitable[object]], close: Callable[[], Awaitable[None]]) -> AsyncIterator[None]:
    """Start a part now and close it at the end, also when its start fails half-way."""
    try:
        await start()
        yield
    finally:
        await close()
