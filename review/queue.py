"""The review queue in Valkey: every task waits, is claimed under a lease, or has left with a durable verdict.

Each operation is one Lua script of `lua/`, hence atomic; `lua/queue.lua` describes the keys, which share one hash tag,
so that a cluster keeps them together. The only clock is the server's.

Order: a task is worth its waiting time plus `ageing_s` for every ten points of priority, so that nothing waits for
ever. A lease that runs out sends its task to the front and is counted. A moderator who is merely slow keeps the task:
an old fencing token stops fitting only when somebody else has claimed it, or its holder has released it.

A verdict reaches Kafka before its task leaves the queue: see `review.verdicts`.
"""

from __future__ import annotations

import hashlib
from enum import StrEnum
from typing import Literal

import structlog

from review.entrance import Entrance, PutResult, Standing
from review.figures import Figures, read_figures
from review.lease import Claim, Entry, Lease, QueueError, UnreadableTaskError, accepted, read_entry, read_task
from review.scripts import QueueFullError, QueueUnavailableError
from review.task import ReviewTask

__all__ = ["Figures", "Next", "PutResult", "QueueFullError", "QueueUnavailableError", "ReviewQueue", "Standing"]

log = structlog.get_logger()


class Next(StrEnum):
    """What becomes of a task with a verdict."""

    DECIDED = "decided"
    SECOND = "second"  # somebody else answers it, too
    ADJUDICATION = "adjudication"  # the answers differ: a lead decides


class ReviewQueue(Entrance):
    """The queue as one process uses it, from one event loop. Connects at the first operation.

    Any operation may raise QueueUnavailableError.
    """

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
        the first of at most one of: `label`, `reason`, `taxonomy`, `group` (the same perceptual hash, or the same
        content where there is none). What they skipped or answered before is passed over. When the answer is lost on
        its way, the task comes back with the end of its lease.

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

    async def take(self, event_id: str, reviewer: str) -> Claim:
        """One certain task, if it waits and is anybody's, held for `reviewer` for `lease_s`.

        Raises:
            NotHeldError: somebody else holds it. AlreadyDecidedError, NotWaitingError: it is gone.
            QueueError: only leads may decide it, or the reviewer has skipped or answered it.
        """
        reply = accepted(await self._call("take", event_id, reviewer, _ms(self._settings.lease_s)), event_id)
        entry = read_entry(*reply[1:4])
        assert entry.lease is not None
        return Claim(read_task(event_id, reply[4]), entry, entry.lease)

    async def similar(self, event_id: str, most: int = 50) -> list[tuple[str, int]]:
        """Waiting tasks whose images look like that of this one, nearest first, with the distance in bits (of 256).

        As far as `near_duplicate_bits` (PDQ's authors take 31); up to 15 bits none is missed, at 31 one in twelve.
        """
        found = await self._call("similar", event_id, self._settings.near_duplicate_bits, most)
        return [(name.decode(), int(bits)) for name, bits in zip(found[::2], found[1::2], strict=True)]

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
