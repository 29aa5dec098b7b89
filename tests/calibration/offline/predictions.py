"""Predictions of a made-up model whose true probabilities of being right are known, as a table."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

LABELS = ("awe", "contentment", "disgust", "fear", "sadness")


def predictions(n: int, seed: int = 0, *, ids: str = "e", outcomes: bool = True, source: bool = True) -> pa.Table:
    """n readings with all columns; 3 % of the answers could not be read. About .8 of the others are right."""
    rng = np.random.default_rng(seed)
    label = rng.integers(0, len(LABELS), n)
    logit = rng.normal(1.9, 1.4, n) - 0.5 * (label == 3)
    noisy = 1.0 / (1.0 + np.exp(-(logit + rng.normal(0.0, 0.6, n))))
    verbal = np.clip(np.round(1.0 / (1.0 + np.exp(-(0.5 * logit + 1.2 + rng.normal(0.0, 0.5, n)))), 2), 0.0, 1.0)
    parsed = rng.random(n) >= 0.03
    entropy = -(noisy * np.log(noisy) + (1 - noisy) * np.log1p(-noisy))
    columns = {
        "event_id": pa.array([f"{ids}-{index}" for index in range(n)]),
        "label": pa.array(np.array(LABELS)[label], mask=~parsed),
        "verbal_confidence": pa.array(verbal, mask=~parsed | (rng.random(n) < 0.02)),
        "label_probability": pa.array(noisy, mask=~parsed),
        "label_margin": pa.array(2 * noisy - 1, mask=~parsed),
        "label_entropy": pa.array(entropy, mask=~parsed),
        "parse_ok": pa.array(parsed),
    }
    if source:
        columns["source"] = pa.array(np.array(["web", "app"])[rng.integers(0, 2, n)])
    if outcomes:
        right = (rng.random(n) < 1.0 / (1.0 + np.exp(-logit))) & parsed
        start = np.datetime64("2026-11-01T00:00:00", "us")
        columns["correct"] = pa.array(right)
        columns["propensity"] = pa.array(np.ones(n))
        columns["decided_at"] = pa.array(start + np.arange(n) * np.timedelta64(60, "s")).cast(pa.timestamp("us", "UTC"))
    return pa.table(columns)
