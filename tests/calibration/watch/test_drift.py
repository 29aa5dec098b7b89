"""Warnings of change: seen where there is one, silent where there is none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from calibration.table import SignalTable
from calibration.watch.drift import DriftLevel, drift_of_numbers, drift_of_signals, drift_of_texts


@given(st.integers(0, 2**32), st.integers(4, 400), st.integers(4, 400))
def test_the_distance_is_scipys(seed: int, n: int, m: int) -> None:
    rng = np.random.default_rng(seed)
    old, new = rng.integers(0, 20, n) / 19, rng.integers(3, 20, m) / 19
    assert drift_of_numbers("score", old, new).ks == pytest.approx(ks_2samp(old, new, method="asymp").statistic)


def test_no_change_is_no_warning() -> None:
    """Whatever the sizes of the samples: what chance reaches once in a thousand times is no change."""
    rng = np.random.default_rng(1)
    loud = 0
    for _ in range(300):
        n, m = rng.integers(20, 3000, 2)
        found = drift_of_numbers("score", rng.beta(4, 2, n), rng.beta(4, 2, m))
        mix = drift_of_texts("label", _labels(rng, n, 0.2), _labels(rng, m, 0.2))
        loud += sum(each.level in {DriftLevel.WATCH, DriftLevel.WARNING} for each in (found, mix))
    assert loud <= 6


def test_a_shift_is_told_with_its_size() -> None:
    rng = np.random.default_rng(2)
    found = drift_of_numbers("score", rng.beta(8, 2, 4000), rng.beta(4, 4, 4000))
    assert found.level is DriftLevel.WARNING
    assert found.psi > 0.25
    assert found.words.startswith("score: median went from 0.8")


def test_a_small_shift_is_to_be_watched() -> None:
    rng = np.random.default_rng(3)
    found = drift_of_numbers("score", rng.normal(0, 1, 20_000), rng.normal(0.4, 1, 20_000))
    assert found.level is DriftLevel.WATCH


def test_missing_values_are_a_change() -> None:
    rng = np.random.default_rng(4)
    new = rng.random(3000)
    new[rng.random(3000) < 0.3] = np.nan
    found = drift_of_numbers("verbal_confidence", rng.random(3000), new)
    assert found.level is DriftLevel.WARNING
    assert "missing went from 0.0% to 30." in found.words


def test_labels_that_grow_are_named() -> None:
    rng = np.random.default_rng(5)
    found = drift_of_texts("label", _labels(rng, 3000, 0.2), _labels(rng, 3000, 0.6))
    assert found.level is DriftLevel.WARNING
    assert "anger went from" in found.words


def test_a_new_label_is_a_change_but_one_event_is_none() -> None:
    old = np.array(["joy"] * 500, np.object_)
    assert drift_of_texts("label", old, np.array(["joy"] * 300 + ["awe"] * 200, np.object_)).level is DriftLevel.WARNING
    assert drift_of_texts("label", old, np.array(["joy"] * 499 + ["awe"], np.object_)).level is DriftLevel.STEADY


@pytest.mark.parametrize("sizes", [(0, 0), (0, 50), (50, 0), (3, 3)])
def test_too_few_is_said(sizes: tuple[int, int]) -> None:
    old, new = (np.linspace(0, 1, size) for size in sizes)
    assert drift_of_numbers("score", old, new).level is DriftLevel.TOO_FEW


def test_a_constant_and_nothing_but_missing_values() -> None:
    same = np.full(1000, 0.9)
    assert drift_of_numbers("verbal_confidence", same, same).level is DriftLevel.STEADY
    assert drift_of_numbers("label_entropy", same * np.nan, same * np.nan).level is DriftLevel.STEADY
    assert drift_of_numbers("verbal_confidence", same, same * np.nan).level is DriftLevel.WARNING


def test_all_of_a_table() -> None:
    rng = np.random.default_rng(6)
    old, new = _table(rng, 2000, 0.0), _table(rng, 2000, 0.3)
    found = {each.name: each for each in drift_of_signals(old, new, old.label_probability, new.label_probability)}
    assert set(found) == {
        "score", "verbal_confidence", "label_probability", "label_margin", "label_entropy", "parsed", "label", "source"
    }  # fmt: skip
    changed = {name for name, each in found.items() if each.level is DriftLevel.WARNING}
    assert changed == {"score", "label_probability"}
    assert next(each.name for each in drift_of_signals(old, new)) == "verbal_confidence"


def test_agreement_is_compared_where_somebody_looked_twice() -> None:
    rng = np.random.default_rng(7)
    old, new = _table(rng, 2000, 0.0), _table(rng, 2000, 0.0)
    looked = replace(new, agreement=np.where(new.label_probability < 0.8, rng.random(2000), np.nan))
    for before, after, level in ((looked, looked, DriftLevel.STEADY), (old, looked, DriftLevel.WARNING)):
        found = {each.name: each for each in drift_of_signals(before, after)}
        assert found["agreement"].level is level
    assert "missing went from 100.0% to" in found["agreement"].words


def _labels(rng: np.random.Generator, count: int, anger: float) -> np.ndarray:
    return np.where(rng.random(count) < anger, "anger", "joy").astype(np.object_)


def _table(rng: np.random.Generator, count: int, shift: float) -> SignalTable:
    return SignalTable(
        label=_labels(rng, count, 0.3),
        source=np.full(count, "", np.object_),
        parsed=rng.random(count) < 0.97,
        verbal_confidence=rng.integers(5, 10, count) / 10,
        label_probability=np.clip(rng.beta(6, 2, count) - shift, 0, 1),
        label_margin=rng.random(count),
        label_entropy=rng.random(count),
    )
