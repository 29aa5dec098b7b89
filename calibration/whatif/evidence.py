"""What the next certificate would be made of, and what it would say under another policy.

Calibrator, sample and traffic do not depend on the policy: they are those of the loop's own attempt. Only the tests
depend on it, and they are the loop's own, too. An answer is kept: most knobs leave the certificate as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from calibration.certificate import Certified, InsufficientLabels, NoCertifiableThreshold, Promise
from calibration.certify.earlier import Earlier
from calibration.certify.midp import mid_p
from calibration.certify.promises import certify_promises
from calibration.loop.attempt import Attempt, attempt_confidence
from calibration.policy import Policy
from calibration.table import Bools, Floats, Texts
from calibration.whatif.contracts import PromiseAnswer

_MOST_WORK = 45.0
"""To plan the order of the tests takes about 2.5 ms times the root of the labels, for each promise."""
_MOST_KEPT = 256
_FURTHEST = 1e5
_FINER = 1.02


@dataclass(frozen=True)
class LabelsAtHand:
    """n audited outcomes and m readings of the traffic, as `calibration.certify.promises` takes them."""

    score: Floats
    wrong: Bools
    label: Texts
    traffic_score: Floats
    traffic_label: Texts
    floor: float
    earlier: Earlier | None
    attempts: int
    """Made before on this evidence: they have spent a part of the confidence."""
    _known: dict[object, tuple[Promise, ...]] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, found: Attempt, attempts: int) -> LabelsAtHand:
        """The evidence of an attempt that was made to look at it."""
        return cls(
            score=found.calibrator.score(found.sample.audits.signals).score,
            wrong=found.sample.wrong,
            label=found.sample.audits.signals.label,
            traffic_score=found.calibrator.score(found.traffic.signals).score,
            traffic_label=found.traffic.signals.label,
            floor=found.sample.floor,
            earlier=found.earlier,
            attempts=attempts,
        )

    @cached_property
    def _names(self) -> list[str]:
        return sorted({*self.traffic_label, *self.label})

    def confidence(self, policy: Policy) -> float:
        """Of the next certificate."""
        return attempt_confidence(policy, self.attempts + 1)

    def plans_in_time(self, policy: Policy) -> bool:
        """Whether the loop's own order of tests is found within a fraction of a second."""
        if policy.promise == "per_label":
            _, counts = np.unique(self.label.astype(np.str_), return_counts=True)
        elif isinstance(policy.promise, tuple):
            counts = np.array([np.isin(self.label, group).sum() for group in policy.promise])
        else:
            counts = np.array([len(self.label)])
        again = 2.0 if policy.max_label_error is not None and policy.promise != "per_label" else 1.0
        return again * float(np.sqrt(counts).sum()) <= _MOST_WORK

    def certify(self, policy: Policy, *, planned: bool) -> tuple[Promise, ...]:
        """The promises that the loop would make of a policy now; not planned, tests begin where they do without earlier
        labels."""
        worth = tuple(policy.least_score(label) for label in self._names)
        terms = (policy.max_error, policy.confidence, policy.promise, policy.max_label_error, policy.severe_labels)
        key = (*terms, worth, planned)
        if (promises := self._known.get(key)) is None:
            promises = certify_promises(
                policy,
                self.score,
                self.wrong,
                self.label,
                self.traffic_score,
                self.traffic_label,
                floor=self.floor,
                earlier=self.earlier if planned else None,
                confidence=self.confidence(policy),
            )
            if len(self._known) >= _MOST_KEPT:
                self._known.clear()
            self._known[key] = promises
        return promises

    def missing_of_any(self, policy: Policy, answers: tuple[PromiseAnswer, ...]) -> int | None:
        """Audits of any label until the first promise may be certified: those of its own labels, over their share."""
        needed = []
        for each in answers:
            share = 1.0
            if policy.promise != "joint" and len(self.label):
                share = float(np.isin(self.label, each.promise.labels).mean())
            if each.labels_missing is not None and share > 0.0:
                needed.append(math.ceil(each.labels_missing / share))
        return min(needed, default=None)


def promise_answer(promise: Promise, policy: Policy, confidence: float) -> PromiseAnswer:
    """A promise, and how many labels it lacks."""
    match promise.certificate:
        case Certified():
            missing: int | None = 0
        case InsufficientLabels(labels_used=used, labels_needed=needed):
            missing = needed - used
        case NoCertifiableThreshold(labels_used=used, errors=errors, accepted=accepted):
            missing = _missing(used, errors, accepted, policy.max_error, 1.0 - confidence)
    return PromiseAnswer(promise=promise, labels_missing=missing)


def _missing(used: int, errors: int, accepted: int, max_error: float, delta: float) -> int | None:
    """Labels until the most cautious threshold passes its test, were errors above it as frequent as those seen.

    By the mid-p value alone, whose critical value is near delta.
    """
    if accepted == 0 or errors / accepted >= max_error:
        return None
    times = _FINER ** np.arange(math.ceil(math.log(_FURTHEST) / math.log(_FINER)))
    trials = np.ceil(accepted * times).astype(np.int64)
    wrong = np.ceil(trials * (errors / accepted) - 1e-9).astype(np.int64)
    enough = np.flatnonzero(mid_p(wrong, trials, max_error) <= delta)
    if not len(enough):
        return None
    return max(1, math.ceil(used * (float(trials[enough[0]]) / accepted - 1.0)))
