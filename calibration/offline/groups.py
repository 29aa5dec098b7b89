"""Label by label, and source by source: what a figure of all readings together can hide."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from calibration.metrics import Metrics, evaluate_groups
from calibration.offline.curves import LEVEL, by_frequency, share
from calibration.offline.report import GroupRow, GroupTable
from calibration.table import Bools, Floats, Texts

_MOST_GROUPS = 40
_RESAMPLES = 200
"""Fewer than for all readings: there may be hundreds of groups."""


class Scored(NamedTuple):
    """n labelled readings that were parsed, scored."""

    score: Floats
    correct: Bools
    weight: Floats
    passes: Bools
    """Whether the certificates let them pass."""


def group_table(names: Texts, scored: Scored, traffic_names: Texts | None) -> GroupTable:
    """The most frequent groups, how many rarer ones there are, and means over all of them.

    Args:
        names: (n,) the group of each labelled reading; n is at least 1.
        scored: those readings.
        traffic_names: (m,) the groups of the traffic that was parsed; None where there is no traffic.
    """
    shown = by_frequency(names, _MOST_GROUPS)
    found = evaluate_groups(scored.score, scored.correct, names, scored.weight, resamples=_RESAMPLES)
    rows = tuple(_row(name, names, scored, traffic_names, found.groups[name], len(shown)) for name in shown)
    return GroupTable(rows=rows, rarer=len(found.groups) - len(shown), macro=found.macro)


def _row(
    name: str, names: Texts, scored: Scored, traffic_names: Texts | None, metrics: Metrics, compared: int
) -> GroupRow:
    among = names == name
    correct, weight = scored.correct[among], scored.weight[among]
    mean = float(np.average(scored.score[among], weights=weight))
    chance = share(correct, weight, 1.0 - (1.0 - LEVEL) / compared)
    passed = among & scored.passes
    in_traffic = 0.0 if traffic_names is None or not len(traffic_names) else float(np.mean(traffic_names == name))
    return GroupRow(
        name=name,
        error=share(~correct, weight),
        mean_score=mean,
        gap=mean - chance.value,
        off=not chance.low <= mean <= chance.high,
        traffic_share=in_traffic,
        passing=share(~scored.correct[passed], scored.weight[passed]) if passed.any() else None,
        brier=metrics.brier.value,
        auroc=metrics.auroc.value,
    )
