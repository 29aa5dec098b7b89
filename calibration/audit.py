"""The audit draw: which would-be accepts a person sees anyway.

The draw is a keyed hash of the event id. Redelivery repeats it, an uploader cannot predict it without the key, and it
does not depend on the image or on the model's answer, so that audited errors estimate the error of everything that
passed (Horvitz-Thompson, with the logged propensity).
"""

from __future__ import annotations

import hashlib
import hmac

from calibration.contract import Contract
from calibration.outcome import Probability

_SPACE = 1 << 64


class Audit(Contract):
    """Whether an event was drawn, and the probability with which events like it are."""

    selected: bool
    propensity: Probability


def draw_audit(key: bytes, event_id: str, rate: float) -> Audit:
    """Draw the audit of one event: selected with probability `rate` over keys, always the same for one key.

    Raises:
        ValueError: `rate` is outside [0, 1].
    """
    if not 0.0 <= rate <= 1.0:
        raise ValueError(f"audit rate must be between 0 and 1, not {rate}")
    digest = hmac.digest(key, event_id.encode(), hashlib.sha256)
    return Audit(selected=int.from_bytes(digest[:8], "big") < round(rate * _SPACE), propensity=rate)
