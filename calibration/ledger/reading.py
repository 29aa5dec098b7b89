"""The ledger read: SQL for analysts, and columns for the loop."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Self, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
from pydantic import Field

from calibration.contract import Contract
from calibration.ledger.place import Place
from calibration.ledger.tables import Tables, required_state
from calibration.ledger.views import connect
from calibration.loop.evidence import AuditTable, Evidence, TrafficTable
from calibration.outcome import Reader
from calibration.settings import LedgerSettings
from calibration.table import Bools, Floats, OutcomeTable, SignalTable, Texts, Times

_Answer = TypeVar("_Answer")

_AGREEING = 20
"""Newest decisions that must have been made by one reader before it counts as the present one."""
_MOST_TRAFFIC = 500_000
"""Newest readings that the loop looks at: coverage is no surer with more."""
_SIGNALS = """coalesce(label, '') AS label, source, parse_status = 'ok' AS parsed, verbal_confidence,
    label_probability, label_margin, label_entropy, agreement"""


class TableStats(Contract):
    """How much lies in one table."""

    rows: int
    files: int
    bytes: int
    version: int


class LedgerStats(Contract):
    """How much lies in the ledger, and what is odd about it."""

    at: str
    tables: dict[str, TableStats]
    events: int
    first_decided_at: datetime | None
    last_decided_at: datetime | None
    last_given_at: datetime | None
    events_with_verdicts: int
    repeated_verdicts: int
    """Verdicts beside the one of their event that counts,"""
    contradicted: int
    """and events whose verdicts differ."""
    cannot_tell: int
    verdicts_before_decisions: int
    """Of events whose decision is not in the ledger: not yet, or not any more."""
    audits_drawn: int
    audits_unanswered: int
    oldest_unanswered: datetime | None
    rejected: int
    by_taxonomy: dict[str, int] = Field(default_factory=dict)
    """Events."""


class Ledger:
    """Reads a ledger, always its newest version. For one thread."""

    def __init__(self, place: Place) -> None:
        self._place = place

    @classmethod
    def open(cls, settings: LedgerSettings) -> Self:
        """The ledger of these settings.

        Raises:
            LedgerError: there is none.
        """
        place = Place(settings)
        required_state(place)
        return cls(place)

    def query(self, sql: str) -> pa.Table:
        """What DuckDB answers to a query over the views (see `calibration.ledger.views`).

        Raises:
            duckdb.Error: it is no query that can be answered.
        """
        return self._ask(lambda connection: connection.sql(sql).to_arrow_table())

    def reader(self, taxonomy: str) -> Reader | None:
        """What makes the readings now; None while the newest ones are of several, or where there are none."""
        found = self._ask(
            lambda connection: connection.execute(
                f"""SELECT DISTINCT model, prompt, decoder FROM (
                    SELECT model, prompt, decoder FROM all_decisions
                    WHERE taxonomy = ? ORDER BY decided_at DESC LIMIT {_AGREEING})""",  # noqa: S608 - our own words only
                [taxonomy],
            ).fetchall()
        )
        if len(found) != 1:
            return None
        model, prompt, decoder = found[0]
        return Reader(model=model, prompt=prompt, decoder=decoder)

    def evidence(self, taxonomy: str, reader: Reader | None, since: datetime) -> Evidence:
        """All that the loop looks at, of readings decided since then, as of one moment; of traffic the newest part."""

        def ask(connection: duckdb.DuckDBPyConnection) -> Evidence:
            of = _Question(connection, taxonomy, reader, since)
            return Evidence(reader, of.outcomes(), of.audits(), of.traffic(_MOST_TRAFFIC))

        return self._ask(ask, since)

    def outcomes(self, taxonomy: str, reader: Reader | None = None, since: datetime | None = None) -> OutcomeTable:
        """Readings with a verdict that names a label and a propensity that is known, in the order of decisions."""
        return self._ask(lambda connection: _Question(connection, taxonomy, reader, since).outcomes(), since)

    def audits(self, taxonomy: str, reader: Reader | None = None, since: datetime | None = None) -> AuditTable:
        """Drawn audits, answered or not, in the order of decisions."""
        return self._ask(lambda connection: _Question(connection, taxonomy, reader, since).audits(), since)

    def traffic(
        self,
        taxonomy: str,
        reader: Reader | None = None,
        since: datetime | None = None,
        limit: int | None = None,
    ) -> TrafficTable:
        """All readings, or the newest of them, in the order of decisions."""
        return self._ask(lambda connection: _Question(connection, taxonomy, reader, since).traffic(limit), since)

    def stats(self) -> LedgerStats:
        """How much there is, and what is odd."""
        tables = self._tables()
        kept = {
            store.name: TableStats(
                rows=store.table.count(),
                files=len(store.table.file_uris()),
                bytes=store.bytes(),
                version=store.table.version(),
            )
            for store in tables
        }
        with connect(tables) as connection:
            row = connection.sql(_STATS).to_arrow_table().to_pylist()[0]
            taxonomies = connection.execute("SELECT taxonomy, count(*) FROM decisions GROUP BY 1 ORDER BY 1").fetchall()
        return LedgerStats(at=self._place.address, tables=kept, by_taxonomy=dict(taxonomies), **row)

    def _tables(self) -> Tables:
        return Tables.of(self._place, required_state(self._place).tables).open(create=False)

    def _ask(self, question: Callable[[duckdb.DuckDBPyConnection], _Answer], since: datetime | None = None) -> _Answer:
        """Ask the newest version. A deletion removes files at once, also those that somebody reads: ask again then."""
        tables = self._tables()
        try:
            with connect(tables, since) as connection:
                return question(connection)
        except (duckdb.Error, OSError):
            newer = self._tables()
            if [each.table.version() for each in newer] == [each.table.version() for each in tables]:
                raise
        with connect(newer, since) as connection:
            return question(connection)


class _Question:
    """Of which readings something is asked."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        taxonomy: str,
        reader: Reader | None,
        since: datetime | None,
    ) -> None:
        self._connection = connection
        self._where = "taxonomy = ?"
        self._values: list[Any] = [taxonomy]
        if reader is not None:
            self._where += " AND model = ? AND prompt = ? AND decoder = ?"
            self._values += [reader.model, reader.prompt, reader.decoder]
        if since is not None:
            self._where += " AND decided_at >= ?"
            self._values.append(since.astimezone(UTC))

    def outcomes(self) -> OutcomeTable:
        columns = self._select(
            f"event_id, {_SIGNALS}, correct, propensity, audit_propensity, decided_at",
            "outcomes",
            "NOT cannot_tell AND propensity IS NOT NULL",
        )
        return OutcomeTable(
            event_id=columns.texts("event_id"),
            signals=columns.signals(),
            correct=columns.bools("correct"),
            propensity=columns.floats("propensity"),
            audit_propensity=columns.floats("audit_propensity"),
            decided_at=columns.times("decided_at"),
        )

    def audits(self) -> AuditTable:
        columns = self._select(
            f"event_id, {_SIGNALS}, gate, calibrator, would_pass, audit_rate, audit_floor, answered, "
            "coalesce(wrong, FALSE) AS wrong, decided_at, given_at",
            "audits",
        )
        return AuditTable(
            event_id=columns.texts("event_id"),
            signals=columns.signals(),
            gate=columns.texts("gate"),
            calibrator=columns.texts("calibrator"),
            would_pass=columns.bools("would_pass"),
            rate=columns.floats("audit_rate"),
            floor=columns.floats("audit_floor"),
            answered=columns.bools("answered"),
            wrong=columns.bools("wrong"),
            decided_at=columns.times("decided_at"),
            given_at=columns.times("given_at"),
        )

    def traffic(self, limit: int | None) -> TrafficTable:
        columns = self._select(
            f"{_SIGNALS}, gate, route = 'auto_accept' AS passed, coalesce(shadow_gate, '') AS shadow_gate, "
            "coalesce(shadow_route = 'auto_accept', FALSE) AS shadow_passed, decided_at",
            "decisions",
            limit=limit,
        )
        return TrafficTable(
            signals=columns.signals(),
            gate=columns.texts("gate"),
            passed=columns.bools("passed"),
            shadow_gate=columns.texts("shadow_gate"),
            shadow_passed=columns.bools("shadow_passed"),
            decided_at=columns.times("decided_at"),
        )

    def _select(self, what: str, view: str, further: str = "TRUE", limit: int | None = None) -> _Columns:
        newest = f"ORDER BY decided_at DESC LIMIT {int(limit)}" if limit is not None else ""
        rows = f"SELECT * FROM {view} WHERE {self._where} AND {further} {newest}"  # noqa: S608 - our own words only
        sql = f"SELECT {what} FROM ({rows}) ORDER BY decided_at, event_id"  # noqa: S608
        return _Columns(self._connection.sql(sql, params=self._values).to_arrow_table())


class _Columns:
    """An Arrow table as arrays of numpy; null becomes nan, NaT or the empty string."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table

    def texts(self, name: str) -> Texts:
        column: Texts = self._table.column(name).to_numpy().astype(np.object_, copy=False)
        return column

    def bools(self, name: str) -> Bools:
        column: Bools = self._table.column(name).to_numpy().astype(np.bool_, copy=False)
        return column

    def floats(self, name: str) -> Floats:
        return np.asarray(self._table.column(name).to_numpy(), np.float64)

    def times(self, name: str) -> Times:
        return np.asarray(self._table.column(name).to_numpy(), "datetime64[us]")

    def signals(self) -> SignalTable:
        return SignalTable(
            label=self.texts("label"),
            source=self.texts("source"),
            parsed=self.bools("parsed"),
            verbal_confidence=self.floats("verbal_confidence"),
            label_probability=self.floats("label_probability"),
            label_margin=self.floats("label_margin"),
            label_entropy=self.floats("label_entropy"),
            agreement=self.floats("agreement"),
        )


_STATS = """
    SELECT
        (SELECT count(*) FROM decisions) AS events,
        (SELECT min(decided_at) FROM all_decisions) AS first_decided_at,
        (SELECT max(decided_at) FROM all_decisions) AS last_decided_at,
        (SELECT max(given_at) FROM all_verdicts) AS last_given_at,
        (SELECT count(*) FROM verdicts) AS events_with_verdicts,
        (SELECT coalesce(sum(given - 1), 0)::BIGINT FROM verdicts) AS repeated_verdicts,
        (SELECT count(*) FROM verdicts WHERE contradicted) AS contradicted,
        (SELECT count(*) FROM verdicts WHERE label IS NULL) AS cannot_tell,
        (SELECT count(*) FROM verdicts v WHERE NOT EXISTS
            (SELECT 1 FROM all_decisions d WHERE d.event_id = v.event_id)) AS verdicts_before_decisions,
        (SELECT count(*) FROM audits) AS audits_drawn,
        (SELECT count(*) FROM audits WHERE NOT answered) AS audits_unanswered,
        (SELECT min(decided_at) FROM audits WHERE NOT answered) AS oldest_unanswered,
        (SELECT count(*) FROM rejected) AS rejected
"""
