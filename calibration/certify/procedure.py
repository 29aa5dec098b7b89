"""The certificate of a threshold: unconditional mid-p tests in an order that no certifying label has chosen.

Thresholds tau_1 > tau_2 > ... and their order come from unlabelled traffic and, for the plan, from labels of an earlier
gate. Each is tested at level delta (`calibration.certify.midp`), and the first that does not reject ends it; the last
that did is the certificate. A broken promise must reject the first true null of a fixed order, which has probability
delta at most. Neither calibrated scores nor an error that falls with the score is needed. What is needed: the labels
are independent draws, all of one propensity, from the region that is tested (what was parsed, at or above the floor),
and the traffic is that region's. Drift and unequal propensities void it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from calibration.certificate import Certificate, Certified, InsufficientLabels, NoCertifiableThreshold
from calibration.certify.earlier import Earlier
from calibration.certify.evidence import least_abstention
from calibration.certify.midp import Acceptance, rejected_error, rejects
from calibration.certify.planning import candidates, default_plan, least_trials, possible_worlds, simulated_plan
from calibration.table import Bools, Floats

_LEAST_EARLIER = 50
"""With fewer earlier labels the default plan is better,"""
_MOST_PLANNED = 20_000
"""and with more certifying ones it makes no difference where to begin."""


def certify(
    score: Floats,
    wrong: Bools,
    traffic_score: Floats,
    *,
    max_error: float,
    confidence: float,
    floor: float = 0.0,
    earlier: Earlier | None = None,
) -> Certificate:
    """Certify the lowest threshold that can be: error among score >= threshold at most `max_error`, at `confidence`.

    Args:
        score: (n,) of audited outcomes, 0 to 1; nan where not parsed. Rows that were not parsed never pass; whether
            audits are drawn among them makes no difference.
        wrong: (n,) whether the reading was wrong.
        traffic_score: (m,) of unlabelled events, nan likewise; the audited ones may be among them.
        max_error: the promise, in (0, 1).
        confidence: at which it must hold, over the labels; in (0, 1).
        floor: the audits were drawn only among events with at least this score; rows below it are left out.
        earlier: labels of an earlier gate. They plan the order of the tests, and are never tested.

    Raises:
        ValueError: columns of different lengths, no traffic, scores outside [0, 1], or a promise that is none.
    """
    check_inputs(score, wrong, traffic_score, max_error, confidence)
    return certify_region(score, wrong, traffic_score, max_error, 1.0 - confidence, floor, earlier).certificate


@dataclass(frozen=True)
class Finding:
    """A certificate, and the threshold of which its counts speak: nan where none was tested."""

    certificate: Certificate
    threshold: float


def certify_region(
    score: Floats,
    wrong: Bools,
    traffic_score: Floats,
    max_error: float,
    delta: float,
    floor: float = 0.0,
    earlier: Earlier | None = None,
) -> Finding:
    """The same for rows that are known to be sound, with failure probability `delta`."""
    drawn = ~(score < floor)  # nan too
    score, wrong = score[drawn], wrong[drawn]
    parsed = ~np.isnan(score)
    n = int(parsed.sum())
    region = np.sort(traffic_score[traffic_score >= floor])[::-1]
    evidence = {"labels_used": len(score), "least_abstention": least_abstention(wrong, max_error)}
    needed = least_trials(max_error, delta)
    if n < needed:
        usable = n / len(score) if n else max(float(np.mean(~np.isnan(traffic_score))), 1e-3)
        return Finding(InsufficientLabels(**evidence, labels_needed=math.ceil(needed / usable)), math.nan)
    if not len(region):
        return Finding(NoCertifiableThreshold(**evidence, errors=0, accepted=0), math.nan)
    among = candidates(region, n, max_error, delta)
    known = 0 if earlier is None else int((~np.isnan(earlier.score)).sum())
    if earlier is None or known < _LEAST_EARLIER or n > _MOST_PLANNED:
        plan = default_plan(among, n, max_error, delta)
    else:
        plan = simulated_plan(among, region, n, possible_worlds(earlier), max_error, delta)
    best: tuple[float, int, int, Acceptance] | None = None
    for position in range(plan.start, len(among.thresholds)):
        threshold = float(among.thresholds[position])
        passing = score >= threshold
        accepted, errors = int(passing.sum()), int((wrong & passing).sum())
        acceptance = Acceptance(n, float(among.shares[position]), among.traffic)
        if not rejects(errors, accepted, acceptance, max_error, delta):
            break
        best = threshold, errors, accepted, acceptance
    if best is None:
        return Finding(NoCertifiableThreshold(**evidence, errors=errors, accepted=accepted), threshold)
    threshold, errors, accepted, acceptance = best
    found = Certified(
        **evidence,
        threshold=threshold,
        coverage=float(np.mean(traffic_score >= threshold)),
        upper_bound=rejected_error(errors, accepted, acceptance, max_error, delta),
        errors=errors,
        accepted=accepted,
    )
    return Finding(found, threshold)


def check_inputs(score: Floats, wrong: Bools, traffic_score: Floats, max_error: float, confidence: float) -> None:
    """Raise ValueError, with a sentence, for what cannot be certified on."""
    if len(score) != len(wrong):
        raise ValueError(f"{len(score)} scores, but {len(wrong)} outcomes")
    if not len(traffic_score):
        raise ValueError("no traffic: candidate thresholds and coverage come from unlabelled scores; give some")
    for name, values in (("score", score), ("traffic_score", traffic_score)):
        if ((values < 0.0) | (values > 1.0)).any():
            raise ValueError(f"{name}: a score is a probability, from 0 to 1, or nan")
    if not 0.0 < max_error < 1.0:
        raise ValueError(f"max_error must be between 0 and 1, not {max_error}")
    if not 0.0 < confidence < 1.0:
        raise ValueError(f"confidence must be between 0 and 1, not {confidence}")
