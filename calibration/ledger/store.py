"""One Delta table: rows and Kafka offsets in the same transaction, and files that are really gone when they are gone.

Offsets are kept as application transactions of the table (one for each partition of a topic): they become visible
together with the rows, by the creation of one file of the log. Statistics of files leave out everything but a time, so
that the log holds no ids.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Schema, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from pyarrow.fs import LocalFileSystem, SubTreeFileSystem

from calibration.ledger.columns import ADDED_COLUMNS
from calibration.ledger.place import LedgerError, Place

_KEPT = "interval 1 hours"
_KEPT_HOURS = 1
"""Files that a newer version replaced stay for so long, for those who still read them."""
_FILE_BYTES = 134_217_728
_TRIES = 5
_WRITER = WriterProperties(compression="ZSTD", compression_level=3)

Offsets = Mapping[int, int]
"""For each partition the offset of the next record."""


@dataclass(frozen=True)
class Purged:
    """What a purge removed."""

    files: int
    log_entries: int
    left_files: int = 0
    """Files that no version needs any more, but which a writer elsewhere may be about to commit."""


class DeltaStore:
    """A table of a set; made when first opened. For one thread."""

    def __init__(self, place: Place, parts: Sequence[str], schema: pa.Schema, time: str | None) -> None:
        """`time`: the column whose range is known for each file."""
        self.schema = schema
        self.name = parts[-1]
        self._place = place
        self._parts = tuple(parts)
        self._time = time
        self._table: DeltaTable | None = None

    def open(self, *, create: bool = True, any_columns: bool = False) -> DeltaTable:
        """The newest version; with `any_columns` also one that another release wrote.

        A table that an earlier release made lacks the columns added since. With `create` it gets them; without, readers
        of `dataset` see nulls.

        Raises:
            LedgerError: it is not there and shall not be created, or has other columns.
        """
        uri = self._place.uri(*self._parts)
        try:
            self._table = DeltaTable(uri)
        except TableNotFoundError as error:
            if not create:
                raise LedgerError(f"{uri} is missing: `tidegate ledger rebuild` makes it anew") from error
            self._table = self._create(uri)
        if not any_columns and (missing := self._missing(self._table)) and create:
            self._table = self._widened(self._table, missing)
        return self._table

    @property
    def table(self) -> DeltaTable:
        """As it was last opened or written."""
        return self._table or self.open()

    def offsets(self, topic_id: str, partitions: Sequence[int]) -> dict[int, int]:
        """For each partition that was read, the offset of the next record."""
        found = {number: self.table.transaction_version(_application(topic_id, number)) for number in partitions}
        return {number: offset for number, offset in found.items() if offset is not None}

    def dataset(self, days: str | None = None) -> Any:
        """The newest rows as a `pyarrow.dataset.Dataset`; `days`: a condition on the column `day`."""
        folder = self._place.folder
        local = None if folder is None else SubTreeFileSystem(str(folder.joinpath(*self._parts)), LocalFileSystem())
        return self.table.to_pyarrow_dataset(filesystem=local, schema=self.schema, file_pruning_predicate=days)

    def bytes(self) -> int:
        """Size of the files of the newest version."""
        sizes = pa.table(self.table.get_add_actions(flatten=True)).column("size_bytes").to_pylist()
        return int(sum(sizes))

    def append(self, rows: pa.Table | pa.RecordBatchReader, topic_id: str = "", offsets: Offsets | None = None) -> None:
        """Add rows, and move the offsets with them. No rows move the offsets alone.

        Raises:
            deltalake.exceptions.CommitFailedError: another writer has moved the same offsets.
        """
        write_deltalake(
            self.table,
            rows,
            mode="append",
            writer_properties=_WRITER,
            commit_properties=_transactions(topic_id, offsets),
        )

    def erase(self, keys: pa.Table, days: Sequence[date]) -> tuple[int, int]:
        """Delete the rows of these days that equal a row of `keys` in all its columns; the keys do not reach the log.

        A day with such rows is written anew, in a transaction of its own. (The library's own `merge` and `delete` write
        files whose texts have a type that Arrow cannot filter by.)

        Returns:
            Rows deleted, files replaced. The old files stay until `purge`.

        Raises:
            deltalake.exceptions.CommitFailedError: another writer was faster. Some days may be done.
        """
        rows = files = 0
        for day in sorted(days):
            where = f"day = '{day.isoformat()}'"
            before = self.dataset(where).to_table()
            after = before.join(keys, keys=keys.column_names, join_type="left anti").select(self.schema.names)
            if after.num_rows < before.num_rows:
                rows += before.num_rows - after.num_rows
                files += len(self.table.file_uris(file_pruning_predicate=where))
                write_deltalake(
                    self.table, after.cast(self.schema), mode="overwrite", predicate=where, writer_properties=_WRITER
                )
        return rows, files

    def erase_events(self, events: Sequence[str]) -> tuple[int, int]:
        """Delete all rows of these events; returns and raises as `erase`."""
        ids = pa.array(events, pa.string())
        held = self.dataset().to_table(["day"], filter=pc.field("event_id").isin(ids))
        return self.erase(pa.table({"event_id": ids}), sorted(set(held.column("day").to_pylist())))

    def expire(self, before: date) -> int:
        """Delete the rows of earlier days; return how many."""
        return int(self.table.delete(f"day < '{before.isoformat()}'")["num_deleted_rows"] or 0)

    def compact(self) -> tuple[int, int]:
        """Join small files, and remove those that nobody has read for an hour.

        Returns:
            Files joined, and files that came of it.
        """
        metrics = self.table.optimize.compact(target_size=_FILE_BYTES, writer_properties=_WRITER)
        self.table.vacuum(_KEPT_HOURS, dry_run=False, enforce_retention_duration=False, full=True)
        self.table.create_checkpoint()
        self.table.cleanup_metadata()
        return int(metrics["numFilesRemoved"]), int(metrics["numFilesAdded"])

    def purge(self) -> Purged:
        """Remove every file that the newest version does not need, and the log before it, at once.

        In an object store a writer elsewhere may be half-way through a commit. So there files that no version ever
        named, and the newest log entries, wait for an hour, and `compact` removes them.
        """
        table = self.table
        before = self._files()
        table.vacuum(0, dry_run=False, enforce_retention_duration=False, full=self._place.local)
        if not self._place.local:
            table.vacuum(_KEPT_HOURS, dry_run=False, enforce_retention_duration=False, full=True)
        table.create_checkpoint()
        after = self._files()
        needed = {uri.rpartition("/")[2] for uri in table.file_uris()}
        return Purged(len(before - after), self._purge_log(table), len(after - needed))

    def _missing(self, table: DeltaTable) -> list[str]:
        """The columns that a table of an earlier release lacks.

        Raises:
            LedgerError: it lacks others, or has some that are not ours.
        """
        there = [field.name for field in table.schema().fields]
        missing = [name for name in self.schema.names if name not in there]
        if not ADDED_COLUMNS.issuperset(missing) or [each for each in self.schema.names if each in there] != there:
            uri = self._place.uri(*self._parts)
            raise LedgerError(f"{uri} has columns of another version: `tidegate ledger rebuild` moves it to this one")
        return missing

    def _widened(self, table: DeltaTable, missing: Sequence[str]) -> DeltaTable:
        """The table with further columns, null in all its rows."""
        for tries_left in reversed(range(_TRIES)):
            fields = [field for field in Schema.from_arrow(self.schema).fields if field.name in missing]
            try:
                table.alter.add_columns(fields)
            except CommitFailedError:  # another writer was faster, perhaps with the same
                if not tries_left:
                    raise
            table = DeltaTable(self._place.uri(*self._parts))
            if not (missing := self._missing(table)):
                return table
        raise AssertionError

    def _files(self) -> set[str]:
        """Names of the Parquet files that are there, needed or not; those of the log apart."""
        names = self._place.names(*self._parts)
        return {name.rpartition("/")[2] for name in names if name.endswith(".parquet") and "_delta_log/" not in name}

    def _purge_log(self, table: DeltaTable) -> int:
        """Remove what the checkpoint makes superfluous."""
        if not self._place.local:
            table.cleanup_metadata()
            return 0
        kept = f"{table.version():020}"
        names = self._place.names(*self._parts, "_delta_log")
        old = [name for name in names if name != "_last_checkpoint" and not name.startswith(kept)]
        return self._place.remove(*self._parts, "_delta_log", names=old)

    def _create(self, uri: str) -> DeltaTable:
        configuration = {
            "delta.dataSkippingNumIndexedCols": "0",
            "delta.dataSkippingStatsColumns": self._time,
            "delta.checkpointInterval": "50",
            "delta.enableExpiredLogCleanup": "true",
            "delta.logRetentionDuration": _KEPT,
            "delta.deletedFileRetentionDuration": _KEPT,
        }
        return DeltaTable.create(
            uri,
            self.schema,
            mode="ignore",
            partition_by=["day"] if "day" in self.schema.names else None,
            configuration={name: value for name, value in configuration.items() if value is not None},
        )


def storage_failures() -> tuple[type[Exception], ...]:
    """What the libraries raise when files cannot be written or read for a while."""
    return (DeltaError, OSError)


def _application(topic_id: str, partition: int) -> str:
    return f"kafka/{topic_id}/{partition}"


def _transactions(topic_id: str, offsets: Offsets | None) -> CommitProperties:
    moved = [Transaction(_application(topic_id, number), offset) for number, offset in sorted((offsets or {}).items())]
    return CommitProperties(app_transactions=moved)
