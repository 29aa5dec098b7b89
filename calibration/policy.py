"""What an analyst promises and what it may cost: the terms on which a gate is made."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from calibration.contract import Contract, Versioned
from calibration.outcome import Probability

Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class Stage(StrEnum):
    """How far a gate has come. Each stage is entered with evidence and left at once on alarm."""

    SHADOW = "shadow"  # it scores beside the live gate, and routes nothing
    CANARY = "canary"  # it routes a share of the events, drawn by key
    FULL = "full"


class AuditRates(Contract):
    """The share of auditable events that a person sees blind, by state of the gate."""

    closed: Probability = 0.5
    """While nothing passes: these verdicts are what the first certificate is made of."""
    canary: Annotated[float, Field(ge=0.01, le=1.0)] = 0.05
    full: Annotated[float, Field(ge=0.01, le=1.0)] = 0.02


class Policy(Versioned):
    """One taxonomy's promise, costs and limits. A record of the `policies` topic, keyed by taxonomy."""

    policy_id: Annotated[str, Field(min_length=1, max_length=128)]
    taxonomy: Annotated[str, Field(min_length=1, max_length=128)]
    created_at: AwareDatetime
    author: str = ""
    note: str = ""
    """Why it was changed, for those who read the history."""

    max_error: Annotated[float, Field(gt=0.0, lt=1.0)]
    """The promise: at most this share of what passes without a person is wrong,"""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.9
    """with at least this probability over the labels that certify it."""
    promise: Literal["joint", "per_label"] | tuple[tuple[str, ...], ...] = "joint"
    """Of what the promise is made: of everything together, of each label alone, or of each group of labels."""
    max_label_error: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Cap for each label inside a joint or grouped promise: a label whose observed error is above it does not pass."""
    severe_labels: frozenset[str] = frozenset()
    """Labels that always go to a person, whatever their score."""

    error_cost: NonNegative = 1.0
    """Of one wrong decision that passed, in the unit of `review_cost`."""
    label_error_costs: dict[str, NonNegative] = Field(default_factory=dict)
    """For labels whose errors cost more, or less."""
    review_cost: NonNegative = 1.0
    """Of one review. An image passes only where its expected error costs no more than a review would."""
    reviewer_scarcity: NonNegative = 0.0
    """Shadow price added to the cost of a review; it never lowers a certified threshold."""
    reviews_per_day: Positive | None = None
    """What the reviewers can do."""

    audit_rates: AuditRates = AuditRates()
    canary_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    retention_days: Annotated[int, Field(gt=0)] = 400
    """How long decisions and verdicts are kept in the ledger."""

    @model_validator(mode="after")
    def _groups_apart(self) -> Self:
        if isinstance(self.promise, tuple):
            labels = [label for group in self.promise for label in group]
            if doubled := sorted({label for label in labels if labels.count(label) > 1}):
                raise ValueError(f"promise: in more than one group: {', '.join(doubled)}")
        return self

    def least_score(self, label: str) -> float:
        """The score from which on an error is expected to cost no more than a review: (1 - p) * error <= review."""
        cost = self.label_error_costs.get(label, self.error_cost)
        return 0.0 if cost == 0.0 else max(0.0, 1.0 - (self.review_cost + self.reviewer_scarcity) / cost)
