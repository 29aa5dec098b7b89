"""Following the topics `decisions` and `verdicts`: once up to their ends, or until asked to stop."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event
from types import TracebackType
from typing import Self
from uuid import uuid4

import structlog
from kafka.errors import KafkaError

from calibration.ledger.columns import KINDS, TopicKind
from calibration.ledger.place import LedgerState, LedgerUnavailableError, Place
from calibration.ledger.recording import Recorder, TablesReplacedError, Written
from calibration.ledger.store import storage_failures
from calibration.ledger.tables import compact
from calibration.ledger.tombstones import keyed
from calibration.ledger.topic import Record, TopicGapError, TopicIdentity, TopicReader, identify
from calibration.settings import KafkaSettings, LedgerSettings

log = structlog.get_logger()

_POLL_MS = 50
_POLL_RECORDS = 10_000
_IDENTIFY_S = 60.0
_COMPACT_S = 3_600.0
_LONGEST_PAUSE_S = 30.0


@dataclass(frozen=True)
class SyncReport:
    """What was done with the records of each topic."""

    decisions: Written
    verdicts: Written
    seconds: float


def new_tables() -> str:
    """A name for a set of tables."""
    return f"tables-{uuid4().hex[:12]}"


def settled_state(
    place: Place, settings: LedgerSettings, topics: dict[TopicKind, TopicIdentity], *, accept_gap: bool
) -> LedgerState:
    """The ledger's state, made where there is no ledger yet; it follows these topics.

    Raises:
        LedgerError: it cannot be used, or the deletion key does not fit.
        TopicGapError: it follows other topics of the same name, and `accept_gap` is not given.
    """
    ids = {str(name): identity.topic_id for name, identity in topics.items()}

    def settled(seen: LedgerState | None) -> LedgerState:
        state = keyed(settings, seen or LedgerState(tables=new_tables(), topics=ids))
        for name, topic_id in ids.items():
            if state.topics.get(name, topic_id) != topic_id and not accept_gap:
                raise TopicGapError(
                    f"the topic {name} is not the one that {place.address} has followed: it was made anew. What was on "
                    "the old one and not read is lost. `tidegate ledger sync --accept-gap` goes on with the new one"
                )
        return state.model_copy(update={"topics": state.topics | ids})

    with place.writing():
        return place.update(settled)


@dataclass
class _Flow:
    """One topic on its way into its table."""

    recorder: Recorder
    reader: TopicReader
    buffered: list[Record] = field(default_factory=list)
    since: float = 0.0
    written: Written = field(default_factory=Written)


class Follower:
    """Connected to both topics and to the tables, from where these were left. For one thread."""

    def __init__(
        self,
        kafka: KafkaSettings,
        settings: LedgerSettings,
        *,
        accept_gap: bool = False,
        rebuilding: str | None = None,
        calm: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rebuilding`: the set of tables to write into, where it is not the one in force. `calm`: as `TopicReader`.

        Raises:
            kafka.errors.KafkaError: Kafka is away, or has no such topics.
            LedgerError, TopicGapError: the ledger cannot go on; the message says what to do.
        """
        self._settings = settings
        self._clock = clock
        self._place = place = Place(settings)
        self.topics: dict[TopicKind, TopicIdentity] = {name: identify(kafka, name) for name in KINDS}
        state = settled_state(place, settings, self.topics, accept_gap=accept_gap)
        self._tables = tables = rebuilding or state.tables
        self._idle = False
        self._flows: dict[TopicKind, _Flow] = {}
        try:
            for name, topic in self.topics.items():
                recorder = Recorder(place, settings, state, name, kafka.topic(name), tables)
                positions = recorder.positions(topic.partitions)
                reader = TopicReader(kafka, name, topic.partitions, positions, accept_gap=accept_gap, calm=calm)
                self._flows[name] = _Flow(recorder, reader)
        except BaseException:
            self.close()
            raise

    def step(self) -> None:
        """Read what there is within a tenth of a second, and commit what is due."""
        wait_ms, self._idle = _POLL_MS if self._idle else 0, True
        for flow in self._flows.values():
            room = self._settings.batch_records - len(flow.buffered)
            records = flow.reader.poll(wait_ms, min(room, _POLL_RECORDS))
            self._idle = self._idle and not records
            if records and not flow.buffered:
                flow.since = self._clock()
            flow.buffered += records
            full = len(flow.buffered) >= self._settings.batch_records
            if full or (flow.buffered and self._clock() - flow.since >= self._settings.interval_s):
                self._commit(flow)

    def flush(self) -> None:
        """Commit what was read."""
        for flow in self._flows.values():
            if flow.buffered:
                self._commit(flow)

    @property
    def read_up(self) -> bool:
        """Whether everything was read that was there at the start."""
        return all(flow.reader.read_up for flow in self._flows.values())

    @property
    def replaced(self) -> bool:
        """Whether a rebuild has put other tables in force. What we wrote since it read them is missing there."""
        state = self._place.state()
        return state is None or self._tables != state.tables

    def written(self, name: TopicKind) -> Written:
        """What became of a topic's records so far."""
        return self._flows[name].written

    def positions(self, name: TopicKind) -> dict[int, int]:
        """For each partition of a topic that was read, the offset of the next record that is not in the tables."""
        return self._flows[name].recorder.positions(self.topics[name].partitions)

    def close(self) -> None:
        """Disconnect; what is not committed is read again another time."""
        for flow in self._flows.values():
            flow.reader.close()

    def _commit(self, flow: _Flow) -> None:
        flow.written += flow.recorder.write(flow.buffered)
        flow.buffered = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()


def sync(kafka: KafkaSettings, settings: LedgerSettings, *, accept_gap: bool = False) -> SyncReport:
    """Bring the ledger up to the present ends of the topics.

    Raises:
        kafka.errors.KafkaError, OSError, deltalake.exceptions.DeltaError: Kafka or the storage failed; call it again.
        LedgerError, TopicGapError: it cannot go on by itself.
    """
    started = time.monotonic()
    with Follower(kafka, settings, accept_gap=accept_gap) as follower:
        while not follower.read_up:
            follower.step()
        follower.flush()
        return SyncReport(follower.written("decisions"), follower.written("verdicts"), time.monotonic() - started)


def follow(kafka: KafkaSettings, settings: LedgerSettings, stop: Event) -> None:
    """Follow the topics until asked to stop; then commit what was read. Outages are waited out.

    Raises:
        LedgerError, TopicGapError: it cannot go on by itself.
    """
    pause = 1.0
    compacted_at = time.monotonic()
    while not stop.is_set():
        try:
            with Follower(kafka, settings, calm=True) as follower:
                log.info("following", ledger=settings.path, topics=[kafka.topic(name) for name in KINDS])
                asked_at = looked_at = time.monotonic()
                while not stop.is_set():
                    follower.step()
                    pause = 1.0
                    if time.monotonic() - looked_at > settings.interval_s:
                        looked_at = time.monotonic()
                        if follower.replaced:
                            raise TablesReplacedError(f"{settings.path}: a rebuild has put other tables in force")
                    if time.monotonic() - asked_at > _IDENTIFY_S:
                        asked_at = time.monotonic()
                        if {name: identify(kafka, name) for name in KINDS} != follower.topics:
                            break  # further partitions, or other topics: a new follower takes or refuses them
                    if time.monotonic() - compacted_at > _COMPACT_S:
                        compacted_at = time.monotonic()
                        compact(settings)
                follower.flush()
        except TablesReplacedError as error:
            log.info("tables replaced", note=str(error))
        except (KafkaError, LedgerUnavailableError, *storage_failures()) as error:
            log.warning("ledger waits", error=repr(error), again_in_s=pause)
            stop.wait(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)
