"""From scored files to a certificate: which rows may certify, and one JSON document of what came out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from calibration.certificate import Certified, InsufficientLabels, Promise
from calibration.certify.promises import certify_promises
from calibration.certify.thinning import thinned
from calibration.contract import Contract
from calibration.offline.files import ScoredFile, ScoredOutcomes
from calibration.offline.passing import passing
from calibration.offline.problems import FileError, Problem
from calibration.policy import Policy
from calibration.table import Bools


class CertificateDocument(Contract):
    """What `tidegate calibrate certify` prints. Null is what does not apply."""

    status: Literal["certified", "insufficient_labels", "no_certifiable_threshold"]
    """`certified` where any promise is; every promise's own status stands in `promises`."""
    threshold: float | None
    """Of the one certificate; null where there are several, with thresholds of their own."""
    coverage: float
    """Share of the traffic that may pass, of all promises together, at the policy's costs; 0 if none is certified."""
    upper_bound: float | None
    """The largest certified bound of the error."""
    labels_used: int
    labels_needed: int | None
    max_error: float
    confidence: float
    promises: tuple[Promise, ...]


@dataclass(frozen=True)
class Answer:
    """The document, and what a person should know besides."""

    document: CertificateDocument
    remarks: tuple[str, ...]


def certify_files(outcomes: ScoredOutcomes, traffic: ScoredFile, policy: Policy, *, thin: bool = False) -> Answer:
    """Certify a policy's promise on files.

    Raises:
        FileError: nothing can be certified on these rows; it says which, and what to do.
    """
    rows, remarks = certifying_rows(outcomes, thin=thin)
    label, score, wrong = outcomes.label[rows], outcomes.score[rows], outcomes.wrong[rows]
    promises = certify_promises(policy, score, wrong, label, traffic.score, traffic.label)
    coverage = float(np.mean(passing(promises, traffic.label, traffic.score, policy)))
    return Answer(document(policy, promises, coverage), remarks)


def document(policy: Policy, promises: tuple[Promise, ...], coverage: float) -> CertificateDocument:
    """The one object for several promises."""
    certificates = [promise.certificate for promise in promises]
    certified = [found for found in certificates if isinstance(found, Certified)]
    lacking = [found.labels_needed for found in certificates if isinstance(found, InsufficientLabels)]
    only = certified[0] if len(certified) == len(certificates) == 1 else None
    return CertificateDocument(
        status="certified" if certified else "insufficient_labels" if lacking else "no_certifiable_threshold",
        threshold=only.threshold if only else None,
        coverage=coverage,
        upper_bound=max((found.upper_bound for found in certified), default=None),
        labels_used=sum(found.labels_used for found in certificates),
        labels_needed=max(lacking, default=None),
        max_error=policy.max_error,
        confidence=policy.confidence,
        promises=promises,
    )


def certifying_rows(outcomes: ScoredOutcomes, *, thin: bool) -> tuple[Bools, tuple[str, ...]]:
    """The rows that are a uniform sample: drawn ones, all of one propensity.

    Raises:
        FileError: no row was drawn, or propensities differ and may not be thinned.
    """
    rows = ~np.isnan(outcomes.propensity)
    remarks = []
    if not rows.any():
        remedy = "Only rows drawn for an audit may certify: give their audit_propensity."
        raise FileError(outcomes.path, [Problem("no row has one", remedy, "audit_propensity")])
    if left := int((~rows).sum()):
        remarks.append(f"{outcomes.path}: {left:,} rows that no audit drew are left out")
    smallest, largest = float(outcomes.propensity[rows].min()), float(outcomes.propensity[rows].max())
    if smallest != largest:
        if not thin:
            what = f"the rows were drawn at different rates, {smallest:g} to {largest:g}"
            remedy = (
                "A certificate needs one rate: split the file by it, or add --thin to drop rows down to the smallest."
            )
            raise FileError(outcomes.path, [Problem(what, remedy, "propensity")])
        kept = rows & thinned(outcomes.event_id, outcomes.propensity, smallest)
        remarks.append(
            f"{outcomes.path}: {int(kept.sum()):,} of {int(rows.sum()):,} rows are left, "
            f"thinned to the rate {smallest:g}"
        )
        rows = kept
    return rows, tuple(remarks)
