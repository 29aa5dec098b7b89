"""What `tidegate bench queue` is compared with: python-arq on the same Valkey, and a queue in PostgreSQL."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any, Self

from redis.asyncio import BlockingConnectionPool

from deploy.bench.postgres import LocalPostgres
from deploy.bench.queue_load import Held, feed
from review.settings import ReviewSettings
from review.task import ReviewTask

_JOB = "verdict"
_CONNECTIONS = 32
"""As many as a ReviewQueue has."""

_SCHEMA = """
CREATE TABLE review (
    event_id text PRIMARY KEY, score bigint NOT NULL, task text NOT NULL,
    holder text, token bigint, deadline timestamptz
);
CREATE INDEX waiting ON review (score) WHERE holder IS NULL;
CREATE INDEX leases ON review (deadline) WHERE holder IS NOT NULL;
CREATE SEQUENCE tokens;
"""
_PUT = "INSERT INTO review (event_id, score, task) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_CLAIM = """
UPDATE review SET holder = $1, token = nextval('tokens'), deadline = now() + make_interval(secs => $2)
WHERE event_id = (SELECT event_id FROM review WHERE holder IS NULL ORDER BY score LIMIT 1 FOR UPDATE SKIP LOCKED)
RETURNING event_id, token, task
"""
_COMPLETE = "DELETE FROM review WHERE event_id = $1 AND token = $2"


class PostgresQueue:
    """The queue that one would write on PostgreSQL: SKIP LOCKED to find the first task, a lease in its row.

    It does less than ours: leases do not run out, no task is remembered once decided, nothing is found by label.
    """

    def __init__(self, pool: Any, server: LocalPostgres) -> None:
        self._pool = pool
        self._server = server
        self._settings = ReviewSettings()

    @classmethod
    @asynccontextmanager
    async def connected(cls, server: LocalPostgres, *, durable: bool = True) -> AsyncIterator[Self]:
        """On a server, with as many connections as a ReviewQueue has.

        Args:
            server: where it is.
            durable: wait for the disk with every change; otherwise a crash loses the last half second of them.
        """
        commit = {"synchronous_commit": "on" if durable else "off"}
        pool = await import_module("asyncpg").create_pool(
            server.url, min_size=_CONNECTIONS, max_size=_CONNECTIONS, server_settings=commit
        )
        try:
            yield cls(pool, server)
        finally:
            await pool.close()

    async def make(self) -> None:
        """The table, its indexes and its sequence, anew."""
        await self._pool.execute("DROP TABLE IF EXISTS review; DROP SEQUENCE IF EXISTS tokens;" + _SCHEMA)

    async def size(self) -> int:
        """Bytes of the table with its indexes."""
        return int(await self._pool.fetchval("SELECT pg_total_relation_size('review')"))

    async def fill(self, arrivals: Iterator[ReviewTask]) -> None:
        """By COPY; then the planner's statistics are brought up to date."""
        while rows := [self._row(task) for task in itertools.islice(arrivals, 10_000)]:
            await self._pool.copy_records_to_table("review", records=rows, columns=("event_id", "score", "task"))
        await self._pool.execute("VACUUM ANALYZE review")

    async def put(self, task: ReviewTask) -> None:
        """One row."""
        await self._pool.execute(_PUT, *self._row(task))

    async def claim(self, moderator: str) -> Held | None:
        """The first row that nobody holds or is taking."""
        row = await self._pool.fetchrow(_CLAIM, moderator, self._settings.lease_s)
        return None if row is None else Held(row["event_id"], row["token"])

    async def complete(self, held: Held) -> None:
        """Delete the row.

        Raises:
            RuntimeError: it is not held any more.
        """
        done = await self._pool.execute(_COMPLETE, held.event_id, held.token)
        if done != "DELETE 1":
            raise RuntimeError(f"{held.event_id}: PostgreSQL has lost a lease: {done}")

    async def cpu_seconds(self) -> float:
        """Of all processes of the server."""
        return self._server.cpu_seconds()

    def _row(self, task: ReviewTask) -> tuple[str, int, str]:
        worth = task.priority / 10 * self._settings.ageing_s
        return task.event_id, int(1000 * (task.decided_at.timestamp() - worth)), task.model_dump_json()


async def arq_figures(url: str, arrivals: Iterator[ReviewTask], moderators: int, turns: int) -> dict[str, float]:
    """python-arq: jobs that carry a task and do nothing, `moderators` of them at a time.

    There is no claim for a person in it: its worker polls, takes a job and runs it. It is spared the pause between
    polls and the results that it would keep; its rate is of whole jobs, from taking one to deleting it.

    Args:
        url: of a Valkey server that nothing else uses meanwhile.
        arrivals: tasks that the jobs carry.
        moderators: jobs that run at once.
        turns: jobs that are run.

    Raises:
        RuntimeError: it has not taken a job, or has run less than half of them.
    """
    from arq.connections import ArqRedis  # noqa: PLC0415 - a developer's dependency
    from arq.worker import Worker, func  # noqa: PLC0415

    pool = ArqRedis(BlockingConnectionPool.from_url(url, max_connections=_CONNECTIONS))
    try:
        before = (await pool.info("memory"))["used_memory"]
        waiting = 0
        started = time.perf_counter()

        async def enqueue(task: ReviewTask) -> None:
            nonlocal waiting
            if await pool.enqueue_job(_JOB, task.model_dump_json(), _job_id=task.event_id) is None:
                raise RuntimeError(f"{task.event_id}: arq has not taken the job")
            waiting += 1

        await feed(arrivals, enqueue)
        filled = time.perf_counter() - started
        size = (await pool.info("memory"))["used_memory"] - before
        worker = Worker(
            functions=[func(_verdict, name=_JOB)],
            redis_pool=pool,
            handle_signals=False,
            burst=True,
            max_burst_jobs=turns,  # or a few less: a job that ends between two polls is counted twice there
            max_jobs=moderators,
            poll_delay=0,
            keep_result=0,
        )
        started, cpu = time.perf_counter(), time.process_time()
        done = await worker.run_check()
        seconds = time.perf_counter() - started
        busy = (time.process_time() - cpu) / seconds
    finally:
        await pool.aclose(close_connection_pool=True)
    if done < turns / 2:
        raise RuntimeError(f"arq has run {done} of {turns} jobs only")
    return {
        "waiting": waiting,
        "puts_per_s": round(waiting / filled, 1),
        "jobs_per_s": round(done / seconds, 1),
        "client_share": round(busy, 3),
        "bytes_per_item": round(size / waiting),
    }


async def _verdict(ctx: dict[Any, Any], *task: Any, **_: Any) -> None:
    """The job."""
