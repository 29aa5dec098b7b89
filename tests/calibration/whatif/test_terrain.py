"""Counts on a terrain are those of a pass over all rows."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from calibration.gate import closed_gate
from calibration.loop.evidence import moment
from calibration.whatif.prepare import Readings, Surveyor
from calibration.whatif.terrain import Ladder, Terrain
from deploy.bench.simulation import START
from tests.calibration.whatif.conftest import POLICY

DAYS = 5


@settings(max_examples=60, deadline=None)
@given(
    n=st.integers(0, 2500),
    atoms=st.integers(1, 3000),
    missing=st.floats(0.0, 1.0),
    least=st.one_of(st.floats(0.0, 1.0), st.just(float("inf"))),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_ladder_counts_by_day_what_reaches_a_score(
    n: int, atoms: int, missing: float, least: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    score = rng.integers(0, atoms + 1, n) / atoms
    score[rng.random(n) < missing] = -np.inf
    day = rng.integers(0, DAYS, n).astype(np.uint16)
    ladder = Ladder.of(score, day, DAYS)
    thresholds = [least, *rng.choice(score, min(n, 3))] if n else [least]
    for threshold in thresholds:
        expected = np.bincount(day[score >= threshold], minlength=DAYS)
        assert ladder.reaching(float(threshold)).tolist() == expected.tolist()
    assert ladder.by_day.tolist() == np.bincount(day, minlength=DAYS).tolist()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=40), st.lists(st.floats(0.0, 1.0), min_size=2, max_size=5))
def test_a_higher_threshold_never_lets_more_pass(scores: list[float], thresholds: list[float]) -> None:
    ladder = Ladder.of(np.array(scores), np.zeros(len(scores), np.uint16), 1)
    counts = [int(ladder.reaching(threshold).sum()) for threshold in sorted(thresholds)]
    assert counts == sorted(counts, reverse=True)


def readings(n: int, seed: int = 0, labels: tuple[str, ...] = ("awe", "fear", "")) -> Readings:
    rng = np.random.default_rng(seed)
    label = np.array(labels, np.object_)[rng.integers(0, len(labels), n)]
    score = np.where(label == "", np.nan, rng.random(n))
    return Readings(
        event_id=np.array([f"e{number}" for number in range(n)], np.object_),
        label=label,
        score=score,
        passes=(np.nan_to_num(score) > 0.7) & (label == "awe"),
        auditable=label != "",
        decided_at=moment(START) + rng.integers(0, DAYS * 86_400_000_000, n).astype("timedelta64[us]"),
    )


def terrain(*chunks: Readings, seed: int = 0, days: float = DAYS) -> Terrain:
    surveyor = Surveyor(START, START + timedelta(days=days), seed)
    for chunk in chunks:
        surveyor.add(chunk)
    return surveyor.terrain(POLICY, closed_gate(START), "nothing to certify")


def test_chunks_in_any_order_make_the_same_ladders() -> None:
    all_ = readings(4000)
    one = terrain(all_)
    rows = np.random.default_rng(2).permutation(4000)
    other = terrain(*(all_.take(part) for part in np.array_split(rows, 7)))
    assert set(one.labels) == set(other.labels) == {"awe", "fear"}
    for label in one.labels:
        for group in ("passing", "held"):
            first: Ladder = getattr(one, group)[one.labels.index(label)]
            second: Ladder = getattr(other, group)[other.labels.index(label)]
            assert first.score.tolist() == second.score.tolist()
            assert first.reaching(0.4).tolist() == second.reaching(0.4).tolist()
    assert one.arrivals.tolist() == other.arrivals.tolist()
    assert one.readings == 4000
    assert one.auditable.sum() == all_.auditable.sum()
    assert sum(int(each.by_day.sum()) for each in (*one.passing, *one.held)) == (all_.label != "").sum()


def test_what_is_kept_stands_for_all_and_is_drawn_evenly() -> None:
    all_ = readings(6000)
    kept = terrain(*(all_.take(np.arange(start, start + 1500)) for start in range(0, 6000, 1500))).kept
    assert kept.weight.sum() == pytest.approx((all_.label != "").sum())
    assert len(set(kept.event_id)) == len(kept) < 2000
    assert (kept.weight > 1.0).any()
    for each in range(len(kept)):
        row = int(kept.event_id[each].removeprefix("e"))
        assert kept.score[each] == all_.score[row]
        assert kept.passes[each] == all_.passes[row]
        assert kept.decided_at[each] == all_.decided_at[row]
    rows = np.array([int(name.removeprefix("e")) for name in kept.event_id])
    crowded = rows[kept.weight > 3.0]
    assert 0.4 < (crowded < 3000).mean() < 0.6  # no chunk is favoured


def test_readings_outside_the_survey_are_left_out() -> None:
    all_ = readings(2000)
    part = terrain(all_, days=2.5)
    inside = all_.decided_at <= moment(START + timedelta(days=2.5))
    assert part.readings == inside.sum()
    assert (part.days.count, part.days.complete) == (3, 2)


def test_a_survey_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="has no length"):
        Surveyor(START, START)
    with pytest.raises(ValueError, match="no readings were decided"):
        terrain()


def test_readings_of_which_none_was_parsed_are_counted() -> None:
    found = terrain(readings(100, labels=("",)))
    assert (found.labels, found.passing, found.readings) == ((), (), 100)
