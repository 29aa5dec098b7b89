"""The gate: what turns a label and its signals into a route. One JSON document, which a person can read."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from functools import cached_property
from typing import Annotated, Literal, Self, assert_never

import numpy as np
from pydantic import AwareDatetime, Field, model_validator

from calibration.calibrator import Calibrator
from calibration.certificate import Certified, Count, Promise
from calibration.contract import Contract, Versioned
from calibration.outcome import ParseStatus, Probability, Reader, Signals
from calibration.policy import Policy, Stage
from calibration.routing import REASONS, Reason, Route, Routing, Routings, ShadowRouting
from calibration.table import Bools, Floats, SignalTable, Texts

__all__ = [
    "REASONS",
    "CertifiedThresholds",
    "Gate",
    "Provenance",
    "Reason",
    "ReviewEverything",
    "Route",
    "Routing",
    "Routings",
    "Rule",
    "ShadowRouting",
    "UncertifiedThreshold",
    "closed_gate",
]

_ACCEPTING = frozenset({Reason.CERTIFIED, Reason.UNCERTIFIED})
_CODES = {reason: code for code, reason in enumerate(REASONS)}
_NEVER = (math.inf, 0.0)
_ROUNDING = 1e-12
"""A reading is scored alone or in a table, with the same numbers to rounding: many that stand at a threshold together
must not be parted by that."""


class ReviewEverything(Contract):
    """No certificate: nothing passes without a person."""

    kind: Literal["review_everything"] = "review_everything"


class UncertifiedThreshold(Contract):
    """A plain threshold on one raw signal. Its error is unknown; every decision it makes says `uncertified`."""

    kind: Literal["uncertified_threshold"] = "uncertified_threshold"
    signal: Literal["verbal_confidence", "label_probability"] = "label_probability"
    threshold: Probability


class CertifiedThresholds(Contract):
    """Thresholds on the calibrated score, each with the certificate that stands behind it."""

    kind: Literal["certified_thresholds"] = "certified_thresholds"
    promises: tuple[Promise, ...]

    @model_validator(mode="after")
    def _promises_apart(self) -> Self:
        labels = [label for promise in self.promises for label in promise.labels]
        if doubled := sorted({label for label in labels if labels.count(label) > 1}):
            raise ValueError(f"promises: in more than one: {', '.join(doubled)}")
        return self

    def thresholds(self) -> dict[str, float]:
        """The least score with which each label may pass; labels that may not are absent."""
        return {
            label: promise.certificate.threshold
            for promise in self.promises
            if isinstance(promise.certificate, Certified)
            for label in promise.labels
            if label not in promise.capped
        }


Rule = Annotated[ReviewEverything | UncertifiedThreshold | CertifiedThresholds, Field(discriminator="kind")]


class Provenance(Contract):
    """Where a gate comes from."""

    fitted_on: Count
    """Outcomes of which the calibrator was made,"""
    certified_on: Count
    """and later ones, all drawn blind, on which the certificate stands."""
    certifying_from: AwareDatetime
    certifying_until: AwareDatetime
    """Between these times of decision they lie."""
    unreviewed: Count
    """Of them, drawn but never answered: counted as wrong."""
    attempt: Annotated[int, Field(ge=1)]
    """Of certifying this policy for this reader: all attempts share what the policy's confidence leaves."""
    confidence: Probability
    """Of this attempt's certificate."""
    traffic: Count
    """Readings by which coverage was counted."""
    software: str


class Gate(Versioned):
    """The document that a worker applies."""

    gate_id: Annotated[str, Field(min_length=1, max_length=128)]
    created_at: AwareDatetime
    taxonomy: str | None = None
    """Of whose readings it speaks; None: of all."""
    stage: Stage = Stage.FULL
    reader: Reader | None = None
    """What made the signals of which it speaks: for any other it is void. None: for all."""
    policy: Policy | None = None
    calibrator: Calibrator | None = None
    rule: Rule = ReviewEverything()
    severe_labels: frozenset[str] = frozenset()
    audit_rate: Probability = 0.02
    audit_floor: Probability = 0.0
    """Audits are drawn among readings with at least this score; 0 draws among all, scored or not."""
    expires_at: AwareDatetime | None = None
    """From then on nothing passes, unless somebody who watches its audits has made it last longer."""
    provenance: Provenance | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if isinstance(self.rule, CertifiedThresholds) and (self.calibrator is None or self.policy is None):
            raise ValueError("certified thresholds need the calibrator and the policy that they were certified with")
        if self.audit_floor > 0.0 and self.calibrator is None:
            raise ValueError("audit_floor: without a calibrator there are no scores to draw by")
        if self.taxonomy is not None and self.policy is not None and self.policy.taxonomy != self.taxonomy:
            raise ValueError(f"the policy speaks of {self.policy.taxonomy}, the gate of {self.taxonomy}")
        return self

    @property
    def policy_version(self) -> str:
        """Of its policy, for decisions to carry."""
        return "none" if self.policy is None else self.policy.policy_id

    @property
    def calibrator_version(self) -> str:
        """Of its calibrator, for decisions to carry."""
        return "none" if self.calibrator is None else self.calibrator.calibrator_id

    @property
    def passes_anything(self) -> bool:
        """Whether there is a reading that it lets pass."""
        return isinstance(self.rule, UncertifiedThreshold) or bool(self._least.keys() - self._severe)

    @cached_property
    def _severe(self) -> frozenset[str]:
        return self.severe_labels | (self.policy.severe_labels if self.policy else frozenset())

    @cached_property
    def _least(self) -> dict[str, tuple[float, float]]:
        """For each label that may pass, the certified threshold, and the score from which passing is worth it."""
        if not isinstance(self.rule, CertifiedThresholds) or self.policy is None:
            return {}
        return {
            label: (least - _ROUNDING, self.policy.least_score(label) - _ROUNDING)
            for label, least in self.rule.thresholds().items()
        }

    @cached_property
    def _floor(self) -> float:
        """The score from which on audits are drawn; -inf where they are drawn among all, scored or not."""
        return self.audit_floor - _ROUNDING if self.audit_floor > 0.0 else -math.inf

    def route(self, label: str | None, signals: Signals, source: str = "") -> Routing:
        """Route one reading. Whatever is missing, unparsed or severe goes to a person; this never raises."""
        if signals.parse_status is ParseStatus.NOT_READ:
            return Routing(route=Route.REVIEW, reason=Reason.UNSURE_IMAGE)
        if signals.parse_status is not ParseStatus.OK or not label:
            return Routing(route=Route.REVIEW, reason=Reason.UNPARSED)
        score: float | None = None
        interval = None
        if self.calibrator is not None:
            score, low, high = self.calibrator.score_one(label, source, signals)
            interval = (low, high)
        elif isinstance(self.rule, UncertifiedThreshold):
            score = getattr(signals, self.rule.signal)
        reason = self._reason(label, score, signals)
        return Routing(
            route=Route.AUTO_ACCEPT if reason in _ACCEPTING else Route.REVIEW,
            reason=reason,
            probability=score,
            interval=interval,
            auditable=label not in self._severe and (score or 0.0) >= self._floor,
        )

    def _reason(self, label: str, score: float | None, signals: Signals) -> Reason:
        if label in self._severe:
            return Reason.ALWAYS_REVIEW
        match self.rule:
            case ReviewEverything():
                return Reason.NO_CERTIFICATE
            case UncertifiedThreshold(signal=signal, threshold=threshold):
                raw: float | None = getattr(signals, signal)
                return Reason.BELOW_THRESHOLD if raw is None or raw < threshold else Reason.UNCERTIFIED
            case CertifiedThresholds():
                threshold, worth = self._least.get(label, _NEVER)
                if threshold == math.inf:
                    return Reason.NO_CERTIFICATE
                if score is None or score < threshold:
                    return Reason.BELOW_THRESHOLD
                return Reason.TOO_COSTLY if score < worth else Reason.CERTIFIED
            case _ as never:
                assert_never(never)

    def route_table(self, signals: SignalTable) -> Routings:
        """Route n readings; the same as `route` of each, where an unread image counts as unparsed."""
        n = len(signals)
        score = np.full(n, np.nan)
        if self.calibrator is not None:
            score = self.calibrator.score(signals).score
        elif isinstance(self.rule, UncertifiedThreshold):
            score = getattr(signals, self.rule.signal)
        labels = _Labels(signals.label)
        severe = labels.where(lambda label: label in self._severe)
        parsed = signals.parsed & labels.where(bool)
        match self.rule:
            case ReviewEverything():
                reason = np.full(n, _CODES[Reason.NO_CERTIFICATE], np.int8)
            case UncertifiedThreshold(signal=signal, threshold=threshold):
                reached = getattr(signals, signal) >= threshold
                reason = np.where(reached, _CODES[Reason.UNCERTIFIED], _CODES[Reason.BELOW_THRESHOLD])
            case CertifiedThresholds():
                least = labels.each(lambda label: self._least.get(label, _NEVER)[0])
                worth = labels.each(lambda label: self._least.get(label, _NEVER)[1])
                reason = np.where(score >= worth, _CODES[Reason.CERTIFIED], _CODES[Reason.TOO_COSTLY])
                reason[~(score >= least)] = _CODES[Reason.BELOW_THRESHOLD]  # nan is below
                reason[least == math.inf] = _CODES[Reason.NO_CERTIFICATE]
            case _ as never:
                assert_never(never)
        reason[severe] = _CODES[Reason.ALWAYS_REVIEW]
        reason[~parsed] = _CODES[Reason.UNPARSED]
        return Routings(
            passes=(reason == _CODES[Reason.CERTIFIED]) | (reason == _CODES[Reason.UNCERTIFIED]),
            reason=reason.astype(np.int8),
            score=np.where(parsed, score, np.nan),
            auditable=parsed & ~severe & (np.nan_to_num(score) >= self._floor),
        )

    def in_force(self, reader: Reader, now: datetime) -> Gate:
        """This gate, or what is left of it for a reader that it does not speak of, or after its time: closed."""
        if self.reader is not None and self.reader != reader:
            return self._closed("other-reader", calibrator=None, audit_floor=0.0)  # its scores mean nothing either
        if self.expires_at is not None and now >= self.expires_at and not isinstance(self.rule, ReviewEverything):
            return self.closed("expired")
        return self

    def closed(self, why: str) -> Gate:
        """The same gate, shut: it scores and audits, and nothing passes."""
        return self._closed(why)

    def _closed(self, why: str, **further: object) -> Gate:
        changes = {
            "gate_id": f"{self.gate_id[:110]}/{why}",
            "stage": Stage.FULL,
            "rule": ReviewEverything(),
            "audit_rate": self.policy.audit_rates.closed if self.policy else self.audit_rate,
            "expires_at": None,
        }
        # Made anew, since a copy would keep what was derived from the old rule.
        return Gate.model_validate({name: getattr(self, name) for name in Gate.model_fields} | changes | further)


class _Labels:
    """A column of labels, so that what depends on the label alone is worked out once for each."""

    def __init__(self, column: Texts) -> None:
        rows: list[str] = column.tolist()
        self._names = sorted(set(rows))
        codes = {name: code for code, name in enumerate(self._names)}
        self._codes = np.fromiter(map(codes.__getitem__, rows), np.intp, len(rows))

    def each(self, of: Callable[[str], float]) -> Floats:
        """One number a row."""
        return np.array([of(name) for name in self._names], np.float64)[self._codes]

    def where(self, holds: Callable[[str], bool]) -> Bools:
        """The rows for whose label it holds."""
        return np.array([holds(name) for name in self._names], np.bool_)[self._codes]


def closed_gate(created_at: datetime) -> Gate:
    """The gate of a worker that was given none: everything to review, and no audit drawn."""
    return Gate(gate_id="closed", created_at=created_at, audit_rate=0.0)
