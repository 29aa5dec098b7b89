"""A policy's promises, each with its certificate, and the labels that a cap keeps from passing.

Each promise is certified by itself, on the rows and the traffic that could pass under it: parsed, of its labels, not
severe, and worth passing. A reading whose expected error costs more than a review never passes, so it is taken out
before anything is tested: what is certified is what passes.

A cap picks labels by the very labels that certify, and what such a choice leaves looks better than it is. So every set
of labels that could be left has its own procedure at its own part of delta, fixed beforehand, and the parts add up to
at most one: whatever is chosen, and however, what is left is certified (a union bound over sets). Most of delta goes to
the set that is expected: the earlier labels' answer, or all of them. The rest goes to the sets that differ from it, in
d labels 2^-d of it, equally among sets of one d.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.certificate import LabelError, NoCertifiableThreshold, Promise
from calibration.certify.earlier import Earlier
from calibration.certify.evidence import least_abstention, lower_bound, upper_bound
from calibration.certify.procedure import Finding, certify_region, check_inputs
from calibration.policy import Policy
from calibration.table import Bools, Floats, Texts

_EXPECTED = 0.7
"""The part of delta that goes to the set of labels which is expected to be left."""
_LEAST_EARLIER = 30


def certify_promises(
    policy: Policy,
    score: Floats,
    wrong: Bools,
    label: Texts,
    traffic_score: Floats,
    traffic_label: Texts,
    *,
    floor: float = 0.0,
    earlier: Earlier | None = None,
    confidence: float | None = None,
) -> tuple[Promise, ...]:
    """Certify every promise of a policy, each at the policy's confidence, or at `confidence` where given.

    Arguments as of `calibration.certify.procedure.certify`, with the model's label of every row; rows without a label
    are not parsed. A joint promise speaks of all labels seen, in the rows or in the traffic. Severe labels, and labels
    that are in no group of a grouped policy, are in no promise. The coverage of each certificate is a share of all
    traffic, so that coverages add up.

    Raises:
        ValueError: columns of different lengths, no traffic, scores outside [0, 1], or earlier rows without labels.
    """
    level = policy.confidence if confidence is None else confidence
    check_inputs(score, wrong, traffic_score, policy.max_error, level)
    if len(label) != len(score) or len(traffic_label) != len(traffic_score):
        raise ValueError("every row, and every event of the traffic, needs the model's label beside its score")
    if earlier is not None and earlier.label is None:
        raise ValueError("earlier: a promise speaks of labels, so give the model's label of every earlier row")
    seen = set(label) | set(traffic_label)
    promised = _promised(policy, seen)
    former = np.array([], np.object_) if earlier is None or earlier.label is None else earlier.label
    names = {name: code for code, name in enumerate(sorted(seen | set(former) | {""} | set().union(*promised)))}
    drawn = ~(score < floor)
    evidence = _Evidence(
        names=names,
        rows=_Readings.of(policy, names, score[drawn], label[drawn]),
        wrong=wrong[drawn],
        traffic=_Readings.of(policy, names, traffic_score, traffic_label),
        earlier=None if earlier is None else _Readings.of(policy, names, earlier.score, former),
        earlier_wrong=None if earlier is None else earlier.wrong,
        max_error=policy.max_error,
        floor=floor,
        unparsed_too=policy.promise == "joint",
    )
    cap = policy.max_label_error
    if policy.promise == "per_label":
        return tuple(_alone(evidence, labels, 1.0 - level) for labels in promised)
    return tuple(_together(evidence, labels, 1.0 - level, 1.0 if cap is None else cap) for labels in promised)


def _promised(policy: Policy, seen: set[str]) -> list[tuple[str, ...]]:
    """The labels of each promise, without severe ones; a group of which nothing is left is no promise."""
    groups: Iterable[Iterable[str]]
    if policy.promise == "joint":
        groups = [sorted(seen - {""})]
    elif policy.promise == "per_label":
        groups = [[name] for name in sorted(seen - {""})]
    else:
        groups = policy.promise
    left = [tuple(name for name in group if name not in policy.severe_labels) for group in groups]
    return [labels for labels in left if labels]


@dataclass(frozen=True)
class _Readings:
    score: Floats
    """(n,); nan where a reading cannot pass under any promise."""
    code: NDArray[np.intp]
    """(n,) of its label."""

    @classmethod
    def of(cls, policy: Policy, names: dict[str, int], score: Floats, label: Texts) -> _Readings:
        never = policy.severe_labels | {""}
        least = np.array([math.inf if name in never else policy.least_score(name) for name in names])
        code = np.fromiter((names[name] for name in label), np.intp, len(label))
        return cls(np.where(score >= least[code], score, np.nan), code)


@dataclass(frozen=True)
class _Evidence:
    """All that is known, and the promise it is held against."""

    names: dict[str, int]
    rows: _Readings
    wrong: Bools
    traffic: _Readings
    earlier: _Readings | None
    earlier_wrong: Bools | None
    max_error: float
    floor: float
    unparsed_too: bool
    """Whether rows without a label count among the rows of a promise; they never pass."""

    def certify(self, labels: Iterable[str], delta: float) -> Finding:
        """The certificate of these labels together."""
        member = np.zeros(len(self.names), np.bool_)
        member[[self.names[name] for name in labels]] = True
        member[self.names[""]] = self.unparsed_too
        rows = member[self.rows.code]
        traffic = np.where(member[self.traffic.code], self.traffic.score, np.nan)
        former: Earlier | None = None
        if self.earlier is not None and self.earlier_wrong is not None:
            known = member[self.earlier.code]
            former = Earlier(self.earlier.score[known], self.earlier_wrong[known])
        return certify_region(
            self.rows.score[rows], self.wrong[rows], traffic, self.max_error, delta, self.floor, former
        )

    def errors_above(self, threshold: float, labels: Iterable[str]) -> tuple[LabelError, ...]:
        """Each label's error among the rows at or above a threshold, with its 90 % interval (Clopper-Pearson)."""
        passing = self.rows.score >= threshold
        return tuple(_label_error(name, self.wrong[passing & (self.rows.code == self.names[name])]) for name in labels)

    def expected_capped(self, labels: Iterable[str], cap: float) -> frozenset[str]:
        """Labels above the cap among earlier rows, where the earlier rows' joint error is as promised."""
        if self.earlier is None or self.earlier_wrong is None:
            return frozenset()
        codes = {name: self.names[name] for name in labels}
        known = np.flatnonzero(~np.isnan(self.earlier.score) & np.isin(self.earlier.code, list(codes.values())))
        order = known[np.argsort(-self.earlier.score[known], kind="stable")]
        error = np.cumsum(self.earlier_wrong[order]) / np.arange(1, len(order) + 1)
        enough = np.flatnonzero(error <= self.max_error)
        if not len(enough) or enough[-1] + 1 < _LEAST_EARLIER:
            return frozenset()
        top = order[: enough[-1] + 1]
        return frozenset(
            name
            for name, code in codes.items()
            if (self.earlier.code[top] == code).any()
            and self.earlier_wrong[top][self.earlier.code[top] == code].mean() > cap
        )


def _alone(evidence: _Evidence, labels: tuple[str, ...], delta: float) -> Promise:
    return Promise(labels=labels, certificate=evidence.certify(labels, delta).certificate)


def _together(evidence: _Evidence, labels: tuple[str, ...], delta: float, cap: float) -> Promise:
    """One promise for several labels. Those whose observed error among what would pass is above `cap` do not pass."""
    if cap >= 1.0:
        found = evidence.certify(labels, delta)
        return Promise(
            labels=labels, certificate=found.certificate, label_errors=_beside(evidence, labels, found.threshold)
        )
    expected = evidence.expected_capped(labels, cap)
    capped: frozenset[str] = frozenset()
    for full in (True, False):  # first look with all of delta, to choose; then certify with the part that is the set's
        while True:
            left = [name for name in labels if name not in capped]
            if not left:
                break
            found = evidence.certify(left, delta * (1.0 if full else part_of_delta(len(labels), expected ^ capped)))
            over = _above_cap(evidence, left, found, cap)
            if not over:
                break
            capped |= over
    left = [name for name in labels if name not in capped]
    certificate = found.certificate
    if not left:  # every label is above the cap
        rows = np.isin(evidence.rows.code, [evidence.names[name] for name in labels])
        certificate = NoCertifiableThreshold(
            labels_used=int(rows.sum()),
            least_abstention=least_abstention(evidence.wrong[rows], evidence.max_error),
            errors=0,
            accepted=0,
        )
    beside = _beside(evidence, labels, found.threshold)
    return Promise(labels=labels, certificate=certificate, label_errors=beside, capped=capped)


def part_of_delta(labels: int, differing: frozenset[str]) -> float:
    """The part of delta of a set of capped labels that differs from the expected one in these, of so many labels."""
    d = len(differing)
    return _EXPECTED if d == 0 else (1.0 - _EXPECTED) * 0.5**d / math.comb(labels, d)


def _above_cap(evidence: _Evidence, labels: Iterable[str], found: Finding, cap: float) -> frozenset[str]:
    """Also where the labels together were refused: without those that spoil it, the others may be certified."""
    return frozenset(one.label for one in _beside(evidence, labels, found.threshold) if one.errors > cap * one.accepted)


def _beside(evidence: _Evidence, labels: Iterable[str], threshold: float) -> tuple[LabelError, ...]:
    return () if math.isnan(threshold) else evidence.errors_above(threshold, labels)


def _label_error(name: str, wrong: Bools) -> LabelError:
    accepted, errors = len(wrong), int(wrong.sum())
    low = lower_bound(errors, accepted, 0.05) if accepted else 0.0
    high = upper_bound(errors, accepted, 0.05) if accepted else 1.0
    return LabelError(label=name, accepted=accepted, errors=errors, low=low, high=high)
