"""What changed since the last gate, or since the last calibrator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from calibration.calibrator import Calibrator
from calibration.certificate import Certified, Promise
from calibration.gate import CertifiedThresholds, Gate
from calibration.offline.report import Change
from calibration.policy import Policy
from calibration.table import Floats, OutcomeTable

_ABSENT = "none"


def changes_since(
    previous: Gate | Calibrator | None,
    calibrator: Calibrator,
    known: OutcomeTable,
    weight: Floats,
    policy: Policy | None,
    promises: Sequence[Promise],
) -> tuple[Change, ...]:
    """Documents, promise and certificate then and now, and both calibrators on the same outcomes.

    Args:
        previous: what was; None gives no rows.
        calibrator: what is.
        known: outcomes that were parsed.
        weight: (n,) their inverse propensities.
        policy: the promise now, if one is asked for,
        promises: and what became of it.
    """
    if previous is None:
        return ()
    before = previous.calibrator if isinstance(previous, Gate) else previous
    rows = [Change(what="calibrator", before=_named(before), now=_named(calibrator))]
    if before is not None:
        rows += _on_the_same_outcomes(before, calibrator, known, weight)
    if isinstance(previous, Gate):
        rows.append(Change(what="gate", before=f"{previous.gate_id}, {previous.stage.value}", now="this report"))
        rows.append(Change(what="promise", before=_promise(previous.policy), now=_promise(policy)))
        old = previous.rule.promises if isinstance(previous.rule, CertifiedThresholds) else ()
        rows.append(Change(what="certificate", before=_certificates(old), now=_certificates(promises)))
    return tuple(rows)


def _on_the_same_outcomes(before: Calibrator, now: Calibrator, known: OutcomeTable, weight: Floats) -> list[Change]:
    truth = known.correct.astype(np.float64)
    then, today = (np.clip(document.score(known.signals).score, 1e-12, 1 - 1e-12) for document in (before, now))
    losses = {
        "Brier score, on these outcomes": ((then - truth) ** 2, (today - truth) ** 2),
        "log-loss, on these outcomes": tuple(
            -(truth * np.log(score) + (1.0 - truth) * np.log1p(-score)) for score in (then, today)
        ),
    }
    rows = []
    for what, (old, new) in losses.items():
        share = weight / weight.sum()
        gain = new - old
        mean = float(share @ gain)
        half = 1.96 * float(np.sqrt(share**2 @ (gain - mean) ** 2))  # the linearised variance of a weighted mean
        rows.append(
            Change(
                what=what,
                before=f"{share @ old:.4f}",
                now=f"{share @ new:.4f} (difference {mean:+.4f}, {mean - half:+.4f} to {mean + half:+.4f})",
            )
        )
    return rows


def _named(calibrator: Calibrator | None) -> str:
    return (
        _ABSENT if calibrator is None else f"{calibrator.calibrator_id}, of {calibrator.created_at:%d %b %Y %H:%M} UTC"
    )


def _promise(policy: Policy | None) -> str:
    if policy is None:
        return _ABSENT
    return f"{100 * policy.max_error:.3g} % at {100 * policy.confidence:.3g} % confidence"


def _certificates(promises: Sequence[Promise]) -> str:
    certified = [promise.certificate for promise in promises if isinstance(promise.certificate, Certified)]
    if not certified:
        return _ABSENT
    thresholds = ", ".join(f"{found.threshold:.4f}" for found in certified)
    return f"threshold {thresholds}; {100 * sum(found.coverage for found in certified):.1f} % passes"
