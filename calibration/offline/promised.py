"""A promise and what became of it, in words."""

from __future__ import annotations

from collections.abc import Sequence

from calibration.certificate import Certified, InsufficientLabels, Promise
from calibration.offline.report import CertificateRow, PromiseShown, Tone
from calibration.policy import Policy


def promise_shown(policy: Policy, promises: Sequence[Promise], coverage: float) -> PromiseShown:
    """The promise in words. `coverage` is the share of all traffic that the certificates let pass together."""
    rows = tuple(_certificate_row(promise) for promise in promises)
    certified = [promise.certificate for promise in promises if isinstance(promise.certificate, Certified)]
    asked = (
        f"at most {100 * policy.max_error:.3g} % of what passes is wrong, at {100 * policy.confidence:.3g} % confidence"
    )
    only = certified[0] if len(promises) == len(certified) == 1 else None
    tone: Tone
    if certified:
        tone = "good"
        heading = f"Certified: {100 * coverage:.1f} % of the traffic may pass without a person"
        sentence = f"The promise: {asked}."
        if only is not None:
            sentence += (
                f" Above the threshold {only.threshold:.4f}, {only.errors:,} of {only.accepted:,} audited readings "
                f"were wrong; the certified bound of the error is {100 * only.upper_bound:.2f} %."
            )
        else:
            sentence += f" {len(certified)} of {len(promises)} promises are certified, each by itself."
    else:
        lacking = [row for row in rows if row.labels_needed is not None]
        tone = "caution" if lacking else "bad"
        heading = "Not certified: everything goes to review"
        sentence = f"The promise: {asked}. "
        if len(lacking) == 1 == len(rows):
            sentence += (
                f"There are {lacking[0].labels_used:,} of the {lacking[0].labels_needed:,} labels that any certificate "
                "needs; label more."
            )
        elif lacking:
            sentence += f"For {len(lacking)} of {len(rows)} promises there are too few labels."
        else:
            sentence += "There are labels enough, but no threshold above which they show so small an error."
    return PromiseShown(
        max_error=policy.max_error,
        confidence=policy.confidence,
        max_label_error=policy.max_label_error,
        threshold=only.threshold if only else None,
        passes=bool(certified),
        coverage=coverage,
        upper_bound=max((found.upper_bound for found in certified), default=None),
        tone=tone,
        heading=heading,
        sentence=sentence,
        certificates=rows,
    )


def _certificate_row(promise: Promise) -> CertificateRow:
    certificate = promise.certificate
    found = certificate if isinstance(certificate, Certified) else None
    return CertificateRow(
        labels=", ".join(promise.labels),
        status=certificate.status.replace("_", " "),
        threshold=found.threshold if found else None,
        coverage=found.coverage if found else 0.0,
        upper_bound=found.upper_bound if found else None,
        labels_used=certificate.labels_used,
        labels_needed=certificate.labels_needed if isinstance(certificate, InsufficientLabels) else None,
        label_errors=promise.label_errors,
        capped=tuple(sorted(promise.capped)),
    )
