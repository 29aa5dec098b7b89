"""Audits of different rates, made equal: a sample of one propensity, which is what a certificate needs."""

from __future__ import annotations

import hashlib

import numpy as np

from calibration.table import Bools, Floats, Texts

_HASHES = 1 << 64


def thinned(event_id: Texts, propensity: Floats, rate: float) -> Bools:
    """Keep each row with probability rate / propensity, by a hash of its id: the same rows every time.

    nan is never kept.
    """
    draws = np.array(
        [
            int.from_bytes(hashlib.blake2b(f"thin {event}".encode(), digest_size=8).digest(), "big")
            for event in event_id
        ],
        np.float64,
    )
    return draws < rate / propensity * _HASHES
