"""How one taxonomy stands, from the ledger: counted where it lies, so that millions of decisions cost a second."""

from __future__ import annotations

from datetime import datetime

import duckdb

from calibration.gate import Gate
from calibration.ledger.reading import Ledger
from calibration.loop.advance import known_reader, looks_back_to
from calibration.loop.evidence import AuditTable
from calibration.loop.settings import LoopSettings
from calibration.loop.steps import has_certificate
from calibration.loop.watching import drifts
from calibration.outcome import Reader
from calibration.policy import Policy, Stage
from calibration.rollout import Rollout
from calibration.settings import LedgerSettings
from calibration.standing.asking import asked
from calibration.standing.contracts import AuditStanding, Forecast, GateStanding, Shut, Standing, Traffic
from calibration.standing.counts import Drawn, Lately, certified_and_newest
from calibration.standing.observed import error_standing
from calibration.watch.drift import Drift

_NOBODY = Reader(model="", prompt="", decoder="")


def standing(
    ledger: LedgerSettings,
    rollout: Rollout,
    policy: Policy,
    settings: LoopSettings,
    now: datetime,
    *,
    waiting: int | None,
    hours: int = 48,
) -> Standing:
    """All of it; one second or two for a million decisions.

    Where the ledger has nothing of the taxonomy, counts are 0 and shares None. Where nobody has made a gate yet, give
    what the loop would begin with, `calibration.loop.advance.first_rollout`: it stands for a gate that passes nothing.

    Args:
        policy: the newest of the taxonomy.
        settings: the loop's own.
        waiting: images that wait in the queue now; None where nobody counted them.
        hours: of traffic, the present one included.

    Raises:
        LedgerError: there is no ledger, or it cannot be read.
        ValueError: the policy speaks of another taxonomy, or there are no hours.
    """
    if policy.taxonomy != rollout.taxonomy:
        raise ValueError(f"the policy speaks of {policy.taxonomy}, the rollout of {rollout.taxonomy}")
    if hours < 1:
        raise ValueError(f"hours: at least the present one, not {hours}")
    reader = Ledger.open(ledger).reader(rollout.taxonomy) or known_reader(rollout)
    lately = Lately(rollout.taxonomy, now, hours)

    def of_late(connection: duckdb.DuckDBPyConnection) -> tuple[Traffic, Forecast]:
        return lately.traffic(connection), lately.forecast(connection, waiting)

    traffic, queue = asked(ledger, of_late, lately.since)
    drawn = Drawn(rollout, looks_back_to(rollout, now, settings), now, settings)
    live, candidate = rollout.live, rollout.candidate
    since = drawn.since if live.provenance is None else min(drawn.since, live.provenance.certifying_from)

    def of_gates(connection: duckdb.DuckDBPyConnection) -> tuple[AuditStanding, AuditTable, tuple[Drift, ...]]:
        return *drawn.read(connection), _drift(connection, rollout.taxonomy, live)

    counted, audits, drift = asked(ledger, of_gates, since)
    in_canary = candidate is not None and candidate.stage is Stage.CANARY
    return Standing(
        taxonomy=rollout.taxonomy,
        as_of=now,
        policy=policy,
        reader=reader,
        live=gate_standing(live, reader, now),
        candidate=None if candidate is None else gate_standing(candidate, reader, now),
        traffic=traffic,
        error=error_standing(live, audits, now, settings),
        candidate_error=error_standing(candidate, audits, now, settings) if candidate and in_canary else None,
        audits=counted,
        forecast=queue,
        drift=drift,
    )


def gate_standing(gate: Gate, reader: Reader | None, now: datetime) -> GateStanding:
    """A gate as workers apply it to this reader's readings now."""
    in_force = gate.in_force(reader or gate.reader or _NOBODY, now)
    shut: Shut | None = None
    if not in_force.passes_anything:
        other = gate.reader is not None and reader is not None and gate.reader != reader
        shut = "no_certificate" if not gate.passes_anything else "other_reader" if other else "expired"
    promised = gate.policy if has_certificate(gate) else None
    return GateStanding(
        gate_id=gate.gate_id,
        stage=gate.stage,
        created_at=gate.created_at,
        expires_at=gate.expires_at,
        policy=gate.policy_version,
        calibrator=gate.calibrator_version,
        max_error=None if promised is None else promised.max_error,
        confidence=None if promised is None else promised.confidence,
        audit_rate=in_force.audit_rate,
        passes=shut is None,
        shut=shut,
    )


def _drift(connection: duckdb.DuckDBPyConnection, taxonomy: str, gate: Gate) -> tuple[Drift, ...]:
    if gate.calibrator is None or gate.provenance is None:
        return ()
    return drifts(gate, certified_and_newest(connection, taxonomy, gate.reader, gate.provenance))
