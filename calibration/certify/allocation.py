"""Where to audit: labels from below what could ever pass prove nothing about what passes.

All of the next labels are best drawn uniformly from the top of the scores, from a region a little larger than what will
pass. Too small a region caps the coverage; too large a one dilutes the labels. Where the scores deserve trust is known
from earlier labels only, so each region is judged over the worlds that these leave possible. Oversampling near the
threshold, inside the region, gains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.certify.earlier import Earlier
from calibration.certify.planning import candidates, least_trials, possible_worlds, simulated_plan
from calibration.table import Floats

_REGIONS = tuple(0.8**step for step in range(16))  # down to .035 of what was parsed
_FINEST = 0.05
_AS_GOOD = 0.97


@dataclass(frozen=True)
class Allocation:
    """Where the next audits should be drawn, and what is to be expected of them."""

    floor: float
    """Draw them uniformly among events with at least this score; 0: among all."""
    share: float
    """Of all traffic, at or above the floor."""
    expected_coverage: float
    """Share of all traffic that the next certificate is expected to let pass, and"""
    uniform_coverage: float
    """the same if the labels were drawn from everything."""


def allocate_audits(
    traffic_score: Floats, earlier: Earlier, *, labels: int, max_error: float, confidence: float
) -> Allocation:
    """The floor above which `labels` audits certify most coverage, in expectation.

    Of floors that are nearly as good as the best, the lowest is taken: it depends least on what the scores promise.

    Args:
        traffic_score: (m,) of unlabelled events; nan where not parsed, or where no promise may let them pass.
        earlier: outcomes known already, as in `certify`. With few of them the floor stays low.
        labels: how many audits there will be.
        max_error: the promise,
        confidence: and at what confidence.

    Raises:
        ValueError: no traffic, or no labels.
    """
    if labels < 1:
        raise ValueError(f"labels: at least one is needed, not {labels}")
    parsed = np.sort(traffic_score[~np.isnan(traffic_score)])[::-1]
    if not len(parsed):
        raise ValueError("no traffic with scores: give unlabelled scores, at least one of them not nan")
    delta = 1.0 - confidence
    if labels < least_trials(max_error, delta):
        return Allocation(0.0, len(parsed) / len(traffic_score), 0.0, 0.0)
    worlds = possible_worlds(earlier)[::2]  # plenty for a choice among 16
    found: list[Allocation] = []
    for part in _REGIONS:
        threshold = parsed[max(int(np.ceil(part * len(parsed))) - 1, 0)]
        region = parsed[: int(np.searchsorted(-parsed, -threshold, side="right"))]
        among = candidates(region, labels, max_error, delta)
        share = len(region) / len(traffic_score)
        plan = simulated_plan(among, region, labels, worlds, max_error, delta, finest=_FINEST)
        expected = plan.expected * share
        floor = float(threshold) if len(region) < len(parsed) else 0.0
        found.append(Allocation(floor, share, expected, found[0].uniform_coverage if found else expected))
    best = max(each.expected_coverage for each in found)
    return next(each for each in found if each.expected_coverage >= _AS_GOOD * best)
