"""The review queue in Valkey: every task waits, is claimed under a lease, or has left with a durable verdict.

Each operation is one Lua script of `lua/`, hence atomic; `lua/queue.lua` describes the keys, which share one hash tag,
so that a cluster keeps them together. The only clock is the server's.

Order: a task is worth its waiting time plus `ageing_s` for every ten points of priority, so that nothing waits for
ever. A lease that runs out sends its task to the front and is counted. A moderator who is merely slow keeps the task:
an old fencing token stops fitting only when somebody else has claimed it, or its holder has released it.

A verdict reaches Kafka before its task leaves the queue: see `review.verdicts`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal, get_args

import structlog
from redis.exceptions import OutOfMemoryError, RedisError

from review.lease import Claim, Entry, QueueError, UnreadableTaskError, accepted, read_entry, read_task
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask
from review.valkey import connect

log = structlog.get_logger()

_KEYS = ("tasks", "state", "waiting", "leases", "since", "decided", "damaged", "reasons", "counters")
_Script = Literal["put", "claim", "extend", "release", "complete", "damage", "figures", "list", "find"]
_LUA = Path(__file__).parent / "lua"
_BATCH = 256  # tasks in one call of `put`, during which Valkey serves nobody else


class QueueUnavailableError(QueueError):
    """Valkey cannot be reached or refuses to serve: try again. The operation may or may not have happened."""


class QueueFullError(QueueError):
    """Valkey is at its memory limit and takes no more tasks until moderators have decided some: try again."""


class PutResult(StrEnum):
    """What became of a put. All three mean that the event needs no further put."""

    ADDED = "added"
    ALREADY_WAITING = "already_waiting"  # or claimed
    ALREADY_DECIDED = "already_decided"


_PutArguments = tuple[str, str, int, int, str]
_PUT_RESULTS = {"a": PutResult.ADDED, "w": PutResult.ALREADY_WAITING, "d": PutResult.ALREADY_DECIDED}


@dataclass(frozen=True, slots=True)
class Figures:
    """The queue in numbers."""

    depth: int
    """Tasks that wait for a verdict, claimed ones included."""
    claimed: int
    oldest_s: float
    """Age of the oldest of them; 0 when there is none."""
    by_reason: dict[str, int]
    expired_leases: int
    """Ever."""
    damaged: int
    """Tasks that cannot be shown, because they are missing in Valkey or unreadable. They are not part of the depth."""
    decided: int
    """Events remembered as decided."""
    memory_ratio: float
    """Used share of Valkey's maxmemory; 0 when that is unlimited."""


class ReviewQueue:
    """The queue as one process uses it, from one event loop. Connects at the first operation.

    Any operation may raise QueueUnavailableError.
    """

    def __init__(self, valkey: ValkeySettings, review: ReviewSettings) -> None:
        self._valkey = connect(valkey)
        self._settings = review
        self._keys = [f"{{{valkey.key_prefix}}}:review:{name}" for name in _KEYS]
        self._scripts = {name: self._valkey.register_script(_source(name)) for name in get_args(_Script)}
        self._pending: list[tuple[_PutArguments, asyncio.Future[PutResult]]] = []
        self._putting: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Finish the puts under way and disconnect."""
        if self._putting is not None:
            await self._putting
        await self._valkey.aclose()

    async def put(self, task: ReviewTask) -> PutResult:
        """Add a task, unless it is there or was decided within `decided_ttl_s`. Repeating it is harmless.

        Concurrent puts share round trips: those that arrive while one is under way go together in the next.

        Raises:
            QueueFullError: no memory left in Valkey; try again later.
        """
        arguments = self._put_arguments(task)
        done: asyncio.Future[PutResult] = asyncio.get_running_loop().create_future()
        self._pending.append((arguments, done))
        if self._putting is None:
            self._putting = asyncio.create_task(self._put_pending())
        return await done

    async def _put_pending(self) -> None:
        try:
            while self._pending:
                batch, self._pending = self._pending[:_BATCH], self._pending[_BATCH:]
                arguments = [part for task, _ in batch for part in task]
                try:
                    letters = await self._call("put", self._settings.decided_ttl_s * 1000, *arguments)
                except Exception as error:  # not lost: it is raised where each of them waits
                    for _, done in batch:
                        if not done.done():
                            done.set_exception(error)
                else:
                    for (_, done), letter in zip(batch, letters.decode(), strict=True):
                        if not done.done():
                            done.set_result(_PUT_RESULTS[letter])
        finally:
            self._putting = None

    def _put_arguments(self, task: ReviewTask) -> _PutArguments:
        return (
            task.event_id,
            task.reason.value,
            int(task.decided_at.timestamp() * 1000),
            int(task.priority / 10 * self._settings.ageing_s * 1000),
            task.model_dump_json(),
        )

    async def claim(self, reviewer: str) -> Claim | None:
        """The most urgent waiting task, held for `reviewer` for `lease_s`; None when none waits.

        When the answer is lost on its way, the task comes back with the end of its lease.
        """
        while True:
            reply = await self._call("claim", reviewer, _ms(self._settings.lease_s))
            match reply[0]:
                case b"empty":
                    return None
                case b"damaged":
                    log.error("review task damaged", event_id=reply[1].decode(), why="missing in Valkey; rebuild it")
                    continue
            entry = read_entry(*reply[1:4])
            assert entry.lease is not None
            try:
                return Claim(read_task(entry.event_id, reply[4]), entry, entry.lease)
            except UnreadableTaskError as error:
                log.error("review task damaged", event_id=entry.event_id, why=str(error))  # noqa: TRY400 - it is data
                await self._call("damage", entry.event_id, entry.lease.token, str(error))

    async def extend(self, event_id: str, token: int, for_s: float | None = None) -> Claim:
        """Hold a task for at least `for_s` (default: `lease_s`) from now on: the heartbeat of a lease.

        Raises:
            NotHeldError: somebody else holds it now, or nobody does. AlreadyDecidedError, NotWaitingError: it is gone.
        """
        reply = await self._call("extend", event_id, token, _ms(for_s or self._settings.lease_s))
        entry = read_entry(*accepted(reply, event_id)[1:4])
        assert entry.lease is not None
        return Claim(read_task(event_id, reply[4]), entry, entry.lease)

    async def release(self, event_id: str, token: int) -> None:
        """Give a task back to its place by priority and age.

        Raises:
            NotHeldError: somebody else holds it now, or nobody does. AlreadyDecidedError, NotWaitingError: it is gone.
        """
        accepted(await self._call("release", event_id, token), event_id)

    async def complete(self, event_id: str, token: int) -> None:
        """Take a task whose verdict is durable out of the queue, and remember its event as decided.

        Raises:
            NotHeldError: somebody else holds it now, or nobody does. AlreadyDecidedError, NotWaitingError: it is gone.
        """
        accepted(await self._call("complete", event_id, token, self._settings.decided_ttl_s * 1000), event_id)

    async def find(self, event_id: str) -> tuple[ReviewTask, Entry]:
        """One task of the queue, whoever holds it.

        Raises:
            AlreadyDecidedError, NotWaitingError: it is not there.
        """
        reply = accepted(await self._call("find", event_id), event_id)
        return read_task(event_id, reply[4]), read_entry(*reply[1:4])

    async def waiting(self, limit: int = 50) -> list[Entry]:
        """The first `limit` waiting tasks, in the order in which they will be claimed."""
        return await self._list("waiting", limit)

    async def claimed(self, limit: int = 50) -> list[Entry]:
        """The first `limit` claimed tasks, in the order in which their leases end; those that ran out come first."""
        return await self._list("claimed", limit)

    async def _list(self, index: Literal["waiting", "claimed"], limit: int) -> list[Entry]:
        at, *rows = await self._call("list", index, 0, limit - 1)
        return [read_entry(event_id, state, at) for event_id, state in zip(rows[::2], rows[1::2], strict=True) if state]

    async def figures(self) -> Figures:
        """The queue in numbers."""
        now, depth, claimed, oldest, expired, damaged, decided, *reasons = await self._call("figures")
        with _sentences():
            memory = await self._valkey.info("memory")
        limit = memory["maxmemory"]
        return Figures(
            depth=depth,
            claimed=claimed,
            oldest_s=(now - float(oldest)) / 1000 if oldest else 0.0,
            by_reason={
                reason.decode(): int(count)
                for reason, count in zip(reasons[::2], reasons[1::2], strict=True)
                if int(count)
            },
            expired_leases=expired,
            damaged=damaged,
            decided=decided,
            memory_ratio=memory["used_memory"] / limit if limit else 0.0,
        )

    async def _call(self, name: _Script, *arguments: str | int) -> Any:
        with _sentences():
            return await self._scripts[name](keys=self._keys, args=arguments)


@contextmanager
def _sentences() -> Iterator[None]:
    """Turn what redis-py raises into this module's errors."""
    try:
        yield
    except OutOfMemoryError as error:
        raise QueueFullError(
            "Valkey is at its memory limit and takes no new review tasks: decide some, or raise its maxmemory"
        ) from error
    except (RedisError, OSError) as error:
        raise QueueUnavailableError(f"the review queue's Valkey does not serve: {error}") from error


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _source(name: _Script) -> str:
    """A script with the shared words before it; its first line must stay the first."""
    first, rest = (_LUA / f"{name}.lua").read_text().split("\n", 1)
    return f"{first}\n{(_LUA / 'queue.lua').read_text()}\n{rest}"
