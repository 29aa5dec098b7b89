"""All readings of some weeks, laid out so that any threshold can be asked for at once, and exactly.

Readings of one label that the gate in force treats alike make a ladder: scores in rising order, and beside every 512th
of them how many of each day lie from it on. What reaches a threshold is found by bisection, a look at the next such
step, and a count of at most 511 days in between: nothing is rounded, and n readings cost log n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import numpy as np
from numpy.typing import NDArray

from calibration.gate import Gate
from calibration.policy import Policy
from calibration.table import Bools, Floats, Table, Texts, Times
from calibration.whatif.estimates import Days
from calibration.whatif.evidence import LabelsAtHand
from calibration.whatif.pace import Pace

_STEP = 512
ROUNDING = 1e-12
"""The same as in `calibration.gate`: a score this little below a threshold reaches it."""

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Ladder:
    """n readings in rising order of score."""

    score: Floats
    """(n,); -inf where there is none: such a reading never passes, and is counted all the same."""
    day: NDArray[np.uint16]
    """(n,) of their decision, counted back from the end of the survey."""
    steps: NDArray[np.uint32]
    """(ceil(n / 512) + 1, days): of each day, the readings from every 512th on; the last row is 0."""

    @classmethod
    def of(cls, score: Floats, day: NDArray[np.uint16], days: int) -> Self:
        """Readings in any order."""
        order = np.argsort(score, kind="stable")
        score, day = score[order], day[order]
        parts = math.ceil(len(score) / _STEP)
        inside = np.bincount((np.arange(len(day)) // _STEP) * days + day, minlength=parts * days).reshape(parts, days)
        steps = np.zeros((parts + 1, days), np.uint32)
        steps[:-1] = np.cumsum(inside[::-1], axis=0)[::-1]
        return cls(score, day, steps)

    @property
    def by_day(self) -> Counts:
        """(days,): all of them."""
        counts: Counts = self.steps[0].astype(np.int64)
        return counts

    def reaching(self, least: float) -> Counts:
        """(days,): how many have this score or more."""
        at = int(np.searchsorted(self.score, least, side="left"))
        step = -(-at // _STEP)
        between = np.bincount(self.day[at : step * _STEP], minlength=self.steps.shape[1])
        counts: Counts = self.steps[step] + between
        return counts


@dataclass(frozen=True)
class Kept(Table):
    """Readings kept to be shown: a few, drawn at random, of each label, present route and span of scores."""

    event_id: Texts
    label: NDArray[np.int16]
    """Position in the terrain's labels."""
    passes: Bools
    score: Floats
    """-inf where there is none."""
    decided_at: Times
    weight: Floats
    """How many each stands for."""


@dataclass(frozen=True)
class Terrain:
    """A survey of one taxonomy's readings, under the policy and the gate in force. Never changed: make a new one."""

    policy: Policy
    gate: Gate
    labels: tuple[str, ...]
    passing: tuple[Ladder, ...]
    """Of each label, what the gate in force lets pass, by the score that the next certificate would use,"""
    held: tuple[Ladder, ...]
    """and what it holds."""
    arrivals: Counts
    """(days,): all readings, parsed or not."""
    auditable: Counts
    """(days,): those among which the gate in force draws its audits."""
    days: Days
    since: datetime
    until: datetime
    kept: Kept
    at_hand: LabelsAtHand | str
    """What the next certificate would be made of; a sentence where there is nothing to make one of."""
    labels_until_attempt: int
    """Answered audits that the loop waits for, before it tries."""
    pace: Pace | None
    """How long verdicts take; None where there are none."""
    waiting: int | None
    """Images before people now; None where nobody counted them."""

    @property
    def readings(self) -> int:
        """All of them."""
        return int(self.arrivals.sum())

    @property
    def nbytes(self) -> int:
        """Memory of the ladders."""
        ladders = (*self.passing, *self.held)
        return sum(each.score.nbytes + each.day.nbytes + each.steps.nbytes for each in ladders)
