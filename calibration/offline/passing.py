"""What certificates let pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.certificate import Certified, Promise
from calibration.table import Bools, Floats, Texts


def passing(promises: Sequence[Promise], label: Texts, score: Floats) -> Bools:
    """(n,) whether each reading passes under one of the promises. A missing score (nan) does not."""
    passed = np.zeros(len(score), np.bool_)
    for promise in promises:
        if isinstance(promise.certificate, Certified):
            for name in set(promise.labels) - promise.capped:
                passed |= (label == name) & (score >= promise.certificate.threshold)
    return passed
