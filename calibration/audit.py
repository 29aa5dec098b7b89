"""The audit draw: what a person sees blind, whatever the gate says of it; would-be accepts above all.

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
    would_pass: bool = True
    """Whether it would have passed. Below the threshold a draw costs nothing: it only hides the model's answer."""
    floor: Probability = 0.0
    """Score of the gate's calibrator from which on draws were made; 0 where they were made among all."""


def draw_audit(key: bytes, event_id: str, rate: float, *, would_pass: bool = True, floor: float = 0.0) -> Audit:
    """Draw the audit of one event: selected with probability `rate` over keys, always the same for one key.

    Raises:
        ValueError: `rate` is outside [0, 1].
    """
    return Audit(selected=drawn(key, event_id, rate), propensity=rate, would_pass=would_pass, floor=floor)


def drawn(key: bytes, text: str, share: float) -> bool:
    """Whether the keyed hash of a text falls into this share: of probability `share` over keys.

    Raises:
        ValueError: `share` is outside [0, 1].
    """
    if not 0.0 <= share <= 1.0:
        raise ValueError(f"a share must be between 0 and 1, not {share}")
    digest = hmac.digest(key, text.encode(), hashlib.sha256)
    return int.from_bytes(digest[:8], "big") < round(share * _SPACE)
