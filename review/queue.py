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
import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal

import structlog

from review.figures import Figures, read_figures
from review.lease import Answer, Claim, Entry, Lease, QueueError, UnreadableTaskError, accepted, read_entry, read_task
from review.scripts import QueueFullError, QueueUnavailableError, Scripts
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask

__all__ = ["Figures", "Next", "PutResult", "QueueFullError", "QueueUnavailableError", "ReviewQueue", "Standing"]

log = structlog.get_logger()

_BATCH = 256  # tasks in one call of `put`, during which Valkey serves nobody else


class PutResult(StrEnum):
    """What became of a put. All three mean that the event needs no further put."""

    ADDED = "added"
    ALREADY_WAITING = "already_waiting"  # or claimed
    ALREADY_DECIDED = "already_decided"


class Next(StrEnum):
    """What becomes of a task with a verdict."""

    DECIDED = "decided"
    SECOND = "second"  # somebody else answers it, too
    ADJUDICATION = "adjudication"  # the answers differ: a lead decides


class Standing(StrEnum):
    """Where the queue has an event."""

    WAITING = "waiting"  # or claimed
    DECIDED = "decided"
    UNKNOWN = "unknown"


_PutArguments = tuple[str, str, int, int, str]
_STANDINGS = {letter.value[0]: letter for letter in Standing}
_PUT_RESULTS = {"a": PutResult.ADDED, "w": PutResult.ALREADY_WAITING, "d": PutResult.ALREADY_DECIDED}


class ReviewQueue:
    """The queue as one process uses it, from one event loop. Connects at the first operation.

    Any operation may raise QueueUnavailableError.
    """

    def __init__(self, valkey: ValkeySettings, review: ReviewSettings) -> None:
        self._scripts = Scripts(valkey)
        self._call = self._scripts.call
        self._settings = review
        self._pending: list[tuple[_PutArguments, asyncio.Future[PutResult]]] = []
        self._putting: asyncio.Task[None] | None = None

    async def close(self) -> None:
        """Finish the puts under way and disconnect."""
        if self._putting is not None:
            await self._putting
        await self._scripts.close()

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

    async def claim(
        self,
        reviewer: str,
        *,
        by: Literal["priority", "oldest"] = "priority",
        label: str | None = None,
        reason: str | None = None,
        taxonomy: str | None = None,
        group: str | None = None,
        lead: bool = False,
    ) -> Claim | None:
        """A task held for `reviewer` for `lease_s`; None when none waits that they may have.

        First comes what was handed to them; to those who lead, then, what only they decide; then the most urgent, or
        the first of at most one of: `label`, `reason`, `taxonomy`, `group` (of the same content). What they skipped or
        answered before is passed over. When the answer is lost on its way, the task comes back with the end of its
        lease.

        Raises:
            ValueError: more than one of them.
        """
        asked = [("l", label), ("r", reason), ("t", taxonomy), ("g", group), ("o", "" if by == "oldest" else None)]
        given = [kind + value for kind, value in asked if value is not None]
        if len(given) > 1:
            raise ValueError("claim by one of: oldest, label, reason, taxonomy, group")
        facet = given[0] if given else ""
        while True:
            reply = await self._call("claim", reviewer, _ms(self._settings.lease_s), facet, int(lead))
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
        accepted(await self._call("release", event_id, token, 0), event_id)

    async def skip(self, event_id: str, token: int) -> None:
        """The same, and its holder is never given it again.

        Raises:
            NotHeldError, AlreadyDecidedError, NotWaitingError: as for `release`.
        """
        accepted(await self._call("release", event_id, token, 1), event_id)

    async def hold(self, event_id: str, token: int, for_s: float, note: str) -> None:
        """Put a task aside for longer, still held; at the end of that time it returns to the front.

        Raises:
            QueueError: longer than `hold_limit_s`.
            NotHeldError, AlreadyDecidedError, NotWaitingError: as for `release`.
        """
        if for_s > self._settings.hold_limit_s:
            raise QueueError(f"{event_id}: a task is held for {self._settings.hold_limit_s / 3600:g} hours at most")
        accepted(await self._call("keep", event_id, token, _ms(for_s), note), event_id)

    async def transfer(self, event_id: str, token: int, to: str, note: str = "") -> None:
        """Hand a task to another reviewer: it is their next claim. After `transfer_s` it is everybody's again.

        Raises:
            QueueError: that reviewer has skipped or answered it.
            NotHeldError, AlreadyDecidedError, NotWaitingError: as for `release`.
        """
        accepted(await self._call("transfer", event_id, token, to, _ms(self._settings.transfer_s), note), event_id)

    async def escalate(self, event_id: str, token: int, note: str) -> None:
        """Leave a task to those who lead.

        Raises:
            NotHeldError, AlreadyDecidedError, NotWaitingError: as for `release`.
        """
        accepted(await self._call("escalate", event_id, token, note), event_id)

    def wants_second_answer(self, event_id: str) -> bool:
        """Whether a second reviewer answers an event, too: drawn by its id, alike in every process."""
        drawn = int.from_bytes(hashlib.sha256(b"second-answer\0" + event_id.encode()).digest()[:8])
        return drawn < self._settings.second_answer_share * 2**64

    async def complete(
        self, event_id: str, token: int, label: str | None = None, *, second: bool = False, version: int | None = None
    ) -> Next:
        """A verdict is durable: take its task out of the queue, or have it answered again.

        Args:
            label: what it says; None: cannot tell.
            second: whether another reviewer is to answer it too, if this is the first answer.
            version: of the entry that its reviewer saw.

        Raises:
            VersionConflictError: the task has changed since.
            NotHeldError: somebody else holds it now, or nobody does. AlreadyDecidedError, NotWaitingError: it is gone.
        """
        settings = self._settings
        reply = await self._call(
            *("complete", event_id, token, settings.decided_ttl_s * 1000, _ms(settings.undo_s)),
            *(label or "", int(second), "" if version is None else version),
        )
        return Next(accepted(reply, event_id)[1].decode())

    async def undoable(self, event_id: str, reviewer: str, *, lead: bool = False) -> Claim:
        """What `undo` would bring back, which changes nothing. Its entry has the verdict as the last of its answers.

        Raises:
            UndoRefusedError: too late, somebody else's, or looked at by somebody. NotWaitingError: no such task.
        """
        return await self._undo(event_id, reviewer, lead, look=True)

    async def undo(self, event_id: str, reviewer: str, *, lead: bool = False) -> Claim:
        """Forget the last verdict on a task, within `undo_s`: its reviewer holds the task again.

        Args:
            lead: whether this is somebody who may take back the verdicts of others.

        Raises:
            UndoRefusedError, NotWaitingError: as for `undoable`.
        """
        return await self._undo(event_id, reviewer, lead, look=False)

    async def _undo(self, event_id: str, reviewer: str, lead: bool, *, look: bool) -> Claim:
        settings = self._settings
        reply = await self._call(
            "undo", event_id, reviewer, int(lead), _ms(settings.lease_s), _ms(settings.undo_s), int(look)
        )
        entry = read_entry(*accepted(reply, event_id)[1:4])
        now = entry.at
        lease = entry.lease or Lease(holder=reviewer, token=0, claimed_at=now, deadline=now)
        return Claim(read_task(event_id, reply[4]), entry, lease)

    async def force(self, task: ReviewTask, by: str, note: str) -> bool:
        """Have an event reviewed whatever became of it: to the front, even if it was decided. False: it waits already,
        and moves to the front unless somebody holds it."""
        event_id, reason, asked_at, _, document = self._put_arguments(task)
        reply = await self._call("force", event_id, reason, asked_at, document, by, note)
        return bool(accepted(reply, event_id)[1] == b"added")

    async def standing(self, event_ids: Sequence[str]) -> list[Standing]:
        """Where each of these events stands."""
        letters = await self._call("standing", *event_ids) if event_ids else b""
        return [_STANDINGS[letter] for letter in letters.decode()]

    async def settle(self, given_at: Mapping[str, datetime]) -> int:
        """Take tasks out whose verdicts are known to be on their topic, whoever holds them; how many were there.

        Args:
            given_at: when the verdict on each event was given. Where somebody demanded a review since, the task stays.
        """
        pairs = [part for name, given in given_at.items() for part in (name, int(given.timestamp() * 1000))]
        return int(await self._call("settle", *pairs)) if pairs else 0

    async def recall(self, event_id: str, answers: Sequence[Answer]) -> None:
        """Give a task that was put anew the answers that it had. Does nothing where it is held, or has some."""
        known = [
            {"reviewer": each.reviewer, "label": each.label or False, "token": 0, "at": int(each.at.timestamp() * 1000)}
            for each in answers
        ]
        await self._call("recall", event_id, json.dumps(known))

    async def scan(self, page: int = 500) -> AsyncIterator[list[str]]:
        """The event ids of all tasks, page by page. Those that come or go meanwhile may be missed or repeated."""
        cursor = 0
        while True:
            cursor, found = await self._scripts.scan("since", cursor, page)
            yield found
            if not cursor:
                return

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

    async def for_leads(self, limit: int = 50) -> list[Entry]:
        """The first `limit` of those that wait for a lead, in the order in which they will be claimed."""
        return await self._list("leads", limit)

    async def _list(self, index: Literal["waiting", "claimed", "leads"], limit: int) -> list[Entry]:
        at, *rows = await self._call("list", index, 0, limit - 1)
        return [read_entry(event_id, state, at) for event_id, state in zip(rows[::2], rows[1::2], strict=True) if state]

    async def figures(self) -> Figures:
        """The queue in numbers."""
        return read_figures(await self._call("figures"), await self._scripts.memory_ratio())


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))
