"""Follows the `gates` topic in a thread of its own: replays it at the start, then takes each record as it comes."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator

import structlog
from kafka.errors import KafkaError

from calibration.rollout import Rollout
from calibration.settings import KafkaSettings
from worker import telemetry
from worker.gates.book import GateBook
from worker.gates.records import RefusedRolloutError, take
from worker.gates.topic import GateRecord, GatesTopic, TopicReplacedError
from worker.retry import backoff

log = structlog.get_logger()

_POLL_MS = 500
_REPLACED_S = 1.0


class GateFollower:
    """Keeps a book of gates up to date. Kafka's absence never stops it: the last good gates stay, until they expire."""

    def __init__(
        self,
        kafka: KafkaSettings,
        book: GateBook,
        *,
        has_key: bool,
        replay_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing starts before `start`.

        Args:
            has_key: whether audits can be drawn.
            replay_s: how long `start` waits until everything on the topic is read.
            clock: monotonic seconds.
        """
        self._kafka = kafka
        self._book = book
        self._has_key = has_key
        self._replay_s = replay_s
        self._clock = clock
        self._rollouts: dict[str, Rollout] = {}
        self._positions: dict[int, int] = {}
        self._replaying = True
        """What has been read so far may be out of date: it is not published yet."""
        self._changed = True
        self._failing_since: float | None = None
        self._heard_at = clock()
        self._replayed = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._follow, name="tidegate-gates", daemon=True)

    async def start(self) -> None:
        """Begin, and wait for the replay. Where it takes too long everything stays closed until it is complete, since
        an earlier record of the topic may open what a later one shuts."""
        telemetry.GATE_SILENCE.set_function(lambda: self._clock() - self._heard_at)
        self._thread.start()
        if not await asyncio.to_thread(self._replayed.wait, self._replay_s):
            log.warning("gates not replayed yet", seconds=self._replay_s, note="everything goes to review until then")

    async def close(self) -> None:
        """End the thread."""
        self._stopping.set()
        if self._thread.ident is not None:
            await asyncio.to_thread(self._thread.join)

    def _follow(self) -> None:
        pauses = backoff(cap_s=5.0)
        while not self._stopping.is_set():
            try:
                topic = GatesTopic(self._kafka, self._positions)
                try:
                    self._read(topic)
                finally:
                    topic.close()
            except TopicReplacedError as error:
                log.warning("gates topic replaced", detail=str(error), note="it is read again from its start")
                self._positions, self._rollouts = {}, {}
                self._replaying = self._changed = True
                self._stopping.wait(_REPLACED_S)
            except Exception as error:  # whatever it is, a worker without news goes on with what it has
                pauses = self._failed(error, pauses)
                self._stopping.wait(next(pauses))

    def _read(self, topic: GatesTopic) -> None:
        """Until asked to stop."""
        while not self._stopping.is_set():
            records = topic.poll(_POLL_MS)
            for record in records:
                self._take(record)
                self._positions[record.partition] = record.offset + 1
            if not records:
                topic.check()
            if topic.read_up:
                self._replaying = False
                self._heard()
            if self._changed and not self._replaying:
                self._book.publish(self._rollouts)
                self._changed = False
                self._replayed.set()

    def _take(self, record: GateRecord) -> None:
        try:
            taken = take(record.key, record.value, self._rollouts, has_key=self._has_key)
        except RefusedRolloutError as error:
            self._refuse(record, error)
            return
        before = self._rollouts.get(taken.taxonomy)
        if taken.rollout is before:
            return
        self._changed = True
        if taken.rollout is None:
            del self._rollouts[taken.taxonomy]
        else:
            if before is not None and taken.rollout.sequence <= before.sequence:
                log.warning(
                    "gate step out of order",
                    taxonomy=taken.taxonomy,
                    sequence=taken.rollout.sequence,
                    present=before.sequence,
                    note="taken all the same, since it lets nothing pass; do two services write gates?",
                )
            self._rollouts[taken.taxonomy] = taken.rollout

    def _refuse(self, record: GateRecord, why: RefusedRolloutError) -> None:
        telemetry.GATE_REFUSALS.labels(why.refusal.value).inc()
        key = (record.key or b"").decode(errors="replace")
        present = self._rollouts.get(key)
        log.error(
            "gate refused",
            key=key,
            partition=record.partition,
            offset=record.offset,
            reason=why.refusal.value,
            detail=str(why),
            stays="closed" if present is None else f"{present.live.gate_id}, step {present.sequence}",
        )

    def _heard(self) -> None:
        self._heard_at = self._clock()
        if self._failing_since is not None:
            log.info("gates topic back", seconds=round(self._heard_at - self._failing_since, 1))
            self._failing_since = None

    def _failed(self, error: Exception, pauses: Iterator[float]) -> Iterator[float]:
        """Say so once, and return the pauses between tries: new ones for a new outage."""
        telemetry.RETRIES.labels("gates").inc()
        if not isinstance(error, KafkaError | OSError):
            log.exception("following gates failed", note="tried again; the last good gates stay until they expire")
        if self._failing_since is not None:
            return pauses
        self._failing_since = self._clock()
        text = f"{type(error).__name__}: {error}"
        log.warning("gates topic away", error=text, note="the last good gates stay until they expire")
        return backoff(cap_s=5.0)
