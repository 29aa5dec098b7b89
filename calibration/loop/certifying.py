"""Which drawn audits may certify: a uniform sample of one region, frozen by time of decision. Pure.

Labels arrive late, and easy ones first. So the sample ends at a time of *decision*, and what was drawn before it and is
still unanswered counts as wrong. Audits of different rates are thinned to one, by a hash of the event id: which rows
remain depends on no label, and the rate that leaves most is chosen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from calibration.certify.thinning import thinned
from calibration.loop.evidence import AuditTable, moment
from calibration.loop.settings import LoopSettings
from calibration.table import Bools, Floats, Times


@dataclass(frozen=True)
class Sample:
    """n audits that may certify a calibrator."""

    audits: AuditTable
    wrong: Bools
    """(n,): a verdict that says so, or none."""
    floor: float
    """They are uniform among readings with at least this score."""
    rate: float
    """At which each was drawn, after thinning."""

    @property
    def unreviewed(self) -> int:
        """How many were never answered."""
        return int((~self.audits.answered).sum())


def certifying_sample(
    audits: AuditTable, score: Floats, calibrator_id: str, after: np.datetime64, now: datetime, settings: LoopSettings
) -> Sample:
    """The audits of readings that were decided after `after`, up to the time at which they are frozen.

    Args:
        audits: (n,) all that were drawn.
        score: (n,) of the calibrator that is to be certified; nan where not parsed.
        calibrator_id: its id. Audits that another calibrator's floor chose are left out.
    """
    usable = (audits.decided_at > after) & ((audits.floor == 0.0) | (audits.calibrator == calibrator_id))
    usable &= audits.decided_at <= frozen_at(audits.take(usable), now, settings)
    floors, rates = audits.floor[usable], audits.rate[usable]
    best: tuple[int, Bools, float, float] = (0, np.zeros(len(usable), np.bool_), 0.0, 1.0)
    for floor in np.unique(floors):
        for rate in np.unique(rates):
            rows = usable & (audits.floor <= floor) & (audits.rate >= rate) & ~(score < floor)
            rows &= thinned(audits.event_id, audits.rate, float(rate))
            # A row drawn above a floor is worth more: it lies where something could pass.
            worth = int(((score >= max(float(floor), _upper_half(score))) & rows).sum())
            if worth > best[0] or (worth == best[0] and rows.sum() > best[1].sum()):
                best = worth, rows, float(floor), float(rate)
    _, rows, floor, rate = best
    sample = audits.take(rows)
    return Sample(sample, sample.wrong | ~sample.answered, floor, rate)


def frozen_at(audits: AuditTable, now: datetime, settings: LoopSettings) -> np.datetime64:
    """The decision before the first that still waits for an answer, or what is overdue, whichever is later.

    Overdue audits do not hold up the others: they are never answered, as far as this sample goes.
    """
    patience = moment(now) - np.timedelta64(settings.audit_patience)
    waiting = audits.decided_at[~audits.answered & (audits.decided_at > patience)]
    if not len(waiting):
        return moment(now)
    before: np.datetime64 = max(patience, waiting.min() - np.timedelta64(1, "us"))
    return before


def ripe(audits: AuditTable, now: datetime, settings: LoopSettings) -> int:
    """How many answered audits lie before the freeze: what a next attempt is made of."""
    return int((audits.answered & (audits.decided_at <= frozen_at(audits, now, settings))).sum())


def split_time(decided_at: Times, share: float) -> np.datetime64:
    """The time of decision that leaves this share of the outcomes, the oldest, at or before it."""
    ordered = np.sort(decided_at)
    cut: np.datetime64 = ordered[max(0, min(len(ordered) - 1, int(share * len(ordered)) - 1))]
    return cut


def _upper_half(score: Floats) -> float:
    known = score[~np.isnan(score)]
    return float(np.median(known)) if len(known) else 0.0
