"""The load of `tidegate bench queue`: review tasks as workers write them, and moderators who claim and decide them."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

import numpy as np

from calibration.audit import Audit
from calibration.outcome import ParseStatus, Signals
from calibration.routing import Reason
from calibration.table import Floats
from review.task import Alternative, KeyReference, Reasoning, ReviewTask, Versions

LABELS = ("amusement", "awe", "contentment", "excitement", "anger", "disgust", "fear", "sadness")
_REASONS = (Reason.NO_CERTIFICATE, Reason.BELOW_THRESHOLD, Reason.ALWAYS_REVIEW, Reason.AUDIT)
_PATTERNS = 997
"""Different ones; tasks differ besides in event id, image, content and time."""
_BACKLOG = timedelta(days=1)
_FEEDERS = 512
"""Puts under way while a queue is filled: two batches of a ReviewQueue, so that one is made while one is sent."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a moderator has to say with a verdict."""

    event_id: str
    token: int


class Queue(Protocol):
    """A review queue, ours or another, as moderators and workers use it."""

    async def fill(self, arrivals: Iterator[ReviewTask]) -> None:
        """Add many tasks, the quickest way there is."""

    async def put(self, task: ReviewTask) -> None:
        """Add one task."""

    async def claim(self, moderator: str) -> Held | None:
        """Hold the first task for this moderator; None when none waits."""

    async def complete(self, held: Held) -> None:
        """A verdict has been given: the task leaves the queue."""

    async def cpu_seconds(self) -> float:
        """Processor time that its server has used so far."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """Moderators, and how fast they are when they think."""

    moderators: int
    seconds_per_verdict: float

    @property
    def offered_per_s(self) -> float:
        """Claims per second of all of them."""
        return self.moderators / self.seconds_per_verdict


@dataclass(frozen=True, slots=True)
class Rates:
    """What a queue did with moderators who do not think: operations per second."""

    claims_per_s: float
    verdicts_per_s: float
    turns_per_s: float
    """Claims with their verdicts."""
    client_share: float
    """Of the time, this process was busy: near 1, the client is the bottleneck, and not the queue."""
    client_us_per_turn: float
    """Processor time of this process."""
    server_us_per_turn: float
    """Processor time of the server, with all its processes."""


@dataclass(frozen=True, slots=True)
class Waits:
    """Seconds from when an operation was due to its end, shape (n,)."""

    claim: Floats
    complete: Floats
    lag: Floats
    """The part of `claim` before the queue was asked: this process was late."""


def tasks(first: int = 0) -> Iterator[ReviewTask]:
    """Tasks without end, numbered from `first`, of the last day and in no order."""
    patterns = [_pattern(number) for number in range(_PATTERNS)]
    now = datetime.now(UTC)
    for number in itertools.count(first):
        # A multiplicative hash: the same spread over the day for any count.
        decided_at = now - _BACKLOG * (number * 0.6180339887498949 % 1.0)
        yield patterns[number % _PATTERNS].model_copy(
            update={
                "event_id": f"upload-{number:012d}",
                "image": KeyReference(key=f"uploads/{number % 256:02x}/{number:012d}.jpg"),
                "content_sha256": hashlib.sha256(b"%d" % number).hexdigest(),
                "uploader_id": f"user-{number * 7919 % 200_003}",
                "created_at": decided_at - timedelta(seconds=3),
                "decided_at": decided_at,
            }
        )


def _pattern(number: int) -> ReviewTask:
    rng = np.random.default_rng(number)
    probabilities = np.sort(rng.dirichlet(np.full(len(LABELS), 0.6)))[::-1].round(4).tolist()
    ranked = [LABELS[at] for at in rng.permutation(len(LABELS))]
    reason = _REASONS[int(rng.choice(len(_REASONS), p=(0.3, 0.5, 0.15, 0.05)))]
    audited = reason is Reason.AUDIT
    now = datetime.now(UTC)
    return ReviewTask(
        event_id="pattern",
        image=KeyReference(key="pattern"),
        content_sha256=None,
        taxonomy=("emoset-8", "feelings-8")[int(rng.integers(2))],
        source=("feed", "messages", "profiles")[int(rng.integers(3))],
        labels=LABELS,
        priority=int(rng.choice((10, 50, 50, 50, 80, 100))),
        reason=reason,
        blind=audited,
        label=ranked[0],
        alternatives=tuple(Alternative(label=a, probability=p) for a, p in zip(ranked, probabilities, strict=True)),
        reasoning=Reasoning(
            element=f"A wide view of a grey cliff over water, light from the left, {number} birds far away.",
            human="One small figure stands near the edge, back to the viewer, arms at the sides.",
            context="Dusk at the sea after rain; the path behind is empty and the sky is breaking open.",
            interaction="The figure looks up at the clouds; nothing else in the picture moves towards or from it.",
            analysis=f"The height and the emptiness dominate, so most would feel {ranked[0]}, some {ranked[1]}.",
        ),
        signals=Signals(
            parse_status=ParseStatus.OK,
            verbal_confidence=round(float(rng.uniform(0.3, 0.95)), 2),
            label_probability=probabilities[0],
        ),
        probability=round(float(rng.uniform(0.4, 0.95)), 4),
        pdq=hashlib.sha256(b"pdq-%d" % number).hexdigest(),
        audit=Audit(selected=True, propensity=0.05) if audited else None,
        versions=Versions(
            model="wudq/EmoCaliber@3f9c2d1",
            prompt="emoset-5",
            decoder="2",
            calibrator="c-41",
            policy="p-7",
            gate="g-41",
        ),
        created_at=now,
        decided_at=now,
    )


async def feed(arrivals: Iterator[ReviewTask], put: Callable[[ReviewTask], Awaitable[object]]) -> None:
    """Put all of these tasks, many at a time."""

    async def feeder() -> None:
        for task in arrivals:
            await put(task)

    async with asyncio.TaskGroup() as group:
        for _ in range(_FEEDERS):
            group.create_task(feeder())


async def flat_out(queue: Queue, moderators: int, turns: int) -> Rates:
    """First all moderators claim, without a pause, until `turns` tasks are held; then they decide these the same way.

    Raises:
        RuntimeError: the queue ran empty.
    """
    held: list[Held] = []
    numbers = iter(range(turns))

    async def claims(name: str) -> None:
        for _ in numbers:
            held.append(await _claimed(queue, name))

    async def verdicts(_: str) -> None:
        while held:
            await queue.complete(held.pop())

    names = [f"moderator-{number}" for number in range(moderators)]
    server, client = await queue.cpu_seconds(), time.process_time()
    claiming = await _seconds([claims(name) for name in names])
    deciding = await _seconds([verdicts(name) for name in names])
    client, server = time.process_time() - client, await queue.cpu_seconds() - server
    return Rates(
        claims_per_s=turns / claiming,
        verdicts_per_s=turns / deciding,
        turns_per_s=turns / (claiming + deciding),
        client_share=client / (claiming + deciding),
        client_us_per_turn=1e6 * client / turns,
        server_us_per_turn=1e6 * server / turns,
    )


async def _seconds(work: list[Awaitable[None]]) -> float:
    started = time.perf_counter()
    await asyncio.gather(*work)
    return time.perf_counter() - started


async def _claimed(queue: Queue, name: str) -> Held:
    held = await queue.claim(name)
    if held is None:
        raise RuntimeError("the queue ran empty: the benchmark needs more waiting tasks")
    return held


async def at_pace(
    queue: Queue,
    crowd: Crowd,
    seconds: float,
    arrivals: Iterator[ReviewTask],
    rng: np.random.Generator,
    report: Callable[[int], None],
) -> Waits:
    """Claims come at random moments (a Poisson process), whether or not earlier ones have been answered.

    Each verdict is due 0.5 to 1.5 times `seconds_per_verdict` after its claim was, so that on average all moderators
    hold a task; each verdict is followed by a new task from `arrivals`, so that as many wait in the end as did before.
    `report` hears of every second.
    """
    due = _moments(rng, crowd.offered_per_s, seconds)
    thinking = rng.uniform(0.5, 1.5, len(due)) * crowd.seconds_per_verdict
    claim, complete, lag = (np.zeros(len(due)) for _ in range(3))
    told = 0
    started = time.perf_counter()

    async def until(moment: float) -> float:
        """Wait until this many seconds from the start; returns how late it is."""
        await asyncio.sleep(moment - (time.perf_counter() - started))
        return time.perf_counter() - started - moment

    async def turn(at: int) -> None:
        lag[at] = time.perf_counter() - started - due[at]
        held = await _claimed(queue, f"moderator-{at % crowd.moderators}")
        claim[at] = time.perf_counter() - started - due[at]
        verdict_due = max(due[at] + thinking[at], time.perf_counter() - started)
        await until(verdict_due)
        await queue.complete(held)
        complete[at] = time.perf_counter() - started - verdict_due
        await queue.put(next(arrivals))

    async with asyncio.TaskGroup() as group:
        for at, moment in enumerate(due.tolist()):
            await until(moment)
            group.create_task(turn(at))
            if int(moment) > told:
                told = int(moment)
                report(told)
    return Waits(claim, complete, lag)


def _moments(rng: np.random.Generator, per_s: float, seconds: float) -> Floats:
    """Moments of a Poisson process, in seconds, in order; at least one."""
    count = max(1, math.ceil(per_s * seconds))
    return np.cumsum(rng.exponential(1.0 / per_s, count))


def quantile_ms(seconds: Floats, share: float) -> float:
    """A quantile in milliseconds: the least value that this share of them does not exceed."""
    return round(1000.0 * float(np.quantile(seconds, share, method="inverted_cdf")), 3)
