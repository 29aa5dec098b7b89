"""What an analyst is told: the platform as it is and as it would be, side by side."""

from __future__ import annotations

from typing import Annotated

from pydantic import AwareDatetime, Field

from calibration.certificate import Certified, Count, Promise
from calibration.contract import Contract
from calibration.outcome import Probability
from calibration.policy import NonNegative, Policy


class Estimate(Contract):
    """A figure with its 95 % interval; None where there are fewer than two days, or reviewers' days, to compare."""

    value: NonNegative
    low: NonNegative | None = None
    high: NonNegative | None = None


class Queue(Contract):
    """What becomes of the queue, were every day the mean day: images are taken in the order in which they came."""

    capacity_per_day: NonNegative
    """Reviews that the reviewers can do."""
    load: NonNegative
    """Reviews that come in over those that can be done; above 1 the queue grows without end."""
    growth_per_day: float
    """Reviews that come in beyond what can be done; negative where there is time to spare."""
    waiting: Count | None
    """Images that wait now; None where nobody counted them."""
    older_hours_per_day: NonNegative
    """By so much the image that has waited longest is older each day: 24 h (1 - 1 / load), or 0."""
    days_to_clear: NonNegative | None
    """Until nothing is left of what waits now; None where that never is, or nobody counted it."""


class Side(Contract):
    """The platform under one gate."""

    coverage: Estimate
    """Share of all readings that passes, drawn for an audit or not."""
    passing_per_day: Estimate
    """Images that no person sees: without those drawn for an audit."""
    reviews_per_day: Estimate
    """Images that a person sees: all that does not pass, and what of the rest is drawn for an audit."""
    hours_per_day: Estimate | None
    """Of reviewers, at the seconds that verdicts were measured to take; None where there are no verdicts."""
    audits_per_day: Estimate
    """Expected blind draws among all that are auditable,"""
    audits_passing_per_day: Estimate
    """and those of them that would have passed: only these are additional work."""
    max_error: Probability | None
    """What is promised of what passes; None where nothing passes, or nobody vouches for it."""
    error_bound: Probability | None
    """The largest upper bound among the certificates, each at its confidence: at most `max_error`."""
    wrong_per_day_at_most: NonNegative | None
    """Wrong decisions that pass on the mean day, if the promise holds; None where something passes unpromised."""
    queue: Queue | None
    """None where neither the policy nor the question says what reviewers can do."""


class PromiseAnswer(Contract):
    """One promise as the next certificate would make it."""

    promise: Promise
    labels_missing: Count | None
    """Further audited outcomes of its labels until it may be certified: 0 where it is. Where there are too few to test:
    if none is wrong. Where a test failed: about so many, if errors stay as frequent as those seen; None where, as
    frequent as they are, no number would do."""

    @property
    def certified(self) -> bool:
        """Whether anything passes under it."""
        return isinstance(self.promise.certificate, Certified)


class LabelAnswer(Contract):
    """One label, now and then."""

    label: str
    readings: Count
    """In the survey, parsed."""
    passes_now: Count
    passes_then: Count
    least_score: float | None
    """From which it would pass: the certified threshold, or what costs ask for if that is more; None: never."""


class Example(Contract):
    """An image that would change its route."""

    event_id: str
    label: str
    score: Probability | None
    """By the calibrator of the next certificate; None where it has none."""
    decided_at: AwareDatetime


class Change(Contract):
    """The images that would go another way."""

    count: Count
    """In the survey, exactly."""
    per_day: Estimate
    examples: tuple[Example, ...]
    """A random sample of those that were kept by label and score; fewer than there are, or none, where few change."""


class Answer(Contract):
    """What would be under another policy, once its gate is certified and in full force."""

    policy: Policy
    """The one that was asked about: to be published under an id of its own."""
    readings: Count
    """In the survey, parsed or not,"""
    since: AwareDatetime
    until: AwareDatetime
    """decided from one moment to the other."""
    now: Side
    then: Side
    promises: tuple[PromiseAnswer, ...]
    refusal: str | None
    """Why nothing would be certified, in a sentence; None where something is."""
    labels_missing: Count | None
    """Further answered audits, of any label, until the first promise may be certified; as in `PromiseAnswer`."""
    labels_until_attempt: Count
    """Answered audits that the loop waits for before it tries."""
    confidence: Probability
    """Of the next certificate: what earlier attempts on the same labels have left of the policy's."""
    to_pass: Change
    to_review: Change
    labels: tuple[LabelAnswer, ...]
    as_the_loop: bool
    """Whether thresholds are the loop's own, to the last digit. False: the order of the tests was not planned by
    earlier labels, which takes longer; thresholds then differ a little."""
    assumptions: Annotated[tuple[str, ...], Field(min_length=1)]
    """What all this rests on, in sentences."""
