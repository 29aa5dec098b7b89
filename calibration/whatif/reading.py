"""A terrain from the ledger: what the loop looks at, and beside it every reading of the last weeks, chunk by chunk."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import duckdb
import numpy as np
import pyarrow as pa

from calibration.calibrator import Calibrator
from calibration.gate import Gate
from calibration.ledger.place import Place
from calibration.ledger.reading import Ledger
from calibration.ledger.tables import Tables, required_state
from calibration.ledger.views import connect
from calibration.loop.advance import known_reader, looks_back_to
from calibration.loop.attempt import attempt
from calibration.loop.certifying import ripe
from calibration.loop.evidence import Evidence, moment
from calibration.loop.settings import LoopSettings
from calibration.outcome import Reader
from calibration.policy import Policy
from calibration.rollout import Rollout
from calibration.settings import LedgerSettings
from calibration.table import Floats, SignalTable, Texts
from calibration.whatif.evidence import LabelsAtHand
from calibration.whatif.pace import Pace
from calibration.whatif.prepare import Surveyor, routed
from calibration.whatif.terrain import Terrain

_ROWS = 100_000
_MEMORY = "1GB"
"""Of the database; beyond it goes to disk: which decision of an event counts is known only when all were seen."""
_NUMBERS = ("verbal_confidence", "label_probability", "label_margin", "label_entropy", "agreement")
_Answer = TypeVar("_Answer")


class EmptyLedgerError(Exception):
    """Nothing has been decided yet of which anything could be said."""


def survey(
    place: LedgerSettings, rollout: Rollout, policy: Policy, settings: LoopSettings, now: datetime, days: int
) -> Terrain:
    """The terrain of a taxonomy's last days, up to its newest reading; minutes for many millions of readings.

    Readings of another reader than the present one are left out: their scores would mean nothing.

    Raises:
        LedgerError: there is no ledger.
        EmptyLedgerError: it has no decision of this taxonomy, within these days, by the present reader.
    """
    ledger = Ledger.open(place)
    taxonomy = rollout.taxonomy
    reader = ledger.reader(taxonomy) or known_reader(rollout)
    evidence = ledger.evidence(taxonomy, reader, looks_back_to(rollout, now, settings))
    certifying = evidence.after(moment(max(rollout.since, now - settings.window)))
    at_hand, calibrator = _at_hand(policy, certifying, rollout, now, settings)
    gate = rollout.live if reader is None else rollout.live.in_force(reader, now)
    chosen = _Chosen(taxonomy, reader, now, days)
    surveyor, pace, waiting = _asked(place, chosen.since, lambda connection: chosen.read(connection, gate, calibrator))
    return surveyor.terrain(
        policy,
        gate,
        at_hand,
        labels_until_attempt=max(0, settings.least_labels - ripe(certifying.audits, now, settings)),
        pace=pace,
        waiting=waiting,
    )


def _at_hand(
    policy: Policy, evidence: Evidence, rollout: Rollout, now: datetime, settings: LoopSettings
) -> tuple[LabelsAtHand | str, Calibrator | None]:
    """What the next certificate would be made of, and the calibrator that it would speak of."""
    made = rollout.attempts.made
    found = attempt(policy, evidence, rollout.live, made, now, settings)
    if isinstance(found, str):
        return found, rollout.live.calibrator
    return LabelsAtHand.of(found, made), found.calibrator


def _asked(place: LedgerSettings, since: datetime, question: Callable[[duckdb.DuckDBPyConnection], _Answer]) -> _Answer:
    """Ask the newest version of the ledger. A deletion removes files also while they are read: then ask anew, once."""
    where = Place(place)
    tables = Tables.of(where, required_state(where).tables).open(create=False)
    try:
        with connect(tables, since) as connection:
            return question(connection)
    except (duckdb.Error, OSError):
        newer = Tables.of(where, required_state(where).tables).open(create=False)
        if [each.table.version() for each in newer] == [each.table.version() for each in tables]:
            raise
    with connect(newer, since) as connection:
        return question(connection)


class _Chosen:
    """The readings of a survey: of one taxonomy and reader, decided within some days."""

    def __init__(self, taxonomy: str, reader: Reader | None, now: datetime, days: int) -> None:
        self._taxonomy = taxonomy
        self._days = days
        self._where = "taxonomy = ? AND decided_at >= ?"
        self.since = (now - timedelta(days=days)).astimezone(UTC)
        self._values: list[object] = [taxonomy, self.since]
        if reader is not None:
            self._where += " AND model = ? AND prompt = ? AND decoder = ?"
            self._values += [reader.model, reader.prompt, reader.decoder]

    def read(
        self, connection: duckdb.DuckDBPyConnection, gate: Gate, calibrator: Calibrator | None
    ) -> tuple[Surveyor, Pace | None, int]:
        """All of them, how long verdicts on them took, and how many still wait."""
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        span = connection.execute(
            f"SELECT epoch_us(min(decided_at)), epoch_us(max(decided_at)) FROM all_decisions WHERE {self._where}",  # noqa: S608 - our own words only
            self._values,
        ).fetchall()[0]
        if span[0] is None:
            raise EmptyLedgerError(
                f"the ledger has no decision of {self._taxonomy} by the present reader in the last {self._days} days: "
                "let events be decided, then `tidegate ledger sync`"
            )
        first, last = (datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros) for micros in span)
        surveyor = Surveyor(first, max(last, first + timedelta(microseconds=1)))
        columns = ", ".join(_NUMBERS)
        batches = connection.sql(
            f"""SELECT event_id, coalesce(label, '') AS label, source, parse_status = 'ok' AS parsed, {columns},
                decided_at FROM decisions WHERE {self._where}""",  # noqa: S608
            params=self._values,
        ).to_arrow_reader(_ROWS)
        for batch in batches:
            signals = SignalTable(
                label=_texts(batch, "label"),
                source=_texts(batch, "source"),
                parsed=batch.column("parsed").to_numpy(zero_copy_only=False).astype(np.bool_),
                **{name: _floats(batch, name) for name in _NUMBERS},
            )
            decided_at = np.asarray(batch.column("decided_at").to_numpy(zero_copy_only=False), "datetime64[us]")
            surveyor.add(routed(_texts(batch, "event_id"), signals, decided_at, gate, calibrator))
        return surveyor, self._pace(connection), self._waiting(connection)

    def _pace(self, connection: duckdb.DuckDBPyConnection) -> Pace | None:
        groups = connection.execute(
            f"""SELECT count(*), sum(seconds_spent) FROM verdicts WHERE {self._where} AND seconds_spent IS NOT NULL
                GROUP BY reviewer, date_trunc('day', given_at) ORDER BY reviewer, date_trunc('day', given_at)""",  # noqa: S608
            self._values,
        ).fetchall()
        columns = np.array(groups, np.float64).reshape(-1, 2)
        return Pace.of(columns[:, 0], columns[:, 1])

    def _waiting(self, connection: duckdb.DuckDBPyConnection) -> int:
        """Sent to a person, and without a verdict."""
        counted = connection.execute(
            f"""SELECT count(*) FROM decisions d WHERE {self._where} AND route = 'review'
                AND NOT EXISTS (SELECT 1 FROM verdicts v WHERE v.event_id = d.event_id)""",  # noqa: S608
            self._values,
        ).fetchall()
        return int(counted[0][0])


def _texts(batch: pa.RecordBatch, name: str) -> Texts:
    column: Texts = batch.column(name).to_numpy(zero_copy_only=False).astype(np.object_, copy=False)
    return column


def _floats(batch: pa.RecordBatch, name: str) -> Floats:
    return np.asarray(batch.column(name).to_numpy(zero_copy_only=False), np.float64)
