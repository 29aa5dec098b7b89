"""What the loop looks at: reviewed readings, drawn audits, and traffic of one taxonomy, in columns."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np

from calibration.outcome import Reader
from calibration.table import Bools, Floats, OutcomeTable, SignalTable, Table, Texts, Times


@dataclass(frozen=True)
class AuditTable(Table):
    """n drawn audits, answered or not, in the order of their decisions."""

    event_id: Texts
    signals: SignalTable
    gate: Texts
    """Id of the gate that routed."""
    calibrator: Texts
    would_pass: Bools
    rate: Floats
    """Propensity of the draw."""
    floor: Floats
    """Score of that calibrator from which on draws were made."""
    answered: Bools
    wrong: Bools
    """Whether the verdict was another label, or "cannot tell"; false where there is none."""
    decided_at: Times
    given_at: Times
    """NaT where there is no verdict."""


@dataclass(frozen=True)
class TrafficTable(Table):
    """n readings, decided by whatever gate, in the order of their decisions."""

    signals: SignalTable
    gate: Texts
    passed: Bools
    shadow_gate: Texts
    """Id of the gate that scored beside; empty where there was none."""
    shadow_passed: Bools
    decided_at: Times


@dataclass(frozen=True)
class Evidence:
    """Of one taxonomy and one reader."""

    reader: Reader | None
    """What made the newest readings; None where there are none, or where workers do not agree yet."""
    outcomes: OutcomeTable
    """Readings with a verdict that names a label, in the order of their decisions."""
    audits: AuditTable
    traffic: TrafficTable
    """Or the newest part of it, where there is very much."""

    def after(self, start: np.datetime64) -> Evidence:
        """What was decided from then on."""
        return Evidence(
            self.reader,
            self.outcomes.take(self.outcomes.decided_at >= start),
            self.audits.take(self.audits.decided_at >= start),
            self.traffic.take(self.traffic.decided_at >= start),
        )


class EvidenceSource(Protocol):
    """Where evidence comes from: the ledger, or a simulated world."""

    def reader(self, taxonomy: str) -> Reader | None:
        """What makes the readings now; None while workers do not agree, or where there are none."""
        ...

    def evidence(self, taxonomy: str, reader: Reader | None, since: datetime) -> Evidence:
        """All of this reader's readings that were decided since then."""
        ...


def moment(time: datetime) -> np.datetime64:
    """A time as columns keep it: UTC, without its zone."""
    return np.datetime64(int(time.timestamp() * 1e6), "us")
