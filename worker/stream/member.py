"""The worker's membership in its consumer group: one thread owns the Kafka client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Any

import structlog
from kafka import AsyncConsumerRebalanceListener, KafkaConsumer, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.errors import KafkaError, RetriableError
from kafka.future import Future
from kafka.structs import MemberState

from calibration.ledger.connection import connect
from calibration.settings import KafkaSettings
from review.task import RecordPosition
from worker import telemetry
from worker.retry import OutageError
from worker.settings import StreamSettings
from worker.stream.assignment import Arrival, Assignment, FatalStreamError
from worker.stream.commits import Commits
from worker.stream.lookout import Lookout
from worker.stream.outage import Outage
from worker.stream.window import Window

log = structlog.get_logger()

_BOOTSTRAP_MS = 5_000
_LAST_COMMITS_S = 3.0
_CLOSE_MS = 2_000

Deliver = Callable[[list[tuple[Assignment, Arrival]]], None]
Settle = Callable[[Collection[Assignment], float, Callable[[], None]], None]


class GroupMember:
    """Polls, pauses, commits, and takes part in rebalances.

    `run` is the life of a thread of its own, and everything else of the client happens there, with two exceptions:
    rebalance hooks run on the client's network thread, while the owning thread waits inside `poll` or `close`; and the
    attributes at the bottom are read by probes. Records never wait here: each poll's are handed over at once, and the
    window, not a queue, bounds them.
    """

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: StreamSettings,
        window: Window,
        *,
        deliver: Deliver,
        settle: Settle,
        failed: Callable[[Exception], None],
        clock: Callable[[], float],
    ) -> None:
        """Nothing is connected yet.

        Args:
            window: closed means that everything is paused.
            deliver: takes the records of one poll; called from this thread, must not block.
            settle: waits up to so many seconds for the events of assignments to end, then calls back; called from the
                network thread, must not block.
            failed: is told what ends the membership: FatalStreamError when the topic cannot be read on or Kafka refuses
                us, OutageError when Kafka was away for too long.
        """
        self._kafka = kafka
        self._settings = settings
        self._topic = kafka.topic("images")
        self._window = window
        self._deliver = deliver
        self._settle = settle
        self._failed = failed
        self._clock = clock
        self._outage = Outage("reading", settings.outage_s, clock)
        self._commits = Commits(settings.commit_interval_s, settings.outage_s, clock)
        self._lookout = Lookout(self._topic, settings, window, self._outage, clock)
        self._assignments: dict[TopicPartition, Assignment] = {}
        self._paused = False
        self.draining = False
        """Take no more records, but stay in the group: heartbeats, commits and rebalances go on. Set from anywhere."""
        self._leave_by: float | None = None
        self._closing = False
        self._wake = threading.Event()
        self.turned_at = clock()

    def run(self) -> None:
        """Be a member until told to leave, or until a failure."""
        client = None
        try:
            client = self._connect()
            if client is not None:
                client.subscribe([self._topic], listener=_Hooks(self, client))
                while not self._turn(client):
                    self.turned_at = self._clock()
        except Exception as error:
            self._failed(error)  # at once: closing takes its time
        finally:
            self._closing = True
            if client is not None:
                self._close(client)

    @staticmethod
    def _close(client: Any) -> None:
        try:
            client.close(autocommit=False, timeout_ms=_CLOSE_MS)
        except Exception:
            log.exception("kafka client did not close cleanly", note="uncommitted events come again")

    def leave(self) -> None:
        """Commit what is done and leave the group. Everything in flight has ended by now."""
        self._leave_by = self._clock() + _LAST_COMMITS_S
        self.draining = True
        self._wake.set()

    def _connect(self) -> Any | None:
        options = self._kafka.connection() | {
            "group_id": self._settings.group_id,
            "enable_auto_commit": False,
            "auto_offset_reset": "earliest",
            "allow_auto_create_topics": False,
            "partition_assignment_strategy": [CooperativeStickyAssignor],
            "session_timeout_ms": self._settings.session_timeout_ms,
            "heartbeat_interval_ms": self._settings.heartbeat_interval_ms,
            "max_poll_interval_ms": self._settings.max_poll_interval_ms,
            "fetch_max_wait_ms": self._settings.fetch_max_wait_ms,
            # What one poll may add beyond the window's bytes, as the client hands out all it has fetched.
            "fetch_max_bytes": min(50_000_000, max(1_000_000, self._settings.window_bytes // 4)),
            "bootstrap_timeout_ms": min(_BOOTSTRAP_MS, self._settings.outage_s * 500),
            "reconnect_backoff_max_ms": 5_000,
            "metrics_enabled": False,
        }
        while not self.draining:
            try:
                return connect(KafkaConsumer, **options)
            except RetriableError as error:
                self._rest(self._wake, self._outage.failed(error))
            except KafkaError as error:
                raise FatalStreamError(f"Kafka at {self._kafka.bootstrap_servers} refused us: {error!r}") from error
            self.turned_at = self._clock()
        return None

    def _turn(self, client: Any) -> bool:
        """One round of everything; True when it was the last."""
        leave_by = self._leave_by
        settled = False
        try:
            _remember_join(client)
            self._pause_or_resume(client)
            if records := self._poll(client):
                self._lookout.heard()
                self._receive(records)
            settled = self._commits.turn(client, self._assignments.values(), at_once=leave_by is not None)
            self._lookout.turn(client, self._assignments.values(), paused=self._paused)
        except RetriableError as error:
            self._rest(self._wake, self._outage.failed(error))
        except (OutageError, FatalStreamError):
            raise
        except Exception as error:
            # Such as the client raises for a corrupt record. It must not be polled again: it would spin without a word.
            raise FatalStreamError(
                f"cannot read on at {self._positions(client)}: {error!r}; should a record there be unreadable, "
                f"move group {self._settings.group_id} past it with kafka-consumer-groups --reset-offsets"
            ) from error
        return leave_by is not None and (settled or self._clock() > leave_by)

    def _pause_or_resume(self, client: Any) -> None:
        pause = self.draining or not self._window.open.is_set()
        if pause and client._fetcher._next_in_line_exception_metadata is not None:
            return  # the next poll is to raise it: while paused the client forgets it, and once resumed it spins
        if pause != self._paused:
            (client.pause if pause else client.resume)(*self._assignments)
            self._paused = pause

    def _poll(self, client: Any) -> dict[TopicPartition, list[Any]]:
        patience_ms = self._settings.poll_ms
        if not self._paused:
            records = client.poll(patience_ms, max_records=max(1, min(self._window.room, 500)))
        elif _stable(client):
            records = client.poll(0, max_records=1)  # nothing can come, but the group must hear of us
            if _stable(client):
                self._rest(self._wake if self.draining else self._window.open, patience_ms / 1000)
        else:
            # A join must be awaited in long polls: when it ends between two of them, the client begins it anew.
            records = client.poll(patience_ms, max_records=1)
        return {} if self.draining else records

    def _rest(self, until: threading.Event, seconds: float) -> None:
        until.wait(seconds)
        self._wake.clear()

    def _receive(self, polled: dict[TopicPartition, list[Any]]) -> None:
        now = self._clock()
        batch = []
        size = 0
        for partition, records in polled.items():
            assignment = self._assignments[partition]
            for record in records:
                assignment.tracker.received(record.offset)
                arrival = Arrival(
                    position=RecordPosition(topic=record.topic, partition=record.partition, offset=record.offset),
                    key=record.key,
                    value=record.value or b"",
                    headers=tuple((name, content or b"") for name, content in record.headers),
                    timestamp_ms=record.timestamp,
                    received_at=now,
                )
                size += arrival.size
                batch.append((assignment, arrival))
            if assignment.committed is None:
                assignment.committed = records[0].offset
            assignment.arrivals.append((records[-1].offset, now))
        self._window.enter(len(batch), size)
        telemetry.EVENTS_RECEIVED.inc(len(batch))
        self._deliver(batch)

    def _positions(self, client: Any) -> str:
        """Where each partition stands, for the last words of the stream."""
        found = []
        for partition in self._assignments:
            try:
                position = client.position(partition, timeout_ms=0)
            except KafkaError as error:
                position = repr(error)
            found.append(f"{partition.topic}[{partition.partition}]@{position}")
        return ", ".join(found) or self._topic

    def gained(self, client: Any, partitions: Collection[TopicPartition]) -> None:
        """The group has given us partitions."""
        log.info("partitions assigned", partitions=sorted(each.partition for each in partitions))
        telemetry.REBALANCES.labels("assigned").inc()
        for partition in partitions:
            self._assignments[partition] = Assignment(partition)
        if self._paused:
            client.pause(*partitions)

    async def released(self, client: Any, partitions: Collection[TopicPartition], *, lost: bool) -> None:
        """The group takes partitions away: finish and commit what is in flight, unless they are lost already."""
        kind = "lost" if lost else "revoked"
        log.info(f"partitions {kind}", partitions=sorted(each.partition for each in partitions))
        telemetry.REBALANCES.labels(kind).inc()
        ours = [self._assignments[each] for each in partitions if each in self._assignments]
        in_vain = lost or (self._closing and self.away)
        # The group waits for us no longer than a poll may take, and half of that is left for the commit and the join.
        patience_s = 0.0 if in_vain else min(self._settings.drain_s, self._settings.max_poll_interval_ms / 2000)
        try:
            if lost:
                for each in ours:
                    each.tracker.end()
            settled = Future()

            def wake() -> None:
                settled.success(None)
                client._net.wakeup()  # else its loop sees the result only when something else wakes it

            self._settle(ours, patience_s, wake)
            if not in_vain:
                await settled
                await self._commits.last(client, ours)
        finally:
            for each in ours:
                each.tracker.end()
                self._assignments.pop(each.partition, None)
                telemetry.LAG.remove(each.partition.partition)

    @property
    def away(self) -> bool:
        """Whether Kafka does not answer."""
        return self._outage.active or self._commits.outage.active

    @property
    def assigned(self) -> tuple[int, ...]:
        """The partitions that this worker owns."""
        return tuple(sorted(each.partition for each in list(self._assignments)))

    @property
    def stalled(self) -> dict[int, float]:
        """For each stalled partition how many seconds it has been behind without moving."""
        return self._lookout.stalled()


def _stable(client: Any) -> bool:
    """Whether the group is not being rearranged."""
    return client.group_metadata().state is MemberState.STABLE


def _remember_join(client: Any) -> None:
    """Have the client finish a join that it began for partitions that are new, or that it had not known of at first.

    As the group's leader it takes the reason for gone once it has given the partitions out. Should its poll have ended
    by then it never looks at the join again, sends no heartbeats any more, and says nothing.
    """
    if client.group_metadata().state is MemberState.REBALANCING and not client._coordinator.need_rejoin():
        client._coordinator.request_rejoin()


class _Hooks(AsyncConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Where the client tells of rebalances, on its network thread. Awaiting there leaves heartbeats going."""

    def __init__(self, member: GroupMember, client: Any) -> None:
        self._member = member
        self._client = client

    async def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        self._member.gained(self._client, assigned)

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        await self._member.released(self._client, revoked, lost=False)

    async def on_partitions_lost(self, lost: Collection[TopicPartition]) -> None:
        await self._member.released(self._client, lost, lost=True)
