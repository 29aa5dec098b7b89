"""The simple recipe: the yardstick for the procedure, and its cross-check in tests.

Candidate thresholds come from unlabelled traffic. The first is where m0 = 2 ln(1/delta) / -ln(1 - max_error) labels are
expected above it; coverage then grows by a tenth at a time, until the Clopper-Pearson test P(Bin(m, max_error) <= k) no
longer rejects. A broken promise must reject the first true null of an order that no certifying label chose, which has
probability delta at most (fixed sequence: Maurer, Hothorn and Lehmacher 1995).
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import bdtr

from calibration.certificate import Certificate, Certified, InsufficientLabels, NoCertifiableThreshold
from calibration.certify.evidence import least_abstention, upper_bound
from calibration.table import Bools, Floats

_WIDER = 1.1


def certify_by_recipe(
    score: Floats, wrong: Bools, traffic_score: Floats, *, max_error: float, confidence: float
) -> Certificate:
    """Certify with the simple recipe; arguments as of `calibration.certify.procedure.certify`."""
    delta = 1.0 - confidence
    n = len(score)
    ordered = np.sort(traffic_score[~np.isnan(traffic_score)])[::-1]
    reachable = len(ordered) / len(traffic_score)
    evidence = {"labels_used": n, "least_abstention": least_abstention(wrong, max_error)}
    enough = math.log(delta) / math.log1p(-max_error)
    if n * reachable < enough:
        return InsufficientLabels(**evidence, labels_needed=math.ceil(enough / max(reachable, 1e-9)))
    share = min(2.0 * enough / n, reachable)
    best: Certified | None = None
    while True:
        threshold = float(ordered[min(math.ceil(share * len(traffic_score)), len(ordered)) - 1])
        passing = score >= threshold
        accepted, errors = int(passing.sum()), int((wrong & passing).sum())
        if accepted == 0 or bdtr(errors, accepted, max_error) > delta:
            return best or NoCertifiableThreshold(**evidence, errors=errors, accepted=accepted)
        best = Certified(
            **evidence,
            threshold=threshold,
            coverage=float(np.mean(traffic_score >= threshold)),
            upper_bound=min(upper_bound(errors, accepted, delta), max_error),
            errors=errors,
            accepted=accepted,
        )
        if share >= reachable:
            return best
        share = min(share * _WIDER, reachable)
