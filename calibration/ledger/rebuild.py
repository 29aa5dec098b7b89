"""The ledger made anew from the topics: beside the old one, and in its place when it is complete.

1. `ledger.json` names a new set of tables as being rebuilt; what an earlier rebuild left half-way is removed.
2. Both topics are read from their starts into it. What was deleted stays away, and a deletion that comes in between
   deletes there, too.
3. Rows that only the old set has are carried over: the topics keep records for weeks, the ledger for a year and more.
4. `ledger.json` puts the new set in force. The old one is removed.

A process that follows the topics meanwhile goes on with the old set and notices the change at its next batch; offsets
belong to a set, so nothing is lost or doubled. A rebuild that is killed has changed nothing that is in force.
"""

from __future__ import annotations

import time
from datetime import date

import duckdb
import pyarrow as pa
import structlog
from deltalake.exceptions import DeltaError
from pydantic import Field

from calibration.contract import Contract
from calibration.ledger.columns import KINDS, table
from calibration.ledger.following import Follower, new_tables, settled_state
from calibration.ledger.place import LedgerError, LedgerState, Place
from calibration.ledger.store import DeltaStore
from calibration.ledger.tables import Tables, required
from calibration.ledger.tombstones import Tombstones
from calibration.ledger.topic import identify
from calibration.settings import KafkaSettings, LedgerSettings

log = structlog.get_logger()

# What makes a row of the old set one that the new set has already.
_SAME = {
    "decisions": ("event_id",),
    "verdicts": ("topic_id", "partition", "offset"),
    "rejected": ("topic_id", "partition", "offset"),
}


class RebuildReport(Contract):
    """What a rebuild made."""

    tables: str
    """Name of the set that is in force now."""
    read: dict[str, int]
    """Records of each topic."""
    carried_over: dict[str, int] = Field(default_factory=dict)
    """Rows that the topics had no more."""
    seconds: float


def rebuild(kafka: KafkaSettings, settings: LedgerSettings, *, discard_older: bool = False) -> RebuildReport:
    """Make the ledger anew from the topics, and put it in force.

    Args:
        discard_older: do not carry over what the topics have no more.

    Raises:
        LedgerError: it cannot be done as asked; the old ledger is in force as before.
        kafka.errors.KafkaError, OSError, deltalake.exceptions.DeltaError: Kafka or the storage failed; the same holds.
    """
    started = time.monotonic()
    place = Place(settings)
    state = _begin(place, kafka, settings)
    assert state.rebuilding is not None
    with Follower(kafka, settings, rebuilding=state.rebuilding) as follower:
        while not follower.read_up:
            follower.step()
        follower.flush()
        read = {name: follower.written(name).read for name in KINDS}
        with place.writing():
            tombstones = Tombstones(place, settings, state)
            tombstones.refresh()
            carried = {} if discard_older else _carry_over(place, state, follower)
            if tombstones.refresh():
                raise LedgerError("something was deleted while rows were carried over: rebuild again")
            _put_in_force(place, state)
    place.remove(state.tables)
    return RebuildReport(
        tables=state.rebuilding, read=read, carried_over=carried, seconds=round(time.monotonic() - started, 3)
    )


def _begin(place: Place, kafka: KafkaSettings, settings: LedgerSettings) -> LedgerState:
    settled_state(place, settings, {name: identify(kafka, name) for name in KINDS}, accept_gap=True)
    name = new_tables()
    with place.writing():
        state = place.update(lambda seen: required(seen, place).model_copy(update={"rebuilding": name}))
        for left in place.sets() - {state.tables, name}:
            place.remove(left)
            log.info("removed what an earlier rebuild left", tables=left)
    return state


def _put_in_force(place: Place, state: LedgerState) -> None:
    seen = place.state()
    if seen is None or seen.rebuilding != state.rebuilding:
        raise LedgerError("another rebuild has begun after this one: this one gives up")
    place.change(seen.model_copy(update={"tables": state.rebuilding, "rebuilding": None}), seen)


def _carry_over(place: Place, state: LedgerState, follower: Follower) -> dict[str, int]:
    """Append to the new tables what only the old ones have, save what will still be read from the topics."""
    assert state.rebuilding is not None
    if not place.names(state.tables):
        return {}
    old, new = Tables.of(place, state.tables), Tables.of(place, state.rebuilding).open()
    try:
        return {
            store.name: _carry_rows(place, store, target, state, follower)
            for store, target in zip(old, new, strict=True)
        }
    except (LedgerError, DeltaError, OSError, duckdb.Error, pa.ArrowException) as error:
        raise LedgerError(
            f"{place.address}: rows that the topics have no more cannot be carried over from {state.tables}: {error}. "
            "`tidegate ledger rebuild --discard-older` goes on without them"
        ) from error


def _carry_rows(place: Place, old: DeltaStore, new: DeltaStore, state: LedgerState, follower: Follower) -> int:
    old.open(create=False, any_columns=True)
    same = " AND ".join(f'o."{name}" IS NOT DISTINCT FROM n."{name}"' for name in _SAME[old.name])
    before = new.table.count()
    with duckdb.connect(config={"python_enable_replacements": False}) as connection:
        connection.register("o", old.dataset())
        connection.register("n", new.dataset())
        connection.register("ends", _ends(state, follower))
        columns = ", ".join(f'o."{name}"' for name in new.schema.names)
        only_old = f"""SELECT {columns} FROM o
            WHERE o.day >= ? AND NOT EXISTS (SELECT 1 FROM n WHERE {same})
            AND NOT EXISTS (SELECT 1 FROM ends e
                WHERE o.topic_id = e.topic_id AND o.partition = e.partition AND o."offset" >= e.next)"""  # noqa: S608 - our own words only
        new.append(connection.sql(only_old, params=[state.expired_before or date.min]).to_arrow_reader())
    return new.open().count() - before


def _ends(state: LedgerState, follower: Follower) -> pa.Table:
    """For each partition of each topic, the first offset that the new tables do not have."""
    rows = [
        (state.topics[name], partition, offset)
        for name in KINDS
        for partition, offset in follower.positions(name).items()
    ]
    schema = pa.schema([("topic_id", pa.string()), ("partition", pa.int32()), ("next", pa.int64())])
    return table(schema, rows)
