"""The analysts' desk: surveys kept ready, so that what-ifs are answered at once, and the events behind the figures."""

from __future__ import annotations

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Coroutine, Hashable
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar, cast

import structlog

from calibration.ledger.place import Place
from calibration.ledger.topic import TopicGapError, TopicReader
from calibration.loop.advance import first_rollout
from calibration.loop.service import UnreadableRecordError, documents
from calibration.loop.settings import LoopSettings
from calibration.policy import Policy
from calibration.rollout import Rollout
from calibration.settings import KafkaSettings, LedgerSettings
from calibration.standing.contracts import Diagrams, Item, Standing
from calibration.standing.diagram import reliability_report
from calibration.standing.items import find, items, of_content
from calibration.standing.reading import standing
from calibration.whatif.answer import what_if
from calibration.whatif.contracts import Answer
from calibration.whatif.question import Question
from calibration.whatif.reading import survey
from calibration.whatif.terrain import Terrain
from review.analysis.refusals import AnalysisError, NothingThereError, NotReadyError
from review.comparing import AgreementReport, agreement_report
from review.settings import ConsoleSettings
from review.task import ReviewTask
from review.truth import task_for

log = structlog.get_logger()

_Answer = TypeVar("_Answer")
_RECORDS_S = 2.0
"""How old what is known of policies and gates may be."""
_PATIENCE_S = 20.0
"""For a survey; one that takes longer goes on, and who asks again finds it."""
_STANDING_S = 5.0
"""How old figures may be that are counted anew each time,"""
_DIAGRAMS_S = 60.0
"""and those that are drawn."""
_KEPT_S = 3_600.0
_POLL_MS = 500
_READ_S = 10.0


@dataclass(frozen=True)
class InForce:
    """The newest policy of a taxonomy, and its gates; closed ones, where the loop has not looked yet."""

    policy: Policy
    rollout: Rollout


class Desk:
    """Answers analysts. From one event loop; the work is done in threads, and surveys in a process of their own."""

    def __init__(
        self, kafka: KafkaSettings, ledger: LedgerSettings, loop: LoopSettings, console: ConsoleSettings
    ) -> None:
        self._kafka = kafka
        self._ledger = ledger
        self._loop = loop
        self._console = console
        self._threads = ThreadPoolExecutor(4, thread_name_prefix="tidegate-desk")
        self._known: dict[Hashable, tuple[float, asyncio.Task[Any]]] = {}
        self._terrains: dict[str, Terrain] = {}

    async def close(self) -> None:
        """End; what is under way is given up."""
        for _, task in self._known.values():
            task.cancel()
        await asyncio.gather(*(task for _, task in self._known.values()), return_exceptions=True)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def in_force(self) -> dict[str, InForce]:
        """Of each taxonomy that has a policy.

        Raises:
            AnalysisError: a record cannot be read. kafka.errors.KafkaError: Kafka does not serve.
        """
        return await self._fresh("in force", _RECORDS_S, lambda: self._threaded(_read_in_force, self._kafka))

    async def of(self, taxonomy: str) -> InForce:
        """Of one.

        Raises:
            NothingThereError: it has no policy. And as `in_force`.
        """
        found = (await self.in_force()).get(taxonomy)
        if found is None:
            raise NothingThereError(f"{taxonomy} has no policy: publish one, and its gates follow")
        return found

    def changed(self) -> None:
        """A policy or a gate was written: what was known of them is old."""
        self._known.pop("in force", None)

    async def terrain(self, taxonomy: str) -> Terrain:
        """The newest survey. One that is old is shown until the next is there.

        Raises:
            NotReadyError: the first one takes longer than somebody would wait.
            NothingThereError: there is no policy. LedgerError, EmptyLedgerError: there is nothing to survey.
        """
        now = await self.of(taxonomy)
        key = ("survey", taxonomy, now.policy.policy_id, now.rollout.sequence)
        surveying = asyncio.ensure_future(
            self._fresh(key, self._console.survey_every_s, lambda: self._survey(taxonomy, now))
        )
        done, _ = await asyncio.wait((surveying,), timeout=0.0 if taxonomy in self._terrains else _PATIENCE_S)
        if not done:
            if taxonomy in self._terrains:
                return self._terrains[taxonomy]
            raise NotReadyError(f"{taxonomy}: the readings of {self._console.survey_days} days are being surveyed")
        self._terrains[taxonomy] = surveying.result()
        return self._terrains[taxonomy]

    async def standing(self, taxonomy: str, waiting: int | None, hours: int) -> Standing:
        """How a taxonomy stands now. `waiting`: images in the queue.

        Raises:
            LedgerError: there is no ledger, or it cannot be read. And as `of`.
        """
        now = await self.of(taxonomy)

        def count() -> Standing:
            return standing(
                *(self._ledger, now.rollout, now.policy, self._loop, datetime.now(UTC)), waiting=waiting, hours=hours
            )

        key = ("standing", taxonomy, now.policy.policy_id, now.rollout.sequence, hours)
        return await self._fresh(key, _STANDING_S, lambda: self._threaded(count))

    async def diagrams(self, taxonomy: str) -> Diagrams:
        """How good its scores are.

        Raises:
            LedgerError: there is no ledger, or it cannot be read. And as `of`.
        """
        now = await self.of(taxonomy)

        def draw() -> Diagrams:
            return reliability_report(self._ledger, now.rollout, now.policy, self._loop, datetime.now(UTC))

        key = ("diagrams", taxonomy, now.policy.policy_id, now.rollout.sequence)
        return await self._fresh(key, _DIAGRAMS_S, lambda: self._threaded(draw))

    async def items(self, taxonomy: str, **asked: Any) -> tuple[Item, ...]:
        """The events behind a figure; as `calibration.standing.items.items`.

        Raises:
            LedgerError: there is no ledger, or it cannot be read.
        """
        return await self._threaded(lambda: items(self._ledger, taxonomy, **asked))

    async def item(self, event_id: str) -> Item:
        """One event.

        Raises:
            NothingThereError: the ledger has no decision on it. LedgerError: there is no ledger, or it cannot be read.
        """
        found = await self._threaded(find, self._ledger, event_id)
        if found is None:
            raise NothingThereError(f"{event_id}: the ledger has no decision on it")
        return found

    async def earlier(self, content_sha256: str, *, but: str) -> list[Item]:
        """Events with the very same image on which somebody has said something; none where there is no ledger.

        Raises:
            LedgerError: it cannot be read.
        """
        if await self._threaded(Place(self._ledger).state) is None:
            return []
        return [each for each in await self._threaded(of_content, self._ledger, content_sha256) if each.event_id != but]

    async def agreement(self) -> dict[str, AgreementReport]:
        """How far reviewers agree, by taxonomy.

        Raises:
            kafka.errors.KafkaError, TopicGapError: the verdicts cannot be read.
        """
        return await self._fresh("agreement", _DIAGRAMS_S, lambda: self._threaded(agreement_report, self._kafka))

    async def what_if(self, taxonomy: str, question: Question, examples: int) -> Answer:
        """What would be under another policy.

        Raises:
            UnknownLabelError, pydantic.ValidationError: the question cannot be asked. And as `terrain`.
        """
        terrain = await self.terrain(taxonomy)
        return await self._threaded(lambda: what_if(terrain, question, examples=examples))

    async def task_of(self, event_id: str) -> ReviewTask:
        """The decision on an event as a task, from its record on the topic, whose place the ledger knows.

        Raises:
            NothingThereError: the ledger has no decision on it, or the topic has it no more.
        """
        item = await self.item(event_id)
        return await self._threaded(_read_task, self._kafka, event_id, item.partition, item.offset)

    async def _survey(self, taxonomy: str, now: InForce) -> Terrain:
        """In a process of its own, which gives its memory back: gigabytes for many millions of readings."""
        started = time.monotonic()
        arguments = (self._ledger, now.rollout, now.policy, self._loop, datetime.now(UTC), self._console.survey_days)
        process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            terrain = await asyncio.get_running_loop().run_in_executor(process, survey, *arguments)
        finally:
            process.shutdown(wait=False, cancel_futures=True)
        log.info(
            "surveyed",
            taxonomy=taxonomy,
            readings=terrain.readings,
            megabytes=terrain.nbytes // 1_000_000,
            seconds=round(time.monotonic() - started, 1),
        )
        return terrain

    async def _threaded(self, work: Callable[..., _Answer], *arguments: object) -> _Answer:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)

    async def _fresh(self, key: Hashable, for_s: float, work: Callable[[], Coroutine[Any, Any, _Answer]]) -> _Answer:
        """What was found within the last `for_s`; those who ask meanwhile share the work."""
        self._forget_old()
        known = self._known.get(key)
        if known is None or time.monotonic() - known[0] > for_s:
            known = self._known[key] = time.monotonic(), asyncio.create_task(work())
        try:
            return cast("_Answer", await asyncio.shield(known[1]))
        except Exception:
            if self._known.get(key) is known:
                del self._known[key]  # the next one tries again
            raise

    def _forget_old(self) -> None:
        """Drop what nobody has asked for in an hour, as of gates of yesterday."""
        for key, (since, task) in list(self._known.items()):
            if task.cancelled() or (task.done() and time.monotonic() - since > _KEPT_S):
                del self._known[key]


def _read_in_force(kafka: KafkaSettings) -> dict[str, InForce]:
    policies, rollouts = documents(kafka, "policies", Policy), documents(kafka, "gates", Rollout)
    found = {}
    for taxonomy, policy in policies.items():
        rollout = rollouts.get(taxonomy) or (policy if isinstance(policy, Exception) else _closed(policy))
        for record in (policy, rollout):
            if isinstance(record, UnreadableRecordError):
                raise AnalysisError(str(record)) from record
        assert isinstance(policy, Policy)
        assert isinstance(rollout, Rollout)
        found[taxonomy] = InForce(policy, rollout)
    return found


def _closed(policy: Policy) -> Rollout:
    return first_rollout(policy, datetime.now(UTC))


def _read_task(kafka: KafkaSettings, event_id: str, partition: int, offset: int) -> ReviewTask:
    """The task at a place on `decisions`.

    Raises:
        NothingThereError: the topic has it no more, or another record is there: the topic was made anew.
    """
    until, record = time.monotonic() + _READ_S, None
    try:
        with TopicReader(kafka, "decisions", (partition,), {partition: offset}, accept_gap=True) as reader:
            while record is None and not reader.read_up and time.monotonic() < until:
                record = next(iter(reader.poll(_POLL_MS, 1)), None)
    except TopicGapError:
        pass  # the topic was made anew: what was there is gone
    if record is None or record.offset != offset or record.key != event_id.encode():
        raise NothingThereError(f"{event_id}: its decision is in the ledger, but not on its topic any more")
    return task_for(record.value or b"")
