"""How far the traffic lies from the labelled readings, for the report."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from calibration.fitting.weighting import effective_n
from calibration.offline.report import DriftRow
from calibration.table import Floats, SignalTable
from calibration.watch.drift import SIGNALS, DriftLevel, drift_of_signals

_LOUDEST_FIRST = (DriftLevel.WARNING, DriftLevel.WATCH, DriftLevel.TOO_FEW, DriftLevel.STEADY)


def drift_rows(
    known: SignalTable, score: Floats, weight: Floats, traffic: SignalTable, traffic_score: Floats
) -> tuple[DriftRow, ...]:
    """Every comparison that there is something to compare for; what changed comes first.

    Scores and signals are compared among the readings that were parsed, and how many were, among all.

    Args:
        known: n labelled readings.
        score: (n,) of them; nan where not parsed.
        weight: (n,) their inverse propensities.
        traffic: m readings of the traffic.
        traffic_score: (m,) of them, by the same calibrator.
    """
    rows = even_sample(weight)
    known, score = known.take(rows), score[rows]
    before, after = known.take(known.parsed), traffic.take(traffic.parsed)
    of_all = {drift.name: drift for drift in drift_of_signals(known, traffic)}
    of_parsed = drift_of_signals(before, after, score[known.parsed], traffic_score[traffic.parsed])
    absent = {name for name in SIGNALS if all(np.isnan(getattr(each, name)).all() for each in (before, after))}
    if not (set(before.source) | set(after.source)) - {""}:
        absent.add("source")
    found = [of_all["parsed"] if drift.name == "parsed" else drift for drift in of_parsed if drift.name not in absent]
    return tuple(
        DriftRow(name=drift.name, psi=drift.psi, ks=drift.ks, level=drift.level, words=drift.words.split(": ", 1)[-1])
        for drift in sorted(found, key=lambda drift: _LOUDEST_FIRST.index(drift.level))
    )


def even_sample(weight: Floats) -> NDArray[np.intp]:
    """Rows that stand with weight 1 for the weighted ones: as many as those are worth (Kish), in their order.

    Systematic sampling: a row of weight w comes w / mean(w) times as often as an average one, rounded up or down; rows
    of equal weight come once each. Nothing is drawn, so that the same file always gives the same rows.
    """
    size = round(effective_n(weight))
    ends = np.cumsum(weight) * (size / weight.sum()) if size else np.zeros(0)
    return np.minimum(np.searchsorted(ends, np.arange(size) + 0.5), len(weight) - 1)
