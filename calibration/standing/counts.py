"""What happened lately, counted where it lies: hours of traffic, verdicts, audits."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import duckdb

from calibration.gate import Provenance
from calibration.loop.evidence import AuditTable, TrafficTable
from calibration.loop.settings import LoopSettings
from calibration.outcome import Reader
from calibration.rollout import Rollout
from calibration.standing.asking import SIGNALS, bools, columns, floats, rows, signals, texts, times
from calibration.standing.contracts import AuditStanding, Forecast, Hour, Traffic
from calibration.standing.forecast import forecast

_HOUR = timedelta(hours=1)
_ARRIVALS = timedelta(hours=24)
_WORK = timedelta(days=7)
_SPAN = timedelta(minutes=5)
_NEWEST = 2_000
"""Readings that are compared with those of the certificate: as many as `calibration.loop.watching.drifts` takes,"""
_REFERENCE = 20_000
"""and so many of the certificate's own: a sample that tells no less than all of them."""


@dataclass(frozen=True)
class Lately:
    """What is asked of the last days."""

    taxonomy: str
    now: datetime
    hours: int

    @property
    def first_hour(self) -> datetime:
        """The start of the first of the hours, of which the present one is the last."""
        return self._end - self.hours * _HOUR

    @property
    def since(self) -> datetime:
        """From when on the ledger must be read."""
        return min(self.first_hour, self.now - max(_ARRIVALS, _WORK))

    @property
    def _end(self) -> datetime:
        return self.now.astimezone(UTC).replace(minute=0, second=0, microsecond=0) + _HOUR

    def traffic(self, connection: duckdb.DuckDBPyConnection) -> Traffic:
        """By the hour, of whatever gate and reader."""
        found = rows(
            connection,
            """SELECT date_trunc('hour', decided_at) AS start, count(*) AS readings,
                count(*) FILTER (route = 'auto_accept') AS accepted,
                count(*) FILTER (route <> 'auto_accept') AS reviewed, count(*) FILTER (audit_drawn) AS audits,
                max(decided_at) AS newest
            FROM decisions WHERE taxonomy = ? AND decided_at >= ? AND decided_at < ? GROUP BY 1""",
            [self.taxonomy, self.first_hour, self._end],
        )
        by_start = {each["start"]: Hour.model_validate(each) for each in found}
        empty = {"readings": 0, "accepted": 0, "reviewed": 0, "audits": 0}
        starts = [self.first_hour + number * _HOUR for number in range(self.hours)]
        hours = tuple(by_start.get(start) or Hour(start=start, **empty) for start in starts)
        readings, accepted = sum(each.readings for each in hours), sum(each.accepted for each in hours)
        return Traffic(
            hours=hours,
            readings=readings,
            accepted=accepted,
            reviewed=sum(each.reviewed for each in hours),
            audits=sum(each.audits for each in hours),
            accepted_share=accepted / readings if readings else None,
            newest=max((each["newest"] for each in found), default=None),
        )

    def forecast(self, connection: duckdb.DuckDBPyConnection, waiting: int | None) -> Forecast:
        """Arrivals of the last 24 h against the work of the last 7 days, or of as long as there is anything."""
        [came] = rows(
            connection,
            """SELECT count(*) FILTER (route = 'review' AND decided_at >= ?) AS arrivals, min(decided_at) AS first
            FROM decisions WHERE taxonomy = ? AND decided_at >= ? AND decided_at <= ?""",
            [self.now - _ARRIVALS, self.taxonomy, self.now - _WORK, self.now],
        )
        [done] = rows(
            connection,
            f"""SELECT count(DISTINCT (event_id, reviewer, given_at)) AS verdicts,
                count(DISTINCT time_bucket(INTERVAL {int(_SPAN.total_seconds())} SECOND, given_at)) AS spans
            FROM all_verdicts WHERE taxonomy = ? AND withdrawn IS NOT TRUE AND given_at >= ? AND given_at <= ?""",  # noqa: S608 - our own words only
            [self.taxonomy, self.now - _WORK, self.now],
        )
        known = max(_HOUR, self.now - came["first"]) if came["first"] is not None else _WORK
        return forecast(
            arrivals=came["arrivals"],
            arrival_hours=min(known, _ARRIVALS) / _HOUR,
            verdicts=done["verdicts"],
            worked_hours=done["spans"] * (_SPAN / _HOUR),
            observed_hours=min(known, _WORK) / _HOUR,
            waiting=waiting,
        )


@dataclass(frozen=True)
class Drawn:
    """What is asked of the audits since the loop's evidence begins."""

    rollout: Rollout
    since: datetime
    now: datetime
    settings: LoopSettings

    def read(self, connection: duckdb.DuckDBPyConnection) -> tuple[AuditStanding, AuditTable]:
        """All of them counted; and those of the rollout's gates that would have passed, one by one."""
        gates = [each.gate_id for each in (self.rollout.live, self.rollout.candidate) if each is not None]
        connection.execute(
            f"""CREATE TEMP TABLE drawn AS
            SELECT event_id, {SIGNALS}, gate, calibrator, would_pass, audit_rate, audit_floor, answered,
                coalesce(wrong, FALSE) AS wrong, decided_at, given_at
            FROM audits WHERE taxonomy = ? AND decided_at >= ?""",  # noqa: S608 - our own words only
            [self.rollout.taxonomy, self.since],
        )
        own = columns(
            connection,
            "SELECT * FROM drawn WHERE would_pass AND list_contains(?, gate) ORDER BY decided_at, event_id",
            [gates],
        )
        return self._counted(connection), AuditTable(
            event_id=texts(own, "event_id"),
            signals=signals(own),
            gate=texts(own, "gate"),
            calibrator=texts(own, "calibrator"),
            would_pass=bools(own, "would_pass"),
            rate=floats(own, "audit_rate"),
            floor=floats(own, "audit_floor"),
            answered=bools(own, "answered"),
            wrong=bools(own, "wrong"),
            decided_at=times(own, "decided_at"),
            given_at=times(own, "given_at"),
        )

    def _counted(self, connection: duckdb.DuckDBPyConnection) -> AuditStanding:
        [found] = rows(
            connection,
            """SELECT count(*) AS drawn, count(*) FILTER (answered) AS done, count(*) FILTER (NOT answered) AS due,
                count(*) FILTER (NOT answered AND decided_at <= ?) AS overdue,
                min(decided_at) FILTER (NOT answered) AS oldest
            FROM drawn""",
            [self.now - self.settings.audit_patience],
        )
        oldest = found.pop("oldest")
        age = None if oldest is None else max(0.0, (self.now - oldest) / _HOUR)
        return AuditStanding(since=self.since, oldest_due_hours=age, **found)


def certified_and_newest(
    connection: duckdb.DuckDBPyConnection, taxonomy: str, reader: Reader | None, made: Provenance
) -> TrafficTable:
    """What `calibration.loop.watching.drifts` compares: readings of a gate's certificate, of many a sample that is
    always the same, and the newest others, all by the gate's own reader; in the order of their decisions.

    A decision that came again after more than a week counts twice.
    """
    span = [made.certifying_from, made.certifying_until]
    where, values = "taxonomy = ?", [taxonomy]
    if reader is not None:
        where += " AND model = ? AND prompt = ? AND decoder = ?"
        values += [reader.model, reader.prompt, reader.decoder]
    what = f"""event_id, {SIGNALS}, gate, route = 'auto_accept' AS passed, coalesce(shadow_gate, '') AS shadow_gate,
        coalesce(shadow_route = 'auto_accept', FALSE) AS shadow_passed, decided_at"""
    found = columns(
        connection,
        f"""SELECT * FROM (
            (SELECT {what} FROM all_decisions WHERE {where} AND decided_at BETWEEN ? AND ?
                ORDER BY hash(event_id) LIMIT {_REFERENCE})
            UNION ALL
            (SELECT {what} FROM all_decisions WHERE {where} AND decided_at NOT BETWEEN ? AND ?
                ORDER BY decided_at DESC LIMIT {_NEWEST})
        ) ORDER BY decided_at, event_id""",  # noqa: S608 - our own words only
        [*values, *span, *values, *span],
    )
    return TrafficTable(
        signals=signals(found),
        gate=texts(found, "gate"),
        passed=bools(found, "passed"),
        shadow_gate=texts(found, "shadow_gate"),
        shadow_passed=bools(found, "shadow_passed"),
        decided_at=times(found, "decided_at"),
    )
