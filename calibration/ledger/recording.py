"""From Kafka into the tables, each record exactly once.

For a batch of one topic, in this order, so that a crash between any two lines neither loses nor doubles anything:

1. The tombstones are read: what was deleted is dropped.
2. Records that nobody can read go to the table `rejected`, with their offsets as that table's transaction.
3. The others go to the topic's own table, with the offsets of the whole batch in the same transaction.

A crash before 3 means that the batch is read again from the offsets that 3 had last written; what 2 has already is
skipped by its own offsets. **A decision is one row an event**: the last on the topic counts. Within a batch that is
settled here; else the earlier row, found by `recent`, is erased before 3: the transaction that brings the new one is
the one that moves the offsets. **Verdicts are all kept**: which one counts is for the
views to say (`views`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime
from typing import Self

import pyarrow as pa
import structlog
from deltalake.exceptions import CommitFailedError

from calibration.ledger.columns import KINDS, REJECTED, Kind, TopicKind, table
from calibration.ledger.intake import Taken, Topic, take
from calibration.ledger.place import LedgerState, Place
from calibration.ledger.recent import RecentIds, hashes
from calibration.ledger.store import DeltaStore
from calibration.ledger.tables import Tables
from calibration.ledger.tombstones import Tombstones
from calibration.ledger.topic import Record
from calibration.settings import LedgerSettings

log = structlog.get_logger()

_TRIES = 10
_PARTITION, _OFFSET = (REJECTED.get_field_index(name) for name in ("partition", "offset"))


@dataclass(frozen=True)
class Written:
    """What became of records, in numbers."""

    read: int = 0
    added: int = 0
    """Rows, of which"""
    replaced: int = 0
    """took the place of an earlier decision on the same event."""
    repeated: int = 0
    """Decisions on an event that came again within the same batch."""
    rejected: int = 0
    deleted: int = 0
    expired: int = 0

    def __add__(self, other: Self) -> Written:
        return Written(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(self)))


class TablesReplacedError(Exception):
    """A rebuild has put other tables in force: begin anew with them."""


class Recorder:
    """Writes one topic's records into one set of tables. For one thread."""

    def __init__(
        self, place: Place, settings: LedgerSettings, state: LedgerState, name: TopicKind, topic: str, tables: str
    ) -> None:
        """`topic`: its full name; `tables`: the set to write, the one in force or the one being rebuilt."""
        self.kind: Kind = KINDS[name]
        self._place = place
        self._topic_id = state.topics[name]
        self._topic = Topic(topic, self._topic_id)
        self._tables = tables
        self._all = Tables.of(place, tables)
        self._store: DeltaStore = getattr(self._all, name)
        self._tombstones = Tombstones(place, settings, state)
        self._recent = RecentIds(self._ids_of)
        self._version: int | None = None

    def positions(self, partitions: tuple[int, ...]) -> dict[int, int]:
        """For each partition that was read before, the offset of the next record."""
        self._all.open()
        return self._store.offsets(self._topic_id, partitions)

    def write(self, records: list[Record]) -> Written:
        """Write a batch; when this returns, it is durable.

        Raises:
            TablesReplacedError: our tables are not in force any more.
            LedgerError: the ledger cannot be used.
            OSError, deltalake.exceptions.DeltaError: the storage failed; what was written is what the offsets say.
        """
        for tries_left in reversed(range(_TRIES)):
            with self._place.writing():
                state = self._current_state()
                self._tombstones.refresh()
                try:
                    return self._commit(self._unwritten(records), state)
                except CommitFailedError as error:
                    self._recent.forget()
                    self._version = None
                    if not tries_left:
                        raise
                    log.warning("another writer was faster", table=self.kind.name, error=str(error), note="again")
        raise AssertionError

    def _current_state(self) -> LedgerState:
        state = self._place.state()
        if state is None or self._tables not in (state.tables, state.rebuilding):
            raise TablesReplacedError(f"{self._place.address}: the tables {self._tables} are not in force any more")
        return state

    def _unwritten(self, records: list[Record]) -> list[Record]:
        """What of a batch another writer has not written meanwhile."""
        version = self._store.open().version()
        if version != self._version:
            self._recent.forget()
        done = self._store.offsets(self._topic_id, tuple({each.partition for each in records}))
        return [each for each in records if each.offset >= done.get(each.partition, 0)]

    def _commit(self, records: list[Record], state: LedgerState) -> Written:
        if not records:
            return Written()
        taken = take(self.kind, self._topic, records, self._tombstones, state.expired_before)
        offsets = _next_offsets(records)
        self._forget_deleted(taken)
        self._keep_rejected(taken, offsets)
        rows, repeated = self._one_an_event(taken) if self.kind.name == "decisions" else (self._table(taken), 0)
        days = sorted(set(rows.column("day").to_pylist()))
        replaced = 0
        if self.kind.name == "decisions" and rows.num_rows:
            replaced = self._put(rows, days, offsets)
        else:
            self._store.append(rows, self._topic_id, offsets)
        self._version = self._store.table.version()
        if not self._place.local:
            self._delete_what_was_deleted_meanwhile(taken)
        return Written(
            read=len(records),
            added=rows.num_rows,
            replaced=replaced,
            repeated=repeated,
            rejected=len(taken.rejected),
            deleted=taken.deleted,
            expired=taken.expired,
        )

    def _put(self, rows: pa.Table, days: list[date], offsets: Mapping[int, int]) -> int:
        """Add decisions, or put them in the place of earlier ones on the same events."""
        ids = hashes(rows.column("event_id").to_pylist())
        earlier = self._recent.days_of(ids, days)
        replaced, _ = self._store.erase(rows.select(["event_id"]), earlier)
        self._store.append(rows, self._topic_id, offsets)
        row_days = rows.column("day").to_numpy()
        for day in days:
            self._recent.add(day, ids[row_days == day])
        return replaced

    def _one_an_event(self, taken: Taken) -> tuple[pa.Table, int]:
        """The last row of each event, and how many there were before it. Keys keep an event on one partition."""
        last = {event_id: index for index, event_id in enumerate(taken.ids)}
        rows = taken.rows if len(last) == len(taken.rows) else [taken.rows[index] for index in sorted(last.values())]
        return table(self.kind.schema, rows), len(taken.rows) - len(rows)

    def _table(self, taken: Taken) -> pa.Table:
        return table(self.kind.schema, taken.rows)

    def _keep_rejected(self, taken: Taken, offsets: Mapping[int, int]) -> None:
        if not taken.rejected:
            return
        self._all.rejected.open()
        done = self._all.rejected.offsets(self._topic_id, tuple(offsets))
        rows = [row for row in taken.rejected if row[_OFFSET] >= done.get(row[_PARTITION], 0)]
        self._all.rejected.append(table(REJECTED, rows), self._topic_id, offsets)

    def _forget_deleted(self, taken: Taken) -> None:
        """Verdicts do not name the uploader: now that the decision does, those of this event go as well."""
        if not taken.newly_deleted:
            return
        self._tombstones.add("event", taken.newly_deleted, datetime.now(UTC))
        self._all.verdicts.open()
        self._all.verdicts.erase_events(taken.newly_deleted)
        self._all.verdicts.purge()

    def _delete_what_was_deleted_meanwhile(self, taken: Taken) -> None:
        """Where writers do not wait for each other, a deletion may have run while we wrote."""
        if self._tombstones.refresh():
            hidden = sorted({each for each in taken.ids if self._tombstones.hides_event(each)})
            if hidden:
                self._store.open()
                self._store.erase_events(hidden)
                self._store.purge()

    def _ids_of(self, day: date) -> list[str]:
        found = self._store.dataset(f"day = '{day.isoformat()}'").to_table(columns=["event_id"])
        ids: list[str] = found.column("event_id").to_pylist()
        return ids


def _next_offsets(records: list[Record]) -> dict[int, int]:
    offsets: dict[int, int] = {}
    for each in records:
        offsets[each.partition] = max(offsets.get(each.partition, 0), each.offset + 1)
    return offsets
