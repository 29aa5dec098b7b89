"""The labelled readings as a reference for drift: weighted ones stand for as many as they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calibration.offline.drifted import drift_rows, even_sample
from calibration.table import Floats, SignalTable
from calibration.watch.drift import DriftLevel


def readings(score: Floats, *, parsed: float = 1.0, source: str = "") -> SignalTable:
    n = len(score)
    read = np.arange(n) < parsed * n
    number = np.where(read, score, np.nan)
    return SignalTable(
        label=np.where(read, "awe", "").astype(np.object_),
        source=np.full(n, source, np.object_),
        parsed=read,
        verbal_confidence=number,
        label_probability=number,
        label_margin=np.full(n, np.nan),
        label_entropy=np.full(n, np.nan),
    )


@given(st.integers(1, 500), st.sampled_from([1.0, 0.1, 37.0]))
def test_rows_of_equal_weight_come_once_each(n: int, weight: float) -> None:
    assert even_sample(np.full(n, weight)).tolist() == list(range(n))


@given(st.lists(st.sampled_from([1.0, 2.0, 5.0, 50.0]), min_size=1, max_size=200))
def test_rows_come_in_proportion_to_their_weight(weights: list[float]) -> None:
    weight = np.array(weights)
    rows = even_sample(weight)
    wanted = weight * len(rows) / weight.sum()
    counts = np.bincount(rows, minlength=len(weight))
    assert (np.abs(counts - wanted) < 1.0).all()
    assert len(rows) == round(weight.sum() ** 2 / (weight @ weight))


def test_without_rows_there_are_none() -> None:
    assert len(even_sample(np.zeros(0))) == 0


def test_the_weights_of_a_selection_undo_it() -> None:
    """Unsure readings are labelled ten times as often as sure ones: without weights that would look like drift."""
    rng = np.random.default_rng(0)
    traffic = rng.random(20_000)
    propensity = np.where(traffic < 0.5, 0.5, 0.05)
    drawn = rng.random(20_000) < propensity
    labelled = traffic[drawn]
    fair = drift_rows(readings(labelled), labelled, 1.0 / propensity[drawn], readings(traffic), traffic)
    assert {row.level for row in fair} == {DriftLevel.STEADY}
    unfair = drift_rows(readings(labelled), labelled, np.ones(len(labelled)), readings(traffic), traffic)
    assert {row.name for row in unfair if row.level is DriftLevel.WARNING} >= {"score", "label_probability"}


def test_only_what_there_is_to_compare_is_compared() -> None:
    score = np.random.default_rng(1).random(500)
    table = readings(score)
    assert {row.name for row in drift_rows(table, score, np.ones(500), table, score)} == {
        "score", "verbal_confidence", "label_probability", "parsed", "label"
    }  # fmt: skip
    named = readings(score, source="web")
    assert "source" in {row.name for row in drift_rows(table, score, np.ones(500), named, score)}


def test_unread_answers_are_one_change_not_many() -> None:
    score = np.random.default_rng(2).random(2000)
    half = readings(score, parsed=0.5)
    half_score = np.where(half.parsed, score, np.nan)
    found = drift_rows(readings(score), score, np.ones(2000), half, half_score)
    assert [row.name for row in found if row.level is not DriftLevel.STEADY] == ["parsed"]
    assert found[0].words == "no went from 0.0% to 50.0%"
    assert found[0].ks is None


@pytest.mark.parametrize("count", [1, 3])
def test_a_few_labels_can_tell_nothing(count: int) -> None:
    few, many = np.linspace(0.1, 0.2, count), np.random.default_rng(3).random(1000)
    found = drift_rows(readings(few), few, np.ones(count), readings(many), many)
    assert {row.level for row in found if row.name == "score"} == {DriftLevel.TOO_FEW}
