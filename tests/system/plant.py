"""Whole workers as processes, on real servers, and an account of everything that comes out."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from time import monotonic
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import aiohttp
import numpy as np
from kafka import KafkaConsumer, KafkaProducer, OffsetAndMetadata, TopicPartition
from PIL import Image
from prometheus_client.parser import text_string_to_metric_families

from calibration.gate import Route
from calibration.settings import KafkaSettings
from deploy.local import EmbeddedBroker, EmbeddedValkey
from deploy.outcomes import OutcomeWatch
from deploy.rig import WorkerProcess, embedded_settings
from review.queue import ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from tests.apache import ApacheKafka
from tests.system.account import Account, Place, said
from worker.engine.scripted import Script
from worker.events import Decision, ImageEvent, InlineImage
from worker.feed import feed
from worker.stream.topics import ensure_topics

PARTITIONS = 4
SIDE = 28
"""Of the test images, in pixels: one token of the model's grid."""
END_S = 60.0
"""Within this a worker that was told to end has ended, on a busy machine too."""


class Worker(WorkerProcess):
    """A worker's process, its log and its metrics."""

    @property
    def log(self) -> list[dict[str, Any]]:
        """What it has logged in lines of JSON."""
        lines = self._log.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def logged(self, event: str) -> list[dict[str, Any]]:
        """The lines of one kind of event."""
        return [line for line in self.log if line["event"] == event]

    @property
    def text(self) -> str:
        """The whole log as it is."""
        return self._log.read_text(errors="replace")

    async def problems(self, path: str) -> list[str] | None:
        """What /live or /ready complains of; None when nobody answers."""
        try:
            status, text = await self.ask(path)
        except (aiohttp.ClientError, TimeoutError):
            return None
        answer = json.loads(text)
        assert (status, answer["ok"]) == ((503, False) if answer["problems"] else (200, True))
        return list(answer["problems"])

    async def ready(self) -> bool:
        """Whether it says so."""
        return await self.problems("/ready") == []

    async def metric(self, name: str, **labels: str) -> float:
        """The sum of all samples of this name with these labels; 0 where there are none, or nobody answers."""
        try:
            _, text = await self.ask("/metrics")
        except (aiohttp.ClientError, TimeoutError):
            return 0.0
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and sample.labels.items() >= labels.items()
        )


class Plant:
    """Topics, a consumer group, a review queue and an account of their own; workers as the test wants them.

    Workers that are left at the end are killed.
    """

    def __init__(self, folder: Path, broker: EmbeddedBroker | ApacheKafka, valkey: EmbeddedValkey) -> None:
        name = uuid4().hex[:8]
        self.kafka = KafkaSettings(bootstrap_servers=broker.bootstrap, topic_prefix=f"{name}.")
        self.account = Account()
        self.workers: list[Worker] = []
        self.sent = 0
        """Records on the images topic, usable or not."""
        self._folder = folder
        self._group = f"workers-{name}"
        prefix = f"tidegate-{name}"
        self.queue = ReviewQueue(ValkeySettings(url=valkey.url, key_prefix=prefix), ReviewSettings())
        self._watch = OutcomeWatch(self.kafka, self.account)
        self._open = AsyncExitStack()
        self._settings = {
            **embedded_settings(broker.bootstrap, valkey.url),
            "TIDEGATE_KAFKA_TOPIC_PREFIX": self.kafka.topic_prefix,
            "TIDEGATE_VALKEY_KEY_PREFIX": prefix,
            "TIDEGATE_STREAM_GROUP_ID": self._group,
            "TIDEGATE_STREAM_WINDOW_EVENTS": "64",
            "TIDEGATE_ENGINE_KIND": "scripted",
            "TIDEGATE_ENGINE_MIN_PIXELS": str(SIDE * SIDE),
            "TIDEGATE_ENGINE_MAX_PIXELS": str(SIDE * SIDE),
            "TIDEGATE_GATE_UNCERTIFIED_THRESHOLD": "0.5",
            "TIDEGATE_GATE_AUDIT_RATE": "0.1",
        }

    async def __aenter__(self) -> Self:
        await asyncio.to_thread(ensure_topics, self.kafka, partitions=PARTITIONS)
        self._open.push_async_callback(self.queue.close)
        self._watch.start()
        self._open.push_async_callback(self._watch.stop)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        for worker in self.workers:
            worker.kill()
            await worker.wait(END_S)
        await self._open.aclose()
        if kind is None:
            self._check_watch()

    def _check_watch(self) -> None:
        if self._watch.error is not None:
            raise self._watch.error

    async def start(self, script: Script | None = None, settings: Mapping[str, str] | None = None) -> Worker:
        """Start one more worker; `settings` are TIDEGATE_* variables without that prefix, and an empty one is unset."""
        number = len(self.workers)
        path = self._folder / f"script-{number}.yaml"
        path.write_text((script or Script()).model_dump_json())
        own = {f"TIDEGATE_{name}": value for name, value in (settings or {}).items()}
        together = {"TIDEGATE_ENGINE_SCRIPT": str(path)} | self._settings | own
        chosen = {name: value for name, value in together.items() if value != ""}
        self.workers.append(await Worker.start(chosen, self._folder / f"worker-{number}.log"))
        return self.workers[-1]

    async def feed(self, count: int) -> None:
        """Send so many more events, all with images of their own."""
        await self.feed_events(image_event(number) for number in range(self.sent, self.sent + count))

    async def feed_events(self, events: Iterable[ImageEvent], rate: float | None = None) -> None:
        """Send events, `rate` per second at most; returns when Kafka has them."""
        report = await feed(events, self.kafka, rate=rate)
        self.sent += report.sent

    def send(self, value: bytes | None, headers: Iterable[tuple[str, bytes]] = (), key: bytes | None = None) -> Place:
        """Send any record."""
        producer = KafkaProducer(bootstrap_servers=self.kafka.bootstrap_servers, max_request_size=4_000_000)
        try:
            where = producer.send(self.kafka.topic("images"), value, key, list(headers)).get(30)
        finally:
            producer.close()
        self.sent += 1
        return where.partition, where.offset

    async def until(self, condition: Callable[[], object], deadline_s: float = 90.0) -> None:
        """Wait until `condition` is true; it may be a coroutine function. Fails early when no worker is left."""
        deadline = monotonic() + deadline_s
        while True:
            alone = all(worker.ended for worker in self.workers)
            answer = condition()
            if inspect.isawaitable(answer):
                answer = await answer
            if answer:
                return
            self._check_watch()
            if alone or monotonic() > deadline:
                why = "no worker is left" if alone else f"not within {deadline_s} s"
                logs = "\n\n".join(worker.log_tail() for worker in self.workers)
                raise AssertionError(
                    f"{why}; {len(self.account.outcomes)} of {self.sent} records have an outcome; "
                    f"the workers' logs end:\n{logs}"
                )
            await asyncio.sleep(0.05)

    async def until_outcomes(self, count: int | None = None, deadline_s: float = 90.0) -> None:
        """Wait until so many records (default: all) have an outcome."""
        wanted = self.sent if count is None else count
        await self.until(lambda: len(self.account.outcomes) >= wanted, deadline_s)

    def committed(self) -> dict[int, int]:
        """For each partition the offset that the group has committed, as Kafka tells it."""
        consumer = self._as_group()
        try:
            partitions = [TopicPartition(self.kafka.topic("images"), number) for number in range(PARTITIONS)]
            return {each.partition: consumer.committed(each) or 0 for each in partitions}
        finally:
            consumer.close()

    def rewind(self) -> None:
        """Let the group, which must have no member, begin again."""
        consumer = self._as_group()
        try:
            topic = self.kafka.topic("images")
            start = OffsetAndMetadata(0, "", -1)
            consumer.commit({TopicPartition(topic, number): start for number in range(PARTITIONS)})
        finally:
            consumer.close()

    def _as_group(self) -> Any:
        return KafkaConsumer(
            bootstrap_servers=self.kafka.bootstrap_servers, group_id=self._group, enable_auto_commit=False
        )

    async def check_committed(self) -> dict[int, int]:
        """What is committed has an outcome, whatever happened to the workers: the promise that nothing is lost."""
        committed = await asyncio.to_thread(self.committed)
        below = {(partition, offset) for partition, end in committed.items() for offset in range(end)}
        deadline = monotonic() + 30
        while not below <= self.account.outcomes.keys():
            missing = sorted(below - self.account.outcomes.keys())
            assert monotonic() < deadline, f"committed without an outcome: {missing[:20]}, {len(missing)} in all"
            await asyncio.sleep(0.05)
        return committed

    async def check(self, *, repeats: bool, decided: Iterable[str] = ()) -> None:
        """Every record has one outcome, the queue has what it should, and all is committed.

        To be called when all workers have ended.

        Args:
            repeats: an outcome may come again, but must say the same.
            decided: events that moderators have decided.
        """
        assert all(worker.ended for worker in self.workers)
        await self._watch.stop()  # no outcome is still on its way
        outcomes = self.account.outcomes
        offsets = {number: sum(place[0] == number for place in outcomes) for number in range(PARTITIONS)}
        everywhere = {(partition, offset) for partition, count in offsets.items() for offset in range(count)}
        assert len(outcomes) == self.sent
        assert set(outcomes) == everywhere
        assert await self.check_committed() == offsets
        for place, found in outcomes.items():
            assert len({said(outcome) for outcome in found}) == 1, f"{place}: {[said(each) for each in found]}"
        if not repeats:
            assert self.account.repeats == 0
        of_ids: dict[str, set[object]] = {}
        for outcome in self.account.all:
            if isinstance(outcome, Decision):
                of_ids.setdefault(outcome.event_id, set()).add(said(outcome))
        assert all(len(said) == 1 for said in of_ids.values())
        await self._check_queue(set(decided))

    async def _check_queue(self, decided: set[str]) -> None:
        review = {each.event_id: each for each in self.account.all if isinstance(each, Decision) and _to_review(each)}
        entries = await self.queue.waiting(1_000_000) + await self.queue.claimed(1_000_000)
        assert sorted(entry.event_id for entry in entries) == sorted(review.keys() - decided)
        figures = await self.queue.figures()
        assert (figures.depth, figures.damaged) == (len(entries), 0)
        for entry in entries:
            task, _ = await self.queue.find(entry.event_id)
            decision = review[entry.event_id]
            assert (task.label, task.reason, task.content_sha256) == (
                decision.label,
                decision.reason,
                decision.content_sha256,
            )


def _to_review(decision: Decision) -> bool:
    return decision.route is Route.REVIEW


def bitmap(number: int, side: int = SIDE) -> bytes:
    """A small image; no two numbers give the same."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), np.uint8)
    with BytesIO() as file:
        Image.fromarray(pixels).save(file, "BMP")
        return file.getvalue()


def image_event(number: int, data: bytes | None = None, **fields: Any) -> ImageEvent:
    """An event with its image inside."""
    return ImageEvent.model_validate(
        {
            "event_id": f"event-{number}",
            "image": InlineImage(data=bitmap(number) if data is None else data),
            "taxonomy": "scenes",
            "created_at": datetime.now(UTC),
            **fields,
        }
    )


def kill_points(seed: int, count: int, events: int) -> list[int]:
    """After how many outcomes to strike: one moment in each of `count` equal parts of the first nine tenths."""
    part = events * 9 // 10 // count
    chosen = np.random.default_rng(seed).integers(0, part, count)
    return [int(start + offset) for start, offset in zip(itertools.count(0, part), chosen, strict=False)]
