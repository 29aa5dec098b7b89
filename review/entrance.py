"""The queue where tasks come in: put by workers, demanded by people, and brought to what the topics say."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Literal

from review.lease import Answer, accepted
from review.scripts import Scripts
from review.settings import ReviewSettings, ValkeySettings
from review.task import ReviewTask

_BATCH = 64  # tasks in one call of `put`, during which Valkey serves nobody else, for some milliseconds


class PutResult(StrEnum):
    """What became of a put. All three mean that the event needs no further put."""

    ADDED = "added"
    ALREADY_WAITING = "already_waiting"  # or claimed
    ALREADY_DECIDED = "already_decided"


class Standing(StrEnum):
    """Where the queue has an event."""

    WAITING = "waiting"  # or claimed
    DECIDED = "decided"
    UNKNOWN = "unknown"


_PutArguments = tuple[str, str, int, int, str]
_STANDINGS = {letter.value[0]: letter for letter in Standing}
_PUT_RESULTS = {"a": PutResult.ADDED, "w": PutResult.ALREADY_WAITING, "d": PutResult.ALREADY_DECIDED}


class Entrance:
    """The part of the queue that others than reviewers use. From one event loop."""

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

    async def tasks_of(self, kind: Literal["event", "uploader"], given: str) -> AsyncIterator[tuple[str, str | None]]:
        """Event id and content hash of the tasks of an event, or of an uploader; also those whose verdict could still
        be taken back. Reads every task."""
        field = "event_id" if kind == "event" else "uploader_id"
        async for document in self._scripts.values("tasks", 500):
            if given.encode() in document:
                task = json.loads(document)
                if task.get(field) == given:
                    yield task["event_id"], task.get("content_sha256")

    async def erase(self, event_ids: Sequence[str]) -> int:
        """Remove every trace of these events, whoever holds them; how many had a task. Redelivery does not bring them
        back for as long as decided events are remembered."""
        erased = 0
        for at in range(0, len(event_ids), _BATCH):
            erased += int(await self._call("erase", *event_ids[at : at + _BATCH]))
        return erased

    async def scan(self, page: int = 500) -> AsyncIterator[list[str]]:
        """The event ids of all tasks, page by page. Those that come or go meanwhile may be missed or repeated."""
        cursor = 0
        while True:
            cursor, found = await self._scripts.scan("since", cursor, page)
            yield found
            if not cursor:
                return
