"""One image's whole trip, from a record on `images` to a durable outcome. Read it top to bottom."""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

import structlog

from calibration.gate import Reason, Route
from calibration.outcome import ParseStatus, Signals
from review.queue import QueueFullError, QueueUnavailableError, ReviewQueue
from review.task import ImageReference, RecordReference, ReviewTask, Versions
from worker import telemetry
from worker.engine.protocol import EngineDeadError, EngineRequest, RequestRejectedError
from worker.events import (
    DeadLetter,
    DeadLetterReason,
    Decision,
    ImageEvent,
    InlineImage,
    Timings,
    UnusableEventError,
)
from worker.gates.book import GateBook
from worker.intake.decode import DecoderPool
from worker.intake.duplicates import ReadingCache, reading_key
from worker.intake.likeness import pdq
from worker.intake.source import ImageRefusedError, ImageSources, IntakeError, Original
from worker.reader import Reader
from worker.reading.prompt import Prompt, build_prompt
from worker.reading.signals import ImageFlag, Reading
from worker.reading.taxonomy import Taxonomy
from worker.retry import persist
from worker.stream.consumer import Arrival
from worker.stream.producer import Outbox, ProduceError, RecordTooLargeError

log = structlog.get_logger()


@dataclass(slots=True)
class _Trip:
    """What one event's trip carries along."""

    started: float
    seconds: dict[str, float] = field(default_factory=dict)


class Pipeline:
    """Everything that happens to an event, and the parts it happens in."""

    def __init__(
        self,
        *,
        taxonomies: Mapping[str, Taxonomy],
        sources: ImageSources,
        decoder: DecoderPool,
        decoder_version: str,
        cache: ReadingCache[Reading],
        reader: Reader,
        model_version: str,
        prompt_version: str,
        gates: GateBook,
        queue: ReviewQueue,
        outbox: Outbox,
        outage_s: float,
        on_outcome: Callable[[Decision | DeadLetter], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._taxonomies = taxonomies
        self._prompts: dict[str, Prompt] = {name: build_prompt(taxonomy) for name, taxonomy in taxonomies.items()}
        self._sources = sources
        self._decoder = decoder
        self._decoder_version = decoder_version
        self._cache = cache
        self._reader = reader
        self._model_version = model_version
        self._prompt_version = prompt_version
        self._gates = gates
        self._queue = queue
        self._outbox = outbox
        self._outage_s = outage_s
        self._on_outcome = on_outcome
        self._now = now
        self._clock = clock

    async def handle(self, arrival: Arrival) -> None:
        """Take one record to its outcome; returns when that outcome is durable, and its offset may be committed.

        Raises:
            EngineDeadError: the engine is gone. OutageError: Kafka or Valkey is. IntakeError: no image can be decoded.
            Whatever else goes wrong concerns this event alone and makes it a dead letter.
        """
        event_id: str | None = None
        try:
            event = ImageEvent.from_record(arrival.value)
            event_id = event.event_id
            structlog.contextvars.bind_contextvars(event_id=event_id)
            decision = await self._decide(event, arrival)
        except (EngineDeadError, IntakeError):
            raise
        except UnusableEventError as unusable:
            await self._bury(arrival, unusable.reason, unusable.detail, unusable.event_id or event_id)
        except ImageRefusedError as refused:
            await self._bury(arrival, refused.reason, refused.detail, event_id)
        except RequestRejectedError as rejected:
            await self._bury(arrival, DeadLetterReason.ENGINE_REJECTED, str(rejected), event_id)
        except Exception as error:  # a defect of ours that this event brings out must not stop its neighbours
            log.exception("processing failed", position=arrival.position.model_dump())
            await self._bury(arrival, DeadLetterReason.PROCESSING_FAILED, f"{type(error).__name__}: {error}", event_id)
        else:
            try:
                await self._deliver(decision)
            except RecordTooLargeError as error:  # raised at every try, it would stop one worker after the other
                detail = f"no room for its decision: {error}; raise max.message.bytes there, or send less metadata"
                await self._bury(arrival, DeadLetterReason.EVENT_TOO_LARGE, detail, event_id)

    async def _decide(self, event: ImageEvent, arrival: Arrival) -> Decision:
        trip = _Trip(started=arrival.received_at)
        taxonomy = self._taxonomies.get(event.taxonomy)
        if taxonomy is None:
            known = ", ".join(sorted(self._taxonomies))
            raise UnusableEventError(
                DeadLetterReason.UNKNOWN_TAXONOMY, f"{event.taxonomy!r} is not configured here; known: {known}"
            )
        before = self._clock()
        original = await self._sources.fetch(event.image)
        try:
            trip.seconds["fetch"] = self._clock() - before
            digest = await _sha256(original.content)
            reading, cached = await self._cache.get_or_compute(
                reading_key(digest, self._model_version, self._prompt_version, self._decoder_version, taxonomy),
                lambda: self._read(event.event_id, original, digest, taxonomy, trip),
                self._reader.is_whole,
            )
        finally:
            original.drop()
        now = self._now()
        routed = self._gates.route(taxonomy.name, event.event_id, reading.label, reading.signals, event.source, now)
        total = self._clock() - trip.started
        return Decision(
            event_id=event.event_id,
            position=arrival.position,
            image=_reference(event, arrival),
            content_sha256=digest,
            taxonomy=taxonomy.name,
            source=event.source,
            priority=event.priority,
            uploader_id=event.uploader_id,
            metadata=event.metadata,
            labels=taxonomy.labels,
            label=reading.label,
            alternatives=reading.alternatives,
            reasoning=reading.reasoning,
            raw_answer=reading.raw_answer,
            image_flags=reading.image_flags,
            pdq=reading.pdq,
            signals=reading.signals,
            probability=routed.routing.probability,
            interval=routed.routing.interval,
            route=routed.routing.route,
            reason=routed.routing.reason,
            audit=routed.audit,
            shadow=routed.shadow,
            cached=cached,
            constrained=reading.constrained,
            versions=Versions(
                model=self._model_version,
                prompt=self._prompt_version,
                decoder=self._decoder_version,
                calibrator=routed.gate.calibrator_version,
                policy=routed.gate.policy_version,
                gate=routed.gate.gate_id,
            ),
            timings=Timings(
                queued=max(0.0, (now - event.created_at).total_seconds() - total),
                fetch=trip.seconds.get("fetch"),
                prepare=trip.seconds.get("prepare"),
                read=trip.seconds.get("read"),
                total=total,
            ),
            created_at=event.created_at,
            decided_at=now,
        )

    async def _read(self, event_id: str, original: Original, digest: str, taxonomy: Taxonomy, trip: _Trip) -> Reading:
        """Decode and read one image that no cache knows."""
        before = self._clock()
        prepared = await self._decoder.prepare(original.content)
        original.drop()  # the engine may take long: hundreds of originals need not wait with it
        trip.seconds["prepare"] = self._clock() - before
        flags = tuple(flag for flag in ImageFlag if getattr(prepared, flag.value))
        if prepared.blank or prepared.tiny:
            return Reading(label=None, signals=Signals(parse_status=ParseStatus.NOT_READ), image_flags=flags)
        before = self._clock()
        reading = await self._reader.read(
            EngineRequest(
                request_id=event_id,
                prompt=self._prompts[taxonomy.name],
                image=prepared.pixels,
                image_key=f"{digest}-{self._decoder_version}",
            ),
            taxonomy,
        )
        trip.seconds["read"] = self._clock() - before
        likeness = await asyncio.to_thread(pdq, prepared.pixels)
        return reading.model_copy(update={"image_flags": flags, "pdq": likeness})

    async def _deliver(self, decision: Decision) -> None:
        """Make a decision durable: the queue first, so that no decision to review can lack its task after a crash."""
        if decision.route is Route.REVIEW:
            task = review_task(decision)
            await persist(
                "review queue",
                lambda: self._queue.put(task),
                retriable=(QueueUnavailableError, QueueFullError),
                patience_s=self._outage_s,
                sleep=asyncio.sleep,
            )
        await self._send("decisions", decision.event_id.encode(), decision.model_dump_json().encode())
        telemetry.DECISIONS.labels(decision.route.value, decision.reason.value).inc()
        audit = decision.audit
        if decision.route is Route.AUTO_ACCEPT or (audit is not None and audit.would_pass):
            telemetry.WOULD_PASS.labels(decision.taxonomy).inc()
        if audit is not None and audit.selected:
            telemetry.AUDITS.labels(decision.taxonomy, str(audit.would_pass).lower()).inc()
        telemetry.DECISION_SECONDS.observe(decision.timings.total)
        telemetry.EVENT_AGE_SECONDS.observe(max(0.0, (decision.decided_at - decision.created_at).total_seconds()))
        log.info(
            "decided",
            label=decision.label,
            route=decision.route.value,
            reason=decision.reason.value,
            probability=decision.probability,
            cached=decision.cached,
            seconds=round(decision.timings.total, 4),
        )
        self._on_outcome(decision)

    async def _bury(self, arrival: Arrival, reason: DeadLetterReason, detail: str, event_id: str | None) -> None:
        """Make a dead letter durable, with the original bytes and headers."""
        letter = DeadLetter(
            reason=reason,
            detail=detail,
            position=arrival.position,
            event_id=event_id,
            failed_at=self._now(),
            original=arrival.value,
        )
        # Headers of ours come from an earlier death of the same event; a null one is written as an empty one.
        headers = [(name, text or b"") for name, text in arrival.headers if not name.startswith("tidegate.")]
        try:
            await self._send("dead-letters", letter.key(), letter.original, headers + letter.headers())
        except RecordTooLargeError as error:  # more than the broker takes anywhere: its position still says where it is
            letter = letter.model_copy(update={"original": b"", "detail": f"{detail}; original left out: {error}"})
            await self._send("dead-letters", letter.key(), letter.original, letter.headers())
        telemetry.DEAD_LETTERS.labels(reason.value).inc()
        log.warning(
            "dead letter",
            event_id=event_id,
            reason=reason.value,
            detail=detail,
            partition=arrival.position.partition,
            offset=arrival.position.offset,
        )
        self._on_outcome(letter)

    async def _send(
        self,
        topic: Literal["decisions", "dead-letters"],
        key: bytes,
        value: bytes,
        headers: Sequence[tuple[str, bytes]] = (),
    ) -> None:
        await persist(
            topic,
            lambda: self._outbox.send(topic, key, value, headers),
            retriable=ProduceError,
            patience_s=self._outage_s,
            sleep=asyncio.sleep,
        )


def review_task(decision: Decision) -> ReviewTask:
    """What the review room needs of a decision: as `review.truth` makes it when it rebuilds the queue."""
    return ReviewTask(
        **{name: getattr(decision, name) for name in ReviewTask.model_fields.keys() & Decision.model_fields.keys()},
        blind=decision.reason is Reason.AUDIT,
    )


def _reference(event: ImageEvent, arrival: Arrival) -> ImageReference:
    """Where a reviewer finds the image; bytes that came inside the event stay in its record."""
    return RecordReference(record=arrival.position) if isinstance(event.image, InlineImage) else event.image


async def _sha256(content: bytes) -> str:
    """Hex digest; large contents are hashed off the event loop (hashlib releases the interpreter lock)."""
    if len(content) < 100_000:
        return hashlib.sha256(content).hexdigest()
    return await asyncio.to_thread(lambda: hashlib.sha256(content).hexdigest())
