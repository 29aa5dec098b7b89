"""The stream of image events, out of Kafka and into the pipeline.

The guarantee is at least once: an offset is committed only when its event and all before it in the partition are done,
which is to say that their outputs are durable. Whatever ends in between - a crash, a rebalance, a deadline - leaves
events uncommitted, and Kafka gives them out again.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Awaitable, Callable, Collection

import structlog

from calibration.settings import KafkaSettings
from worker import telemetry
from worker.settings import StreamSettings
from worker.stream.assignment import Arrival, Assignment, FatalStreamError
from worker.stream.in_flight import InFlight
from worker.stream.member import GroupMember
from worker.stream.window import Window

__all__ = ["Arrival", "FatalStreamError", "ImageStream"]

log = structlog.get_logger()

_LEAVE_S = 10.0  # for the last commits and the goodbye to the group, after which the client's thread is left behind


class ImageStream:
    """Consumes the images topic as a member of the consumer group, with a bounded window of events in flight."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: StreamSettings,
        handle: Callable[[Arrival], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing starts before `run`.

        Args:
            handle: returns when the outputs of an event are durable. Whatever it raises stops the stream. It may be
                cancelled: when its partition is lost, or at the deadline of a drain.
            clock: monotonic seconds.
        """
        self._settings = settings
        self._clock = clock
        self._window = Window(settings.window_events, settings.window_bytes)
        self._in_flight = InFlight(handle, self._window, self._fail)
        self._member = GroupMember(
            kafka,
            settings,
            self._window,
            deliver=self._deliver,
            settle=self._settle,
            failed=self._member_failed,
            clock=clock,
        )
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked = False
        self._over = asyncio.Event()
        self._failure: Exception | None = None
        self._settling: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Consume until `stop`, then drain: finish what is in flight within `drain_s`, commit, leave the group.

        Being cancelled has the same effect as `stop`. To be called once.

        Raises:
            FatalStreamError: the topic cannot be read on. OutageError: Kafka was away for longer than `outage_s`.
            Exception: what the handler raised first. All of them after the drain.
        """
        self._loop = loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()
        ended.add_done_callback(lambda _: self._over.set())
        threading.Thread(target=self._be_member, args=(loop, ended), name="tidegate-stream", daemon=True).start()
        if self._stop_asked:
            self._over.set()
        try:
            await self._over.wait()
        finally:
            self._stop_asked = True
            await self._wind_up(ended)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask for the drain. May be called from any thread and from a signal handler, before `run` as well."""
        self._stop_asked = self._member.draining = True  # no more than that and the wake-up: a signal may come anywhere
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: there is nothing left to stop
                self._loop.call_soon_threadsafe(self._over.set)

    def admit(self, admitting: bool) -> None:
        """Take events, or none until told otherwise; what is in flight goes on. From any thread."""
        self._window.admit(admitting)

    @property
    def assigned(self) -> tuple[int, ...]:
        """The partitions that this worker owns."""
        return self._member.assigned

    @property
    def stalled(self) -> dict[int, float]:
        """For each stalled partition how many seconds it has been behind without moving."""
        return self._member.stalled

    def problems(self) -> list[str]:
        """What calls for a restart, a sentence each; empty when all is well. Kafka being away is no such thing."""
        problems = [
            f"partition {partition} has been behind without moving for {seconds:.0f} s"
            for partition, seconds in self.stalled.items()
            if seconds >= self._settings.stall_fatal_s
        ]
        silent_s = self._clock() - self._member.turned_at
        if self._loop is not None and silent_s > self._settings.max_poll_interval_ms / 1000:
            problems.append(f"the Kafka client has not come back for {silent_s:.0f} s")
        return problems

    def _be_member(self, loop: asyncio.AbstractEventLoop, ended: asyncio.Future[None]) -> None:
        """The life of the thread that owns the Kafka client; however it ends, `run` is told."""
        try:
            self._member.run()
        except BaseException as error:
            self._member_failed(FatalStreamError(f"the thread of the Kafka client died: {error!r}"))
        finally:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
                loop.call_soon_threadsafe(ended.set_result, None)

    def _member_failed(self, error: Exception) -> None:
        assert self._loop is not None
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody would hear of it
            self._loop.call_soon_threadsafe(self._fail, error)

    async def _wind_up(self, ended: asyncio.Future[None]) -> None:
        self._in_flight.refuse()
        self._member.draining = True
        if not ended.done():
            log.info("draining", events=self._window.events, drain_s=self._settings.drain_s)
        in_vain = self._failure is not None and self._member.away
        await self._in_flight.settle(0 if in_vain else self._settings.drain_s)
        self._member.leave()
        await asyncio.wait([ended], timeout=_LEAVE_S)
        if not ended.done():
            self._fail(FatalStreamError(f"the Kafka client did not end within {_LEAVE_S:.0f} s; left uncommitted"))
        await asyncio.gather(*self._settling)
        for gauge in (
            telemetry.EVENTS_IN_FLIGHT,
            telemetry.BYTES_IN_FLIGHT,
            telemetry.PARTITIONS_ASSIGNED,
            telemetry.PARTITIONS_PAUSED,
            telemetry.PARTITIONS_STALLED,
            telemetry.OLDEST_UNCOMMITTED,
        ):
            gauge.set(0)

    def _fail(self, failure: Exception) -> None:
        """Keep the first failure, which `run` raises after the drain. On the event loop."""
        if self._failure is None:
            self._failure = failure
        else:
            log.error("another failure while stopping", error=repr(failure))
        self._over.set()

    def _deliver(self, batch: list[tuple[Assignment, Arrival]]) -> None:
        """Start the events of one poll on the event loop: one wake-up for all. On the client's thread."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._in_flight.start, batch)

    def _settle(self, assignments: Collection[Assignment], patience_s: float, done: Callable[[], None]) -> None:
        """Let the events of assignments end on the event loop, then call `done` there. On the network thread."""
        assert self._loop is not None

        async def settle() -> None:
            try:
                await self._in_flight.settle(patience_s, assignments)
            finally:
                done()

        def begin() -> None:
            task = asyncio.create_task(settle())
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

        self._loop.call_soon_threadsafe(begin)
