"""`tidegate bench queue`: how fast moderators are served, and whether a long queue is slower than a short one."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from redis.asyncio import Redis

from deploy.bench.postgres import LocalPostgres, postgres_binaries
from deploy.bench.queue_load import Crowd, Held, Queue, at_pace, feed, flat_out, quantile_ms, tasks
from deploy.bench.queue_yardsticks import PostgresQueue, arq_figures
from deploy.local import EmbeddedValkey
from review.queue import PutResult, ReviewQueue
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask
from training.progress import progress

_SHORT = 10_000
_TURNS = 5_000
"""Claims and verdicts that are timed without a pause; less where few tasks wait."""
_ARQ_WAITING = 50_000
"""At most: it takes one job at a time, and neither its rate nor its memory for one depends on how many wait."""


def queue(
    waiting: Annotated[int, typer.Option(min=400, help="tasks in the queue")] = 1_000_000,
    moderators: Annotated[int, typer.Option(min=1, help="who work at the same time")] = 200,
    seconds_per_verdict: Annotated[float, typer.Option(min=0.1, help="that a moderator looks at a task")] = 2.0,
    seconds: Annotated[float, typer.Option(min=1, help="of each measurement of latency")] = 30.0,
    seed: Annotated[int, typer.Option(min=0, help="of when claims come")] = 0,
) -> None:
    """Moderators at a queue of `waiting` tasks, through `ReviewQueue` and a Valkey server of its own, in memory.

    claims_per_s and verdicts_per_s: all moderators claim as fast as they are served, then all give verdicts so;
    turns_per_s is both together. One Python process drives them: where client_share is near 1 it is the bottleneck.

    p50_ms, p99_ms (of claims) and complete_p99_ms are at offered_per_s claims a second, which is what these moderators
    can do when each takes `seconds_per_verdict`. Claims come at random moments and wait for no earlier ones; time
    counts from when each was due, so that a stall is seen in full and the client's own lateness (lag_p99_ms, a timer's
    millisecond included) is part of it. Every verdict is followed by a new task. *_10k: the same at 10,000 tasks; flat
    is p99_ms over p99_ms_10k.

    postgres: the same on SELECT ... FOR UPDATE SKIP LOCKED, UPDATE and DELETE with synchronous_commit on, autovacuum as
    it comes; it has no other index, no second answers and no near-duplicates. arq: jobs that do nothing, of the same
    size, at most 50,000 of them. ratio_postgres and ratio_arq are our turns per second over theirs. bytes_per_item is
    of memory, or of PostgreSQL's disk. Either is null where it is not installed.
    """
    bench = _Bench(waiting, Crowd(moderators, seconds_per_verdict), seconds, seed)
    with tempfile.TemporaryDirectory(prefix="tidegate-bench-") as name:
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may run as another account, and has a folder in here
        short = asyncio.run(bench.ours(folder / "short", min(_SHORT, waiting)))
        ours = asyncio.run(bench.ours(folder / "long", waiting))
        arq = asyncio.run(bench.arq(folder / "arq"))
        postgres = asyncio.run(bench.postgres(folder / "postgres"))
    result = {
        "bench": "queue",
        "waiting": waiting,
        "moderators": moderators,
        "offered_per_s": bench.crowd.offered_per_s,
        **ours,
        "p50_ms_10k": short["p50_ms"],
        "p99_ms_10k": short["p99_ms"],
        "flat": round(ours["p99_ms"] / short["p99_ms"], 2),
        "arq": arq,
        "postgres": postgres,
        "ratio_arq": arq and round(ours["turns_per_s"] / arq["jobs_per_s"], 2),
        "ratio_postgres": postgres and round(ours["turns_per_s"] / postgres["turns_per_s"], 2),
    }
    typer.echo(json.dumps(result))


class _Ours:
    """The queue under test, as the load knows it."""

    def __init__(self, queue: ReviewQueue) -> None:
        self._queue = queue

    async def fill(self, arrivals: Iterator[ReviewTask]) -> None:
        await feed(arrivals, self.put)

    async def put(self, task: ReviewTask) -> None:
        if await self._queue.put(task) is not PutResult.ADDED:
            raise RuntimeError(f"{task.event_id}: it was in the queue already")

    async def claim(self, moderator: str) -> Held | None:
        claim = await self._queue.claim(moderator)
        return None if claim is None else Held(claim.task.event_id, claim.lease.token)

    async def complete(self, held: Held) -> None:
        await self._queue.complete(held.event_id, held.token, "awe")


@dataclass(frozen=True)
class _Bench:
    """One run of the command."""

    waiting: int
    crowd: Crowd
    seconds: float
    seed: int

    async def ours(self, folder: Path, waiting: int) -> dict[str, Any]:
        """The figures of the review queue with so many tasks."""
        with EmbeddedValkey(folder) as server:
            async with _redis(server.url) as redis:
                queue = ReviewQueue(ValkeySettings(url=server.url), ReviewSettings())
                try:
                    before = (await redis.info("memory"))["used_memory"]
                    arrivals = tasks()
                    await self._fill("tasks", _Ours(queue), arrivals, waiting)
                    size = (await redis.info("memory"))["used_memory"] - before
                    figures = await self._figures(_Ours(queue), arrivals, waiting)
                finally:
                    await queue.close()
        return figures | {"bytes_per_item": round(size / waiting)}

    async def arq(self, folder: Path) -> dict[str, Any] | None:
        """The figures of python-arq; None where it is not installed."""
        if find_spec("arq") is None:
            typer.echo("arq is not installed: no yardstick of it", err=True)
            return None
        waiting = min(self.waiting, _ARQ_WAITING)
        with EmbeddedValkey(folder) as server:
            found: dict[str, Any] = await arq_figures(
                server.url, itertools.islice(tasks(), waiting), self.crowd.moderators, self._turns(waiting)
            )
        return found

    async def postgres(self, folder: Path) -> dict[str, Any] | None:
        """The figures of the queue in PostgreSQL; None where it or its client is not installed."""
        binaries = postgres_binaries()
        if binaries is None or find_spec("asyncpg") is None:
            typer.echo("PostgreSQL or asyncpg is not installed: no yardstick of it", err=True)
            return None
        with LocalPostgres(folder, binaries) as server:
            async with PostgresQueue.connected(server.url) as queue:
                await queue.make()
                arrivals = tasks()
                await self._fill("rows", queue, arrivals, self.waiting)
                size = await queue.size()
                figures = await self._figures(queue, arrivals, self.waiting)
            return figures | {"bytes_per_item": round(size / self.waiting), "version": server.version}

    async def _fill(self, title: str, queue: Queue, arrivals: Iterator[ReviewTask], waiting: int) -> None:
        with progress(title, waiting) as report:

            def counted() -> Iterator[ReviewTask]:
                for number, task in enumerate(itertools.islice(arrivals, waiting), start=1):
                    if number % 1_000 == 0 or number == waiting:
                        report(number, "put")
                    yield task

            await queue.fill(counted())

    async def _figures(self, queue: Queue, arrivals: Iterator[ReviewTask], waiting: int) -> dict[str, Any]:
        rng = np.random.default_rng(self.seed)
        with progress("at pace", round(self.seconds)) as report:
            waits = await at_pace(
                queue, self.crowd, self.seconds, arrivals, rng, lambda moment: report(round(moment), "seconds")
            )

        async def nothing() -> None:
            """Between claims and verdicts."""

        rates = await flat_out(queue, self.crowd.moderators, self._turns(waiting), nothing)
        return {
            **{name: round(value, 3 if name == "client_share" else 1) for name, value in asdict(rates).items()},
            "p50_ms": quantile_ms(waits.claim, 0.5),
            "p99_ms": quantile_ms(waits.claim, 0.99),
            "complete_p99_ms": quantile_ms(waits.complete, 0.99),
            "lag_p99_ms": quantile_ms(waits.lag, 0.99),
        }

    def _turns(self, waiting: int) -> int:
        return min(_TURNS, waiting // 2)


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()
