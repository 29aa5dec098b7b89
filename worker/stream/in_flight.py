"""The events in flight: one asyncio task each."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

import structlog

from worker import telemetry
from worker.stream.assignment import Arrival, Assignment
from worker.stream.window import Window

log = structlog.get_logger()

_CANCEL_S = 1.0


class InFlight:
    """Runs the handler of each event in a task of its own; lives on the event loop.

    An event whose handler returns is done. One whose handler raises stays undone for ever: the failure is reported
    once, the worker stops, and Kafka gives the event out again.
    """

    def __init__(
        self, handle: Callable[[Arrival], Awaitable[None]], window: Window, on_failure: Callable[[Exception], None]
    ) -> None:
        self._handle = handle
        self._window = window
        self._on_failure = on_failure
        self._tasks: dict[asyncio.Task[None], tuple[Assignment, Arrival]] = {}
        self._accepting = True

    def start(self, batch: list[tuple[Assignment, Arrival]]) -> None:
        """Start the events of one poll; they are in the window already."""
        for assignment, arrival in batch:
            if self._accepting:
                task = asyncio.create_task(self._run(assignment, arrival))
                self._tasks[task] = assignment, arrival
            else:
                self._window.leave(arrival.size)

    def refuse(self) -> None:
        """From now on drop what comes: it was not begun, and stays uncommitted."""
        self._accepting = False

    async def _run(self, assignment: Assignment, arrival: Arrival) -> None:
        task = asyncio.current_task()
        assert task is not None
        try:
            await self._handle(arrival)
        except asyncio.CancelledError as error:
            if task.cancelling():
                raise
            self._failed(arrival, error)  # nobody asked for it: left alone, it would hold its partition for ever
        except Exception as error:
            self._failed(arrival, error)
        else:
            assignment.tracker.done(arrival.position.offset)
        finally:
            self._tasks.pop(task, None)
            self._window.leave(arrival.size)

    def _failed(self, arrival: Arrival, error: BaseException) -> None:
        log.error("event failed", **arrival.position.model_dump(), error=repr(error), note="uncommitted; comes again")
        if not isinstance(error, Exception):
            error = RuntimeError(f"the handler of {arrival.position} was cancelled from inside")
        self._on_failure(error)

    async def settle(self, seconds: float, assignments: Collection[Assignment] | None = None) -> None:
        """Wait for the events of these assignments (default: all), and cancel those that are late.

        Late ones are counted and logged; they stay uncommitted and Kafka gives them out again.
        """
        tasks = [
            task for task, (assignment, _) in self._tasks.items() if assignments is None or assignment in assignments
        ]
        if not tasks:
            return
        _, late = await asyncio.wait(tasks, timeout=max(0.0, seconds))
        for task in late:
            if task not in self._tasks:
                continue  # given up already: its partition and the whole stream may be settled at the same time
            _, arrival = self._tasks.pop(task)
            telemetry.UNFINISHED.inc()
            log.warning("event given up", **arrival.position.model_dump(), waited_s=seconds, note="comes again")
            task.cancel()
        if late:
            _, stubborn = await asyncio.wait(late, timeout=_CANCEL_S)
            if stubborn:
                log.error("events do not end", events=len(stubborn), note="their handlers ignore being cancelled")
