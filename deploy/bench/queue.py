"""`tidegate bench queue`: how fast moderators are served, and whether a long queue is slower than a short one."""

from __future__ import annotations

import asyncio
import itertools
import json
import tempfile
import time
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
from deploy.local import EmbeddedServerError, EmbeddedValkey
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
    client_us_per_turn and server_us_per_turn are processor time, which depends less on what else the machine does.

    p50_ms, p99_ms (of claims) and complete_p99_ms are at offered_per_s claims a second, which is what these moderators
    can do when each takes `seconds_per_verdict`. Claims come at random moments and wait for no earlier ones; time
    counts from when each was due, so that a stall is seen in full and the client's own lateness (lag_p99_ms, a timer's
    millisecond included) is part of it. Every verdict is followed by a new task. *_10k: the same at 10,000 tasks; flat
    is p99_ms over p99_ms_10k.

    postgres: the same on SELECT ... FOR UPDATE SKIP LOCKED, UPDATE and DELETE with synchronous_commit on, autovacuum as
    it comes; it has no other index, no second answers and no near-duplicates. turns_per_s_async_commit is with
    synchronous_commit off, which is nearer to what Valkey promises here. arq: jobs that do nothing, of the same size,
    at most 50,000 of them. Either is null where it is not installed. ratio_postgres, ratio_postgres_async_commit and
    ratio_arq are our turns per second over theirs, ratio_postgres_server_us its server's processor time over ours.
    bytes_per_item is of memory, or of PostgreSQL's disk; task_bytes is the JSON of one task.
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
        **_beside(ours, short),
        "task_bytes": _task_bytes(),
        "arq": arq,
        "postgres": postgres,
        "ratio_arq": _ratio(ours, arq, "jobs_per_s"),
        "ratio_postgres": _ratio(ours, postgres, "turns_per_s"),
        "ratio_postgres_async_commit": _ratio(ours, postgres, "turns_per_s_async_commit"),
        "ratio_postgres_server_us": postgres and round(postgres["server_us_per_turn"] / ours["server_us_per_turn"], 2),
    }
    typer.echo(json.dumps(result))


class _Ours:
    """The queue under test, as the load knows it."""

    def __init__(self, queue: ReviewQueue, server: Redis) -> None:
        self._queue = queue
        self._server = server

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

    async def cpu_seconds(self) -> float:
        used = await self._server.info("cpu")
        return float(used["used_cpu_user"] + used["used_cpu_sys"])


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
                ours = _Ours(queue, redis)
                try:
                    before = (await redis.info("memory"))["used_memory"]
                    arrivals = tasks()
                    filled = await self._fill(f"{waiting} tasks", ours, arrivals, waiting)
                    size = (await redis.info("memory"))["used_memory"] - before
                    figures = await self._figures(ours, arrivals, waiting)
                    if (depth := (await queue.figures()).depth) != waiting:
                        raise RuntimeError(f"{depth} tasks are left, not {waiting}: some were lost or kept")
                finally:
                    await queue.close()
        return figures | {"puts_per_s": round(waiting / filled, 1), "bytes_per_item": round(size / waiting)}

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
        """The figures of the queue in PostgreSQL; None where it or its client is not installed, or does not start."""
        binaries = postgres_binaries()
        if binaries is None or find_spec("asyncpg") is None:
            typer.echo("PostgreSQL or asyncpg is not installed: no yardstick of it", err=True)
            return None
        server = LocalPostgres(folder, binaries)
        try:
            server.start()
        except EmbeddedServerError as error:
            typer.echo(f"no yardstick of PostgreSQL: {error}", err=True)
            return None
        with server:
            short = await self._on_postgres(server, min(_SHORT, self.waiting))
            figures = await self._on_postgres(server, self.waiting)
            async with PostgresQueue.connected(server, durable=False) as queue:
                rates = await flat_out(queue, self.crowd.moderators, self._turns(self.waiting))
            return {
                "version": server.version,
                **figures,
                **_beside(figures, short),
                "turns_per_s_async_commit": round(rates.turns_per_s, 1),
            }

    async def _on_postgres(self, server: LocalPostgres, waiting: int) -> dict[str, Any]:
        async with PostgresQueue.connected(server) as queue:
            await queue.make()
            arrivals = tasks()
            await self._fill(f"{waiting} rows", queue, arrivals, waiting)
            size = await queue.size()
            figures = await self._figures(queue, arrivals, waiting)
        return figures | {"bytes_per_item": round(size / waiting)}

    async def _fill(self, title: str, queue: Queue, arrivals: Iterator[ReviewTask], waiting: int) -> float:
        """Returns how many seconds it took."""
        with progress(title, waiting) as report:

            def counted() -> Iterator[ReviewTask]:
                for number, task in enumerate(itertools.islice(arrivals, waiting), start=1):
                    if number % 1_000 == 0 or number == waiting:
                        report(number, "put")
                    yield task

            started = time.perf_counter()
            await queue.fill(counted())
            return time.perf_counter() - started

    async def _figures(self, queue: Queue, arrivals: Iterator[ReviewTask], waiting: int) -> dict[str, Any]:
        """First without a pause, which opens every connection; then at pace, at the same depth."""
        turns = self._turns(waiting)
        rates = await flat_out(queue, self.crowd.moderators, turns)
        await queue.fill(itertools.islice(arrivals, turns))
        rng = np.random.default_rng(self.seed)
        with progress("at pace", round(self.seconds)) as report:
            waits = await at_pace(
                queue, self.crowd, self.seconds, arrivals, rng, lambda moment: report(int(moment), "seconds")
            )
        return {
            **{name: round(value, 3 if name == "client_share" else 1) for name, value in asdict(rates).items()},
            "p50_ms": quantile_ms(waits.claim, 0.5),
            "p99_ms": quantile_ms(waits.claim, 0.99),
            "complete_p99_ms": quantile_ms(waits.complete, 0.99),
            "lag_p99_ms": quantile_ms(waits.lag, 0.99),
        }

    def _turns(self, waiting: int) -> int:
        return min(_TURNS, waiting // 2)


def _beside(figures: dict[str, Any], short: dict[str, Any]) -> dict[str, Any]:
    """What the same queue did when it was short."""
    names = ("turns_per_s", "p50_ms", "p99_ms", "complete_p99_ms")
    return {f"{name}_10k": short[name] for name in names} | {"flat": round(figures["p99_ms"] / short["p99_ms"], 2)}


def _ratio(ours: dict[str, Any], theirs: dict[str, Any] | None, rate: str) -> float | None:
    return None if theirs is None else round(ours["turns_per_s"] / theirs[rate], 2)


def _task_bytes() -> int:
    sizes = [len(task.model_dump_json()) for task in itertools.islice(tasks(), 1000)]
    return round(sum(sizes) / len(sizes))


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Redis]:
    client = Redis.from_url(url)
    try:
        yield client
    finally:
        await client.aclose()
