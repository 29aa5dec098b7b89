"""The hash says which outcomes were fitted, in any order, to the last bit."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.fitting.fingerprint import canonical_order, sha256_of_outcomes
from calibration.table import OutcomeTable, SignalTable
from tests.calibration.fitting.readings import drawn


def fingerprint(outcomes: OutcomeTable) -> str:
    return sha256_of_outcomes(outcomes.take(canonical_order(outcomes)))


@given(st.permutations(range(12)), st.booleans())
def test_order_does_not_matter(order: list[int], repeated: bool) -> None:
    outcomes = drawn(1, 12, missing=0.3)
    if repeated:  # ids that say nothing: the other columns must put the rows in order
        outcomes = replace(outcomes, event_id=np.full(12, "same", np.object_))
    assert fingerprint(outcomes.take(np.array(order))) == fingerprint(outcomes)


def test_today_s_hash_will_be_found_again() -> None:
    outcomes = OutcomeTable(
        event_id=np.array(["b", "a\u00e9"], np.object_),
        signals=SignalTable(
            np.array(["awe", ""], np.object_),
            np.array(["", "feed"], np.object_),
            np.array([True, False]),
            *np.array([[0.5, np.nan], [0.25, np.nan], [-0.5, np.nan], [1.5, np.nan]]),
        ),
        correct=np.array([True, False]),
        propensity=np.array([0.02, 1.0]),
        audit_propensity=np.array([0.02, np.nan]),
        decided_at=np.array(["2026-01-01T00:00:01", "2026-01-01T00:00:00"], "datetime64[us]"),
    )
    assert fingerprint(outcomes) == "baaac9c602d5495bd67b37e05c665ddd35dcb09ee87f466eefa2f23cc1b0ef82"


@pytest.mark.parametrize(
    "column", ["event_id", "correct", "propensity", "audit_propensity", "decided_at", "label", "parsed", "label_margin"]
)
def test_every_column_counts(column: str) -> None:
    outcomes = drawn(1, 12)
    in_signals = hasattr(outcomes.signals, column)
    values = getattr(outcomes.signals if in_signals else outcomes, column).copy()
    values[5] = {"O": "other", "b": not values[5], "f": 0.123, "M": np.datetime64("2025-01-01", "us")}[
        values.dtype.kind
    ]
    change = {column: values}
    other = (
        replace(outcomes, signals=replace(outcomes.signals, **change)) if in_signals else replace(outcomes, **change)
    )
    assert fingerprint(other) != fingerprint(outcomes)


def test_a_second_look_counts_where_there_was_one() -> None:
    outcomes = drawn(1, 12, looked=True)
    known = np.flatnonzero(outcomes.signals.looked)
    other = outcomes.signals.agreement.copy()
    other[known[0]] = 0.123
    changed = replace(outcomes, signals=replace(outcomes.signals, agreement=other))
    without = replace(outcomes, signals=replace(outcomes.signals, agreement=np.full(12, np.nan)))
    assert len({fingerprint(each) for each in (outcomes, changed, without)}) == 3
    assert fingerprint(outcomes.take(slice(None, None, -1))) == fingerprint(outcomes)


def test_where_one_text_ends_counts() -> None:
    outcomes = drawn(1, 2)
    labels, sources = (
        replace(outcomes.signals, label=np.array(each, np.object_)) for each in (["ab", "c"], ["a", "bc"])
    )
    assert fingerprint(replace(outcomes, signals=labels)) != fingerprint(replace(outcomes, signals=sources))


def test_one_form_of_zero() -> None:
    outcomes = drawn(1, 4)
    plain, minus = (
        replace(outcomes, signals=replace(outcomes.signals, label_margin=np.full(4, zero))) for zero in (0.0, -0.0)
    )
    assert fingerprint(plain) == fingerprint(minus)
