"""Outcomes of a made-up model that follows the calibrator's own equation, so that the right answers are known."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from calibration.fitting.features import VERSIONS, Version, design, version_for
from calibration.table import Floats, OutcomeTable, SignalTable

NOW = datetime(2026, 2, 1, tzinfo=UTC)
COEFFICIENTS = {
    "intercept": -1.3,
    "verbal_logit": 0.6,
    "label_logit": 0.5,
    "margin": 0.4,
    "disagrees": -0.2,
    "concentration": 0.3,
    "no_verbal": -0.5,
    "look_shift": 0.6,
    "looked": -0.2,
}
TRUE: dict[Version, Floats] = {
    version: np.array([COEFFICIENTS.get(feature.name, 0.0) for feature in features])
    for version, features in VERSIONS.items()
}


def readings(rng: np.random.Generator, n: int, labels: int = 5, sources: int = 3, missing: float = 0.0) -> SignalTable:
    """n readings; each signal is missing in this share of them."""
    token = 0.8 + 1.5 * rng.normal(size=n)
    probability = sigmoid(token)
    rest = (1.0 - probability) * rng.uniform(0.3, 1.0, n)
    entropy = -(probability * np.log(probability) + (1.0 - probability) * np.log1p(-probability))
    columns = [
        np.round(sigmoid(1.5 + 1.1 * rng.normal(size=n)), 2),
        probability,
        probability - rest,
        entropy + (1.0 - probability) * 0.7,
    ]
    gone = [np.where(rng.random(n) < missing, np.nan, column) for column in columns]
    return SignalTable(
        np.array([f"label-{at}" for at in rng.integers(0, labels, n)], np.object_),
        np.array([f"source-{at}" for at in rng.integers(0, sources, n)], np.object_),
        np.ones(n, np.bool_),
        *gone,
    )


def looked_at(rng: np.random.Generator, signals: SignalTable) -> SignalTable:
    """The same, with a second look at those whose label probability is from .3 to .9; one in twenty looks failed."""
    first = signals.label_probability
    kept = np.clip(first, 0.01, 0.99)
    second = sigmoid(np.log(kept / (1.0 - kept)) + rng.normal(0.0, 0.8, len(signals)))
    zone = (first >= 0.3) & (first <= 0.9) & (rng.random(len(signals)) < 0.95)
    return replace(signals, agreement=np.where(zone, second, np.nan))


def effects(rng: np.random.Generator, signals: SignalTable, label_sd: float, source_sd: float) -> Floats:
    """What labels and sources add to each reading's log-odds, drawn anew."""
    total = np.zeros(len(signals))
    for column, sd in ((signals.label, label_sd), (signals.source, source_sd)):
        names, codes = np.unique(column.astype(str), return_inverse=True)
        total += rng.normal(0.0, sd, len(names))[codes]
    return total


def truth(signals: SignalTable, added: Floats | float = 0.0) -> Floats:
    """P(correct)."""
    version = version_for(signals)
    return sigmoid(design(signals, version) @ TRUE[version] + added)


def outcomes(
    signals: SignalTable, correct: np.ndarray[tuple[int], np.dtype[np.bool_]], propensity: Floats | None = None
) -> OutcomeTable:
    """Outcomes a second apart."""
    n = len(signals)
    return OutcomeTable(
        event_id=np.array([f"event-{at}" for at in range(n)], np.object_),
        signals=signals,
        correct=correct,
        propensity=np.ones(n) if propensity is None else propensity,
        audit_propensity=np.full(n, np.nan),
        decided_at=np.datetime64("2026-01-01", "us") + np.arange(n) * np.timedelta64(1, "s"),
    )


def drawn(
    seed: int,
    n: int,
    label_sd: float = 0.5,
    source_sd: float = 0.3,
    missing: float = 0.0,
    *,
    looked: bool = False,
) -> OutcomeTable:
    """n outcomes of readings whose labels and sources differ."""
    rng = np.random.default_rng(seed)
    signals = readings(rng, n, missing=missing)
    if looked:
        signals = looked_at(rng, signals)
    right = rng.random(n) < truth(signals, effects(rng, signals, label_sd, source_sd))
    return outcomes(signals, right)


def sigmoid(eta: Floats) -> Floats:
    scores: Floats = 1.0 / (1.0 + np.exp(-eta))
    return scores
