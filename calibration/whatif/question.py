"""What an analyst moves: each knob as it is in the policy in force, unless it is turned."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Any, Literal

from pydantic import AwareDatetime, Field

from calibration.contract import Contract
from calibration.policy import AuditRates, NonNegative, Policy, Positive

_NEVER_WORTH = 1e300
"""The cost of an error beside which a review costs nothing."""
_KNOBS = (
    "max_error",
    "confidence",
    "promise",
    "max_label_error",
    "severe_labels",
    "error_cost",
    "review_cost",
    "reviewer_scarcity",
    "reviews_per_day",
)
"""Which the policy has by the same name."""


class UnknownLabelError(ValueError):
    """A label that the survey has not seen."""


class Question(Contract):
    """Changes to a policy; None leaves a knob where it is. Units as in `calibration.policy.Policy`."""

    max_error: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] | None = None
    promise: Literal["joint", "per_label"] | tuple[tuple[str, ...], ...] | None = None
    max_label_error: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    severe_labels: frozenset[str] | None = None
    error_cost: NonNegative | None = None
    label_error_costs: dict[str, NonNegative] = Field(default_factory=dict)
    """Of single labels; others stay as they are."""
    review_cost: NonNegative | None = None
    label_review_costs: dict[str, NonNegative] = Field(default_factory=dict)
    """Of labels that are reviewed faster, or slower, than others. Routing asks for the ratio of the two costs only, so
    the policy that comes of it says the same in costs of errors, in units of a review of that label."""
    reviewer_scarcity: NonNegative | None = None
    audit_rate: Annotated[float, Field(ge=0.01, le=1.0)] | None = None
    """Of a gate in full force."""
    reviews_per_day: Positive | None = None
    """What reviewers can do; or their number and the hours that each has, at the seconds that verdicts take."""
    reviewers: Positive | None = None
    hours_per_reviewer: Annotated[float, Field(gt=0.0, le=24.0)] = 6.0

    def policy(self, base: Policy, seen: Collection[str], at: AwareDatetime) -> Policy:
        """The policy that is asked about: `base`, with what was moved. To be published, it needs an id of its own.

        Args:
            base: the policy in force.
            seen: the labels that there are; those that the base names are known, too.
            at: when it is asked.

        Raises:
            UnknownLabelError: it names a label that nobody has seen.
            pydantic.ValidationError: the knobs do not fit together, as a label in two groups.
        """
        self._refuse_unknown(base, seen)
        moved: dict[str, Any] = {name: getattr(self, name) for name in _KNOBS if getattr(self, name) is not None}
        if self.label_error_costs:
            moved["label_error_costs"] = base.label_error_costs | self.label_error_costs
        if self.audit_rate is not None:
            rates = base.audit_rates.model_dump() | {"full": self.audit_rate}
            moved["audit_rates"] = AuditRates.model_validate(rates)
        fields = {name: getattr(base, name) for name in Policy.model_fields}
        named = {"policy_id": "what-if", "created_at": at, "author": "", "note": ""}
        return self._by_label(Policy.model_validate(fields | moved | named), seen)

    def _by_label(self, policy: Policy, seen: Collection[str]) -> Policy:
        """Costs of reviews by label, said in costs of errors."""
        if not self.label_review_costs:
            return policy

        def in_reviews(error: float, review: float) -> float:
            if error == 0.0:
                return 0.0
            return min(error / review, _NEVER_WORTH) if review > 0.0 else _NEVER_WORTH

        scarcity = policy.reviewer_scarcity
        labels = set(seen) | policy.label_error_costs.keys() | self.label_review_costs.keys()
        costs = {
            label: in_reviews(
                policy.label_error_costs.get(label, policy.error_cost),
                self.label_review_costs.get(label, policy.review_cost) + scarcity,
            )
            for label in sorted(labels)
        }
        changes = {
            "error_cost": in_reviews(policy.error_cost, policy.review_cost + scarcity),
            "review_cost": 1.0,
            "reviewer_scarcity": 0.0,
            "label_error_costs": costs,
        }
        return Policy.model_validate({name: getattr(policy, name) for name in Policy.model_fields} | changes)

    def _refuse_unknown(self, base: Policy, seen: Collection[str]) -> None:
        groups = [] if self.promise is None or isinstance(self.promise, str) else self.promise
        named = {label for group in groups for label in group} | (self.severe_labels or frozenset())
        named |= self.label_error_costs.keys() | self.label_review_costs.keys()
        known = set(seen) | base.severe_labels | base.label_error_costs.keys()
        if unknown := sorted(named - known):
            raise UnknownLabelError(
                f"no reading has the label {', '.join(map(repr, unknown))}; there are: {', '.join(sorted(known))}"
            )
