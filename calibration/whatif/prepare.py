"""From decisions to a terrain, chunk by chunk: what is kept of a reading is 11 bytes, and of a few also their ids."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from calibration.calibrator import Calibrator
from calibration.gate import Gate
from calibration.loop.evidence import moment
from calibration.policy import Policy
from calibration.table import Bools, Floats, SignalTable, Table, Texts, Times
from calibration.whatif.estimates import Days
from calibration.whatif.evidence import LabelsAtHand
from calibration.whatif.pace import Pace
from calibration.whatif.terrain import Kept, Ladder, Terrain

_DAY = timedelta(days=1)
_SPANS = 128
"""Of log-odds from -8 to 8: fine where thresholds lie."""
_KEPT = 8
"""Of each span."""
_MOST_LABELS = 30_000


@dataclass(frozen=True)
class Readings(Table):
    """n readings, scored and routed."""

    event_id: Texts
    label: Texts
    """Empty where not parsed."""
    score: Floats
    """By the calibrator of the next certificate; nan where there is none."""
    passes: Bools
    """Under the gate in force,"""
    auditable: Bools
    """and whether it draws audits among them."""
    decided_at: Times


def routed(
    event_id: Texts, signals: SignalTable, decided_at: Times, gate: Gate, calibrator: Calibrator | None
) -> Readings:
    """Readings as the gate in force routes them, scored by the calibrator of the next certificate."""
    now = gate.route_table(signals)
    label = np.where(signals.parsed, signals.label, "")
    if calibrator is None:
        score = np.full(len(signals), np.nan)
    elif gate.calibrator_version == calibrator.calibrator_id:
        score = now.score
    else:
        score = calibrator.score(signals).score
    return Readings(event_id, label, score, now.passes, now.auditable, decided_at)


class Surveyor:
    """Takes readings in any order, and makes a terrain of them. For one thread.

    Args:
        since: earlier readings are left out,
        until: and later ones. Days are counted back from here.
        seed: of the draw of the readings that are kept to be shown.

    Raises:
        ValueError: the survey has no length.
    """

    def __init__(self, since: datetime, until: datetime, seed: int = 0) -> None:
        if since >= until:
            raise ValueError(f"a survey from {since} until {until} has no length")
        span = (until - since) / _DAY
        self.since, self.until = since, until
        self._days = Days(math.ceil(span), span)
        self._rng = np.random.default_rng(seed)
        self._codes: dict[str, int] = {}
        self._chunks: list[tuple[NDArray[np.int16], Floats, NDArray[np.uint16]]] = []
        self._arrivals = np.zeros(self._days.count, np.int64)
        self._auditable = np.zeros(self._days.count, np.int64)
        self._reservoir = _Reservoir()

    def add(self, readings: Readings) -> None:
        """Take in a chunk. Each event must be given once.

        Raises:
            ValueError: more labels than any taxonomy has.
        """
        start, end = moment(self.since), moment(self.until)
        inside = (readings.decided_at >= start) & (readings.decided_at <= end)
        if not inside.all():
            readings = readings.take(inside)
        age = (end - readings.decided_at) / np.timedelta64(1, "D")
        day = np.minimum(age.astype(np.int64), self._days.count - 1).astype(np.uint16)
        self._arrivals += np.bincount(day, minlength=self._days.count)
        self._auditable += np.bincount(day[readings.auditable], minlength=self._days.count)
        code = self._coded(readings.label)
        parsed = code >= 0
        group = (2 * code + readings.passes)[parsed].astype(np.int16)  # a label and a present route
        score = np.where(np.isnan(readings.score), -math.inf, readings.score)[parsed]
        self._chunks.append((group, score, day[parsed]))
        self._reservoir.add(group, score, readings.event_id[parsed], readings.decided_at[parsed], self._rng)

    def terrain(
        self,
        policy: Policy,
        gate: Gate,
        at_hand: LabelsAtHand | str,
        *,
        labels_until_attempt: int = 0,
        pace: Pace | None = None,
        waiting: int | None = None,
    ) -> Terrain:
        """The terrain of all that was added; see there for what is given.

        Raises:
            ValueError: no reading was added.
        """
        if not self._arrivals.any():
            raise ValueError(f"no readings were decided between {self.since} and {self.until}")
        group = np.concatenate([chunk[0] for chunk in self._chunks])
        order = np.argsort(group, kind="stable")
        ends = np.cumsum(np.bincount(group, minlength=2 * len(self._codes)))
        score = np.concatenate([chunk[1] for chunk in self._chunks])[order]
        day = np.concatenate([chunk[2] for chunk in self._chunks])[order]
        bounds = [0, *ends.tolist()]
        ladders = [Ladder.of(score[a:b], day[a:b], self._days.count) for a, b in pairwise(bounds)]
        return Terrain(
            policy=policy,
            gate=gate,
            labels=tuple(self._codes),
            passing=tuple(ladders[1::2]),
            held=tuple(ladders[::2]),
            arrivals=self._arrivals.copy(),
            auditable=self._auditable.copy(),
            days=self._days,
            since=self.since,
            until=self.until,
            kept=self._reservoir.kept(),
            at_hand=at_hand,
            labels_until_attempt=labels_until_attempt,
            pace=pace,
            waiting=waiting,
        )

    def _coded(self, label: Texts) -> NDArray[np.int16]:
        """Position of each label among those seen; -1 where there is none."""
        rows: list[str] = label.tolist()
        for name in sorted(set(rows) - self._codes.keys() - {""}):
            self._codes[name] = len(self._codes)
        if 2 * len(self._codes) > _MOST_LABELS:
            raise ValueError(f"{len(self._codes):,} different labels: that is no taxonomy")
        codes = self._codes | {"": -1}
        return np.fromiter(map(codes.__getitem__, rows), np.int16, len(rows))


class _Reservoir:
    """Of every label, present route and span of scores the few readings with the smallest random numbers."""

    def __init__(self) -> None:
        self._seen = np.zeros(0, np.int64)
        self._limit = np.zeros(0)
        self._place = np.zeros(0, np.int64)
        self._draw = np.zeros(0)
        self._score = np.zeros(0)
        self._event_id: Texts = np.zeros(0, np.object_)
        self._decided_at: Times = np.zeros(0, "datetime64[us]")

    def add(
        self, group: NDArray[np.int16], score: Floats, event_id: Texts, decided_at: Times, rng: np.random.Generator
    ) -> None:
        """Draw among n further readings; `group` is a label and a route."""
        if not len(group):
            return
        odds = np.log(np.clip(score, 1e-9, 1.0)) - np.log1p(-np.clip(score, 0.0, 1.0 - 1e-9))
        span = np.clip((odds + 8.0) * (_SPANS / 16.0), 0, _SPANS - 1).astype(np.int64)
        place = group.astype(np.int64) * _SPANS + span
        size = max((int(group.max()) + 1) * _SPANS, len(self._seen))
        self._limit = np.append(self._limit, np.ones(size - len(self._limit)))
        self._seen = np.append(self._seen, np.zeros(size - len(self._seen), np.int64))
        self._seen += np.bincount(place, minlength=size)
        draw = rng.random(len(place))
        rows = np.flatnonzero(draw < self._limit[place])
        places = np.append(self._place, place[rows])
        draws = np.append(self._draw, draw[rows])
        order = np.lexsort((draws, places))
        places = places[order]
        rank = np.arange(len(places)) - np.searchsorted(places, places)
        chosen = order[rank < _KEPT]
        self._place, self._draw = np.append(self._place, place[rows])[chosen], draws[chosen]
        self._score = np.append(self._score, score[rows])[chosen]
        self._event_id = np.append(self._event_id, event_id[rows])[chosen]
        self._decided_at = np.append(self._decided_at, decided_at[rows])[chosen]
        full = rank == _KEPT - 1
        self._limit[places[full]] = draws[order[full]]

    def kept(self) -> Kept:
        """All of them."""
        held = np.bincount(self._place, minlength=len(self._seen))
        return Kept(
            event_id=self._event_id,
            label=(self._place // _SPANS // 2).astype(np.int16),
            passes=(self._place // _SPANS) % 2 == 1,
            score=self._score,
            decided_at=self._decided_at,
            weight=self._seen[self._place] / held[self._place],
        )
