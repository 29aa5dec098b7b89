"""Deletion that deletes, with a receipt; and letting go what is too old.

What is deleted is gone from the ledger's folder when the receipt is given: its rows, the Parquet files they lay in, the
entries of the transaction logs that named those files. What stays is a keyed hash for each id, so that neither a
redelivery nor a rebuild brings it back. The order makes it safe to be killed at any point and run again: hashes first,
then rows, then files.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import TypeVar

import pyarrow as pa
import pyarrow.compute as pc
from deltalake.exceptions import CommitFailedError
from pydantic import AwareDatetime

from calibration.contract import Contract, Versioned
from calibration.ledger.columns import KINDS, TopicKind
from calibration.ledger.place import LedgerState, Place
from calibration.ledger.store import DeltaStore
from calibration.ledger.tables import Tables, required, sets_in_use
from calibration.ledger.tombstones import TombstoneKind, Tombstones, keyed
from calibration.settings import LedgerSettings

_TRIES = 10
_Answer = TypeVar("_Answer")


class ErasedTable(Contract):
    """What was removed from one table."""

    rows: int
    files_rewritten: int
    files_removed: int
    log_entries_removed: int
    files_left: int
    """Files that no version needs, but which a writer may be about to commit; `tidegate ledger compact` removes them
    when they are an hour old. Always 0 in a folder."""


class StillInKafka(Contract):
    """What the ledger cannot delete: records wait for the end of their topic's retention."""

    topic: str
    records: int
    """Of those that were deleted here."""
    until: AwareDatetime | None
    """When the last of them goes; None where the retention is not known."""


class Receipt(Versioned):
    """What a deletion did. It names no id."""

    kind: TombstoneKind
    hash: str
    """Keyed hash of the id, in hexadecimal digits: as it is kept to keep it away."""
    deleted_at: AwareDatetime
    ledger: str
    events: int
    tables: dict[str, ErasedTable]
    in_kafka: tuple[StillInKafka, ...]
    elsewhere: str = (
        "Not touched: the topics images and dead-letters until their retention ends, tasks that wait for review, and "
        "the platform's own store of images."
    )


Retentions = Mapping[TopicKind, timedelta | None]


def erase(
    settings: LedgerSettings,
    kind: TombstoneKind,
    given: str,
    now: datetime,
    *,
    topics: Mapping[TopicKind, str],
    retentions: Retentions,
) -> Receipt:
    """Delete an event, or all events of an uploader.

    Args:
        given: id of the event or of the uploader.
        topics: full names, for the receipt.
        retentions: how long each topic keeps its records, where that is known.

    Raises:
        LedgerError: there is no ledger, or another key than before.
    """
    place = Place(settings)
    with place.writing():
        state = place.update(lambda seen: keyed(settings, required(seen, place)))
        tombstones = Tombstones(place, settings, state)
        tombstones.refresh()
        tombstones.add(kind, [given], now)
        in_force, *being_rebuilt = (each.open() for each in sets_in_use(place, state))
        events = [given]
        if kind == "uploader":
            events = sorted({event for each in (in_force, *being_rebuilt) for event in _events_of(each, given)})
            tombstones.add("event", events, now)
        kafka = _still_in_kafka(in_force, events, topics, retentions)
        tables = _erase_from(in_force, events, given)
        for each in being_rebuilt:
            _erase_from(each, events, given)
        _remove_left_behind(place, state)
    return Receipt(
        kind=kind,
        hash=tombstones.hash(kind, given).hex(),
        deleted_at=now,
        ledger=place.address,
        events=len(events),
        tables=tables,
        in_kafka=kafka,
    )


class Expiry(Contract):
    """What was let go because of its age."""

    before: date
    """Days before this one are gone, and do not come back."""
    rows: dict[str, int]
    files_removed: int


def expire(settings: LedgerSettings, days: int, now: datetime) -> Expiry:
    """Let go decisions, verdicts and unreadable records of more than so many days ago, each by its own time.

    Raises:
        LedgerError: there is no ledger.
    """
    place = Place(settings)
    before = (now.astimezone(UTC) - timedelta(days=days)).date()
    with place.writing():
        state = place.update(lambda seen: _expiring(required(seen, place), before))
        rows: dict[str, int] = {}
        files = 0
        for each in sets_in_use(place, state):
            for store in each.open():
                gone = _again(store, partial(store.expire, before))
                files += store.purge().files if gone else 0
                rows[store.name] = rows.get(store.name, 0) + gone
    return Expiry(before=before, rows=rows, files_removed=files)


def _expiring(state: LedgerState, before: date) -> LedgerState:
    return state.model_copy(update={"expired_before": max(before, state.expired_before or before)})


def _events_of(tables: Tables, uploader: str) -> set[str]:
    found = tables.decisions.dataset().to_table(["event_id"], filter=pc.field("uploader_id") == uploader)
    return set(found.column("event_id").to_pylist())


def _erase_from(tables: Tables, events: list[str], given: str) -> dict[str, ErasedTable]:
    rejected = tables.rejected

    def erase_rejected() -> tuple[int, int]:
        keys, days = _rejected_with(rejected, {given, *events})
        return rejected.erase(keys, days)

    return {
        "decisions": _erased(tables.decisions, partial(tables.decisions.erase_events, events)),
        "verdicts": _erased(tables.verdicts, partial(tables.verdicts.erase_events, events)),
        "rejected": _erased(rejected, erase_rejected),
    }


def _erased(store: DeltaStore, erase_rows: Callable[[], tuple[int, int]]) -> ErasedTable:
    rows, rewritten = _again(store, erase_rows)
    purged = store.purge()
    return ErasedTable(
        rows=rows,
        files_rewritten=rewritten,
        files_removed=purged.files,
        log_entries_removed=purged.log_entries,
        files_left=purged.left_files,
    )


def _again(store: DeltaStore, change: Callable[[], _Answer]) -> _Answer:
    """Make a change, again with the newest version where another writer was faster."""
    for tries_left in reversed(range(_TRIES)):
        store.open()
        try:
            return change()
        except CommitFailedError:
            if not tries_left:
                raise
    raise AssertionError


def _rejected_with(store: DeltaStore, ids: set[str]) -> tuple[pa.Table, list[date]]:
    """Places and days of unreadable records whose bytes hold one of the ids. A short id may take others with it."""
    rows = store.dataset().to_table(["day", "topic_id", "partition", "offset", "key", "value"])
    found = pa.array([False] * rows.num_rows, pa.bool_())
    for text in ids:
        for name in ("key", "value"):
            held = pc.fill_null(pc.match_substring(rows.column(name).combine_chunks(), text.encode()), False)
            found = pc.or_(found, held)
    held_rows = rows.filter(found)
    return held_rows.select(["topic_id", "partition", "offset"]), sorted(set(held_rows.column("day").to_pylist()))


def _still_in_kafka(
    tables: Tables, events: list[str], topics: Mapping[TopicKind, str], retentions: Retentions
) -> tuple[StillInKafka, ...]:
    found = []
    ids = pc.field("event_id").isin(pa.array(events, pa.string()))
    for name, kind in KINDS.items():
        store: DeltaStore = getattr(tables, name)
        time = kind.time
        times = store.dataset().to_table([time], filter=ids).column(time)
        if len(times):
            kept = retentions.get(name)
            newest: datetime = pc.max(times).as_py()
            until = None if kept is None else newest + kept
            found.append(StillInKafka(topic=topics[name], records=len(times), until=until))
    return tuple(found)


def _remove_left_behind(place: Place, state: LedgerState) -> None:
    """Sets of tables that a rebuild has left behind."""
    for name in place.sets() - {state.tables, state.rebuilding}:
        place.remove(name)
