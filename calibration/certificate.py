"""The certificate: the evidence for a threshold, or the reason why there is none."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from calibration.contract import Contract
from calibration.outcome import Probability

Count = Annotated[int, Field(ge=0)]


class _Evidence(Contract):
    labels_used: Count
    """Audited outcomes of the region that was tested, also those that were not parsed and never pass."""
    least_abstention: Probability
    """At least this share must be reviewed, whatever the scores: (base error - max_error) / (1 - max_error), or 0.

    Of the events from which the labels were drawn, by the labels' own base error.
    """


class Certified(_Evidence):
    """Among events with score >= threshold, the error is at most max_error, at the confidence asked for."""

    status: Literal["certified"] = "certified"
    threshold: Probability
    coverage: Probability
    """Share of all traffic that reaches the threshold, and may pass under this certificate."""
    upper_bound: Probability
    """The smallest error that the same test would have rejected at this threshold, at the same confidence.

    An upper bound for this one threshold, at most max_error. What is promised is max_error: only that also accounts for
    the threshold being chosen among several.
    """
    errors: Count
    accepted: Count
    """Audited outcomes at or above the threshold, and the errors among them."""


class InsufficientLabels(_Evidence):
    """Too few audited outcomes to certify anything, even were none of them wrong."""

    status: Literal["insufficient_labels"] = "insufficient_labels"
    labels_needed: Count
    """So many would do if none were wrong and as many of them were parsed as until now."""


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
    """Of all its labels but the capped ones."""
    label_errors: tuple[LabelError, ...] = ()
    """Of all its labels at the threshold that was certified, or of which a refusal gives the counts."""
    capped: frozenset[str] = frozenset()
    """Labels that do not pass all the same: their own error is above the policy's cap."""
