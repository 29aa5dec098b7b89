"""The certificate: the evidence for a threshold, or the reason why there is none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from calibration.contract import Contract
from calibration.outcome import Probability

Count = Annotated[int, Field(ge=0)]


class _Evidence(Contract):
    labels_used: Count
    """Audited outcomes that were tested."""
    least_abstention: Probability
    """At least this share must be reviewed, whatever the scores: (base error - max_error) / (1 - max_error), or 0."""


class Certified(_Evidence):
    """Among events with score >= threshold, the error is at most max_error, at the confidence asked for."""

    status: Literal["certified"] = "certified"
    threshold: Probability
    coverage: Probability
    """Share of the traffic that reaches the threshold."""
    upper_bound: Probability
    """Upper confidence bound of the error among what passes, as certified; at most max_error."""
    errors: Count
    accepted: Count
    """Audited outcomes at or above the threshold, and the errors among them."""


class InsufficientLabels(_Evidence):
    """Too few audited outcomes to certify anything, even were none of them wrong."""

    status: Literal["insufficient_labels"] = "insufficient_labels"
    labels_needed: Count


class NoCertifiableThreshold(_Evidence):
    """Enough labels, but no threshold whose error they show to be small enough."""

    status: Literal["no_certifiable_threshold"] = "no_certifiable_threshold"
    errors: Count
    accepted: Count
    """Of the most cautious threshold that was tested, and failed."""


Certificate = Annotated[Certified | InsufficientLabels | NoCertifiableThreshold, Field(discriminator="status")]


class LabelError(Contract):
    """What stands beside a joint promise: the error of one label among what would pass, with its 90 % interval."""

    label: str
    accepted: Count
    errors: Count
    low: Probability
    high: Probability


class Promise(Contract):
    """One certificate and the labels it speaks of together."""

    labels: tuple[str, ...]
    certificate: Certificate
    label_errors: tuple[LabelError, ...] = ()
    capped: frozenset[str] = frozenset()
    """Labels that do not pass all the same: their own error is above the policy's cap."""
