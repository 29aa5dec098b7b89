"""The hash of outcomes: the same for the same outcomes in any order, so that anybody can check what was fitted."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

from calibration.table import Floats, OutcomeTable, Texts


def canonical_order(outcomes: OutcomeTable) -> NDArray[np.intp]:
    """Rows by event id; rows of one id, where there are several, by all their other values."""
    ids = outcomes.event_id.tolist()
    ranks = {event_id: rank for rank, event_id in enumerate(sorted(set(ids)))}
    rank = np.fromiter(map(ranks.__getitem__, ids), np.intp, len(ids))
    if len(ranks) == len(ids):
        order = np.empty(len(ids), np.intp)
        order[rank] = np.arange(len(ids))
        return order
    signals = outcomes.signals
    texts = [np.unique(column.astype(str), return_inverse=True)[1] for column in (signals.label, signals.source)]
    numbers = [signals.parsed, outcomes.correct, *_numbers(outcomes), outcomes.decided_at]
    rows: NDArray[np.intp] = np.lexsort([*numbers, *texts, rank])
    return rows


def sha256_of_outcomes(outcomes: OutcomeTable) -> str:
    """Hexadecimal SHA-256 of n outcomes that are in canonical order.

    Hashed are, column by column: of a text column the lengths of its values in characters, 8 bytes each, and then the
    values in UTF-8; a flag as one byte; a number as an IEEE double, with one form of nan and of zero; a time as
    microseconds since 1970, 8 bytes. All are little-endian. Before them stand the words `outcomes 1` and n; or, where
    there was a second look, `outcomes 2` and n, and its agreement is the last of the numbers.
    """
    signals = outcomes.signals
    form = 2 if signals.looked.any() else 1
    digest = hashlib.sha256(f"outcomes {form} {len(outcomes)}\n".encode())
    for texts in (outcomes.event_id, signals.label, signals.source):
        for part in _text_bytes(texts):
            digest.update(part)
    for flags in (signals.parsed, outcomes.correct):
        digest.update(flags.astype("u1").tobytes())
    for numbers in _numbers(outcomes):
        digest.update(numbers.astype("<f8").tobytes())
    digest.update(outcomes.decided_at.astype("datetime64[us]").astype("<i8").tobytes())
    return digest.hexdigest()


def _numbers(outcomes: OutcomeTable) -> list[Floats]:
    signals = outcomes.signals
    columns = [
        signals.verbal_confidence,
        signals.label_probability,
        signals.label_margin,
        signals.label_entropy,
        outcomes.propensity,
        outcomes.audit_propensity,
    ]
    if signals.looked.any():
        columns.append(signals.agreement)
    return [np.where(np.isnan(column), np.nan, column + 0.0) for column in columns]


def _text_bytes(texts: Texts) -> tuple[bytes, bytes]:
    values = texts.tolist()
    lengths = np.fromiter(map(len, values), "<i8", len(values))
    return lengths.tobytes(), "".join(values).encode("utf-8", "surrogatepass")
