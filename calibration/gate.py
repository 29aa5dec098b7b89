"""The gate: what turns a label and its signals into a route. One JSON document, which a person can read."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, assert_never

from pydantic import AwareDatetime, Field

from calibration.contract import Contract, Versioned
from calibration.outcome import ParseStatus, Probability, Signals


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
    ALWAYS_REVIEW = "always_review"  # a severe label
    AUDIT = "audit"  # would have passed, but was drawn for a blind review
    UNPARSED = "unparsed"
    UNSURE_IMAGE = "unsure_image"  # blank, or too small to show anything


class ReviewEverything(Contract):
    """No certificate: nothing passes without a person."""

    kind: Literal["review_everything"] = "review_everything"


class UncertifiedThreshold(Contract):
    """A plain threshold on one raw signal. Its error is unknown; every decision it makes says `uncertified`."""

    kind: Literal["uncertified_threshold"] = "uncertified_threshold"
    signal: Literal["verbal_confidence", "label_probability"] = "label_probability"
    threshold: Probability


Rule = Annotated[ReviewEverything | UncertifiedThreshold, Field(discriminator="kind")]


class Routing(Contract):
    """What the gate says of one reading, before the audit draw."""

    route: Route
    reason: Reason
    probability: Probability | None = None
    """The score that was held against the threshold: calibrated P(correct) under a certificate, else a raw signal."""
    interval: tuple[Probability, Probability] | None = None


class Gate(Versioned):
    """The document that a worker applies."""

    gate_id: Annotated[str, Field(min_length=1, max_length=128)]
    created_at: AwareDatetime
    policy_version: str = "none"
    calibrator_version: str = "none"
    rule: Rule = ReviewEverything()
    severe_labels: frozenset[str] = frozenset()
    audit_rate: Probability = 0.02

    def route(self, label: str | None, signals: Signals) -> Routing:
        """Route one reading. Whatever is missing, unparsed or severe goes to a person; this never raises."""
        if signals.parse_status is ParseStatus.NOT_READ:
            return Routing(route=Route.REVIEW, reason=Reason.UNSURE_IMAGE)
        if signals.parse_status is not ParseStatus.OK or label is None:
            return Routing(route=Route.REVIEW, reason=Reason.UNPARSED)
        match self.rule:
            case ReviewEverything():
                return Routing(route=Route.REVIEW, reason=Reason.NO_CERTIFICATE)
            case UncertifiedThreshold(signal=signal, threshold=threshold):
                score: float | None = getattr(signals, signal)
                if label in self.severe_labels:
                    return Routing(route=Route.REVIEW, reason=Reason.ALWAYS_REVIEW, probability=score)
                if score is None or score < threshold:
                    return Routing(route=Route.REVIEW, reason=Reason.BELOW_THRESHOLD, probability=score)
                return Routing(route=Route.AUTO_ACCEPT, reason=Reason.UNCERTIFIED, probability=score)
            case _ as never:
                assert_never(never)


def closed_gate(created_at: datetime) -> Gate:
    """The gate of a worker that was given none: everything to review."""
    return Gate(gate_id="closed", created_at=created_at)
