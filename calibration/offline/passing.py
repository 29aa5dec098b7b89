"""What certificates let pass, and the costs of a policy."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from calibration.certificate import Certified, Promise
from calibration.policy import Policy
from calibration.table import Bools, Floats, Texts


def passing(promises: Sequence[Promise], label: Texts, score: Floats, policy: Policy | None = None) -> Bools:
    """(n,) whether each reading passes under one of the promises. A missing score (nan) does not.

    Nor does one whose error is expected to cost more than a review, or a severe label, where the policy says so.
    """
    passed = np.zeros(len(score), np.bool_)
    for promise in promises:
        if isinstance(promise.certificate, Certified):
            for name in set(promise.labels) - promise.capped:
                least = promise.certificate.threshold
                if policy is not None:
                    least = math.inf if name in policy.severe_labels else max(least, policy.least_score(name))
                passed |= (label == name) & (score >= least)
    return passed
