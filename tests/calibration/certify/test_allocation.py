"""Audits drawn where they prove most."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit

from calibration.certificate import Certified
from calibration.certify.allocation import allocate_audits
from calibration.certify.earlier import Earlier
from calibration.certify.procedure import certify
from calibration.table import Bools, Floats
from tests.calibration.certify.worlds import binormal, binormal_above


def sharpened(score: Floats, slope: float) -> Floats:
    return np.asarray(expit(slope * logit(score)), np.float64)


@pytest.mark.parametrize("slope", [1.0, 2.5])
def test_allocated_labels_certify_more_than_uniform_ones(slope: float) -> None:
    """Also where scores are far too confident: they are recalibrated first."""
    rng = np.random.default_rng(1)
    traffic, _ = binormal(20_000, rng)
    known = binormal(1000, rng)
    earlier = Earlier(sharpened(known[0], slope), known[1])
    plan = allocate_audits(sharpened(traffic, slope), earlier, labels=1000, max_error=0.05, confidence=0.9)
    assert plan.expected_coverage > 1.2 * plan.uniform_coverage > 0
    assert 0.3 < plan.share < 0.8
    assert plan.share == float(np.mean(sharpened(traffic, slope) >= plan.floor))
    scores = sharpened(traffic, slope)

    def coverage(score: Floats, wrong: Bools, floor: float) -> float:
        found = certify(score, wrong, scores, max_error=0.05, confidence=0.9, floor=floor)
        if not isinstance(found, Certified):
            return 0.0
        return binormal_above(float(sharpened(np.array([found.threshold]), 1.0 / slope)[0]))[1]

    allocated, uniform = [], []
    for _ in range(60):
        score, wrong = binormal(4000, rng)
        score = sharpened(score, slope)
        top = np.flatnonzero(score >= plan.floor)[:1000]
        allocated.append(coverage(score[top], wrong[top], plan.floor))
        uniform.append(coverage(score[:1000], wrong[:1000], 0.0))
    assert np.mean(allocated) > np.mean(uniform) + 0.04


def test_scores_that_say_nothing_give_no_reason_to_look_at_their_top_only() -> None:
    rng = np.random.default_rng(2)
    traffic, _ = binormal(5000, rng)
    score, _ = binormal(2000, rng)
    plan = allocate_audits(
        traffic, Earlier(score, rng.random(2000) < 0.02), labels=1000, max_error=0.05, confidence=0.9
    )
    assert plan.share > 0.8
    assert plan.uniform_coverage > 0.8


def test_edges() -> None:
    rng = np.random.default_rng(3)
    traffic, _ = binormal(2000, rng)
    traffic[:500] = np.nan
    nothing = Earlier(np.array([]), np.array([], np.bool_))
    few = allocate_audits(traffic, nothing, labels=20, max_error=0.05, confidence=0.9)
    assert (few.floor, few.share, few.expected_coverage) == (0.0, 0.75, 0.0)
    plan = allocate_audits(traffic, nothing, labels=500, max_error=0.05, confidence=0.9)
    assert 0 < plan.share <= 0.75
    equal = allocate_audits(np.full(100, 0.9), nothing, labels=500, max_error=0.05, confidence=0.9)
    assert (equal.floor, equal.share) == (0.0, 1.0)
    with pytest.raises(ValueError, match="no traffic with scores"):
        allocate_audits(np.full(3, np.nan), nothing, labels=500, max_error=0.05, confidence=0.9)
    with pytest.raises(ValueError, match="at least one"):
        allocate_audits(traffic, nothing, labels=0, max_error=0.05, confidence=0.9)
