"""Questions to the newest version of the ledger, and their answers as rows or as columns of numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from calibration.ledger.place import Place
from calibration.ledger.tables import Tables, required_state
from calibration.ledger.views import connect
from calibration.settings import LedgerSettings
from calibration.table import Bools, Floats, SignalTable, Texts, Times

_Answer = TypeVar("_Answer")

_MEMORY = "1GB"
"""Of the database; beyond it goes to disk."""
SIGNALS = """coalesce(label, '') AS label, source, parse_status = 'ok' AS parsed, verbal_confidence, label_probability,
    label_margin, label_entropy, agreement"""
"""What `signals` takes, of a view that has them."""


def asked(
    ledger: LedgerSettings, question: Callable[[duckdb.DuckDBPyConnection], _Answer], since: datetime | None = None
) -> _Answer:
    """Ask of what was decided or said since then. A deletion removes files also while they are read: then ask anew.

    Raises:
        LedgerError: there is no ledger.
        duckdb.Error, OSError: it cannot be read.
    """

    def ask(tables: Tables) -> _Answer:
        with connect(tables, since) as connection:
            connection.execute(f"SET memory_limit = '{_MEMORY}'")
            return question(connection)

    place = Place(ledger)
    tables = Tables.of(place, required_state(place).tables).open(create=False)
    try:
        return ask(tables)
    except (duckdb.Error, OSError):
        newer = Tables.of(place, required_state(place).tables).open(create=False)
        if [each.table.version() for each in newer] == [each.table.version() for each in tables]:
            raise
    return ask(newer)


def rows(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object]) -> list[dict[str, Any]]:
    """The answer as rows; times with their zone."""
    found: list[dict[str, Any]] = columns(connection, sql, values).to_pylist()
    return found


def columns(connection: duckdb.DuckDBPyConnection, sql: str, values: Sequence[object]) -> pa.Table:
    """The answer as a table of Arrow."""
    return connection.sql(sql, params=list(values)).to_arrow_table()


def texts(table: pa.Table, name: str) -> Texts:
    """(n,) of a column without nulls."""
    column: Texts = table.column(name).to_numpy().astype(np.object_, copy=False)
    return column


def bools(table: pa.Table, name: str) -> Bools:
    """(n,) of a column without nulls."""
    column: Bools = table.column(name).to_numpy().astype(np.bool_, copy=False)
    return column


def floats(table: pa.Table, name: str) -> Floats:
    """(n,); null becomes nan."""
    return np.asarray(table.column(name).to_numpy(), np.float64)


def times(table: pa.Table, name: str) -> Times:
    """(n,) UTC; null becomes NaT."""
    return np.asarray(table.column(name).to_numpy(), "datetime64[us]")


def signals(table: pa.Table) -> SignalTable:
    """The columns of `SIGNALS`."""
    return SignalTable(
        label=texts(table, "label"),
        source=texts(table, "source"),
        parsed=bools(table, "parsed"),
        verbal_confidence=floats(table, "verbal_confidence"),
        label_probability=floats(table, "label_probability"),
        label_margin=floats(table, "label_margin"),
        label_entropy=floats(table, "label_entropy"),
        agreement=floats(table, "agreement"),
    )
