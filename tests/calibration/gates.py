"""Gates to test with: calibrators made by hand, certificates, policies, rollouts."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np

from calibration.calibrator import Calibrator, Coefficient, Intercept, content_id
from calibration.certificate import Certified, NoCertifiableThreshold, Promise
from calibration.fitting.features import FEATURES, NAMES
from calibration.gate import CertifiedThresholds, Gate, Provenance
from calibration.outcome import Reader
from calibration.policy import Policy, Stage
from calibration.rollout import Rollout, Step, StepKind

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READER = Reader(model="m-1", prompt="p-1", decoder="d-1")


def make_calibrator(labels: tuple[str, ...] = ("awe", "fear"), sources: tuple[str, ...] = ("feed",)) -> Calibrator:
    """Believes the written confidence, and the label's probability half as much; each name adds its own."""
    slope = {"verbal_logit": 1.0, "label_logit": 0.5, "no_verbal": -1.0}
    covariance = np.diag(np.linspace(0.01, 0.1, len(NAMES)))
    fields: dict[str, Any] = {
        "created_at": NOW,
        "reader": READER,
        "n": 1000,
        "effective_n": 900.0,
        "weight_cap": 50.0,
        "data_sha256": "0" * 64,
        "converged": True,
        "coefficients": tuple(
            Coefficient(
                feature=each.name,
                value=slope.get(each.name, 0.0),
                standard_error=0.1,
                prior_mean=each.prior_mean,
                prior_sd=each.prior_sd,
            )
            for each in FEATURES
        ),
        "covariance": tuple(tuple(row) for row in covariance.tolist()),
        "label_sd": 0.5,
        "source_sd": 0.25,
        "intercept_sd_prior": 0.5,
        "labels": tuple(_intercept(name, 0.3 * (at - 1)) for at, name in enumerate(labels)),
        "sources": tuple(_intercept(name, 0.2 * (at + 1)) for at, name in enumerate(sources)),
    }
    unnamed = Calibrator.model_construct(calibrator_id="", **fields)
    return Calibrator(calibrator_id=content_id(unnamed), **fields)


def _intercept(name: str, value: float) -> Intercept:
    return Intercept(name=name, outcomes=100, value=value, standard_error=0.1, slope=(0.01,) * len(NAMES), rest=0.02)


def make_policy(**changes: Any) -> Policy:
    fields: dict[str, Any] = {"policy_id": "policy-1", "taxonomy": "scenes", "created_at": NOW, "max_error": 0.05}
    return Policy(**fields | changes)


def certified(threshold: float, *labels: str, capped: tuple[str, ...] = ()) -> Promise:
    """A promise that holds from this score on."""
    certificate = Certified(
        labels_used=1000,
        least_abstention=0.2,
        threshold=threshold,
        coverage=0.4,
        upper_bound=0.045,
        errors=12,
        accepted=400,
    )
    return Promise(labels=labels, certificate=certificate, capped=frozenset(capped))


def refused(*labels: str) -> Promise:
    """A promise that could not be certified."""
    certificate = NoCertifiableThreshold(labels_used=1000, least_abstention=0.2, errors=9, accepted=60)
    return Promise(labels=labels, certificate=certificate)


def certified_gate(gate_id: str = "gate-1", *promises: Promise, **changes: Any) -> Gate:
    """A gate of the taxonomy `scenes` in full force, for `READER`."""
    fields: dict[str, Any] = {
        "gate_id": gate_id,
        "created_at": NOW,
        "taxonomy": "scenes",
        "reader": READER,
        "policy": make_policy(),
        "calibrator": make_calibrator(),
        "rule": CertifiedThresholds(promises=promises or (certified(0.8, "awe", "fear"),)),
        "audit_rate": 0.02,
        "provenance": Provenance(
            fitted_on=1000,
            certified_on=1000,
            certifying_from=NOW,
            certifying_until=NOW,
            unreviewed=3,
            attempt=1,
            confidence=0.95,
            traffic=20_000,
            software="test",
        ),
    }
    return Gate(**fields | changes)


def make_rollout(live: Gate | None = None, **changes: Any) -> Rollout:
    """The first step of the taxonomy of a gate."""
    live = live or certified_gate()
    stage = StepKind.FULL if live.stage is Stage.FULL else StepKind.CANARY
    step = Step(at=NOW, kind=stage, gate_id=live.gate_id, reasons=("400 audits with 12 errors",))
    fields: dict[str, Any] = {"taxonomy": live.taxonomy, "sequence": 1, "since": NOW, "live": live, "steps": (step,)}
    return Rollout(**fields | changes)
