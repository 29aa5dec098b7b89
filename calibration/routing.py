"""What a gate says of a reading: where the image goes, and why."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from calibration.contract import Contract
from calibration.outcome import Probability
from calibration.table import Bools, Floats, Table


class Route(StrEnum):
    """Where an image goes."""

    AUTO_ACCEPT = "auto_accept"
    REVIEW = "review"


class Reason(StrEnum):
    """Why it goes there. Only the first two accept."""

    CERTIFIED = "certified"
    UNCERTIFIED = "uncertified"  # a plain threshold that an operator set: nobody vouches for its error
    NO_CERTIFICATE = "no_certificate"
    BELOW_THRESHOLD = "below_threshold"
    TOO_COSTLY = "too_costly"  # the promise would let it pass, but an error is expected to cost more than a review
    ALWAYS_REVIEW = "always_review"  # a severe label
    AUDIT = "audit"  # drawn for a blind review
    UNPARSED = "unparsed"
    UNSURE_IMAGE = "unsure_image"  # blank, or too small to show anything


REASONS = tuple(Reason)


class Routing(Contract):
    """What the gate says of one reading, before the audit draw."""

    route: Route
    reason: Reason
    probability: Probability | None = None
    """The score that was held against the threshold: calibrated P(correct) under a certificate, else a raw signal."""
    interval: tuple[Probability, Probability] | None = None
    auditable: bool = False
    """Whether it lies in the region from which audits are drawn."""


class ShadowRouting(Contract):
    """What a gate that does not route yet would have done."""

    gate: str
    route: Route
    reason: Reason
    probability: Probability | None = None


@dataclass(frozen=True)
class Routings(Table):
    """The same for n readings."""

    passes: Bools
    reason: NDArray[np.int8]
    """Positions in `REASONS`."""
    score: Floats
    """nan where there is none."""
    auditable: Bools
