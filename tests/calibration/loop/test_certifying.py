"""Which audits certify: a uniform sample, frozen by time of decision, in which silence counts as wrong."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from calibration.certify.thinning import thinned
from calibration.loop.certifying import certifying_sample, frozen_at, ripe, split_time
from calibration.loop.evidence import AuditTable, moment
from calibration.loop.settings import LoopSettings
from calibration.table import Bools, Floats, SignalTable

NOW = datetime(2026, 3, 1, tzinfo=UTC)
SETTINGS = LoopSettings(audit_patience=timedelta(days=2))
LONG_AGO = moment(NOW - timedelta(days=90))


def audits(
    hours_ago: list[float],
    answered: list[bool],
    *,
    wrong: list[bool] | None = None,
    rate: Floats | None = None,
    floor: Floats | None = None,
) -> AuditTable:
    """Audits in the order of their decisions."""
    n = len(hours_ago)
    decided = np.array([moment(NOW - timedelta(hours=hours)) for hours in hours_ago])
    said: Bools = np.array(answered, np.bool_)
    return AuditTable(
        event_id=np.array([f"e{row}" for row in range(n)], np.object_),
        signals=SignalTable(
            label=np.full(n, "awe", np.object_),
            source=np.full(n, "", np.object_),
            parsed=np.ones(n, np.bool_),
            verbal_confidence=np.full(n, 0.9),
            label_probability=np.full(n, 0.9),
            label_margin=np.full(n, 0.8),
            label_entropy=np.full(n, 0.3),
        ),
        gate=np.full(n, "g", np.object_),
        calibrator=np.full(n, "c-old", np.object_),
        would_pass=np.ones(n, np.bool_),
        rate=np.ones(n) if rate is None else rate,
        floor=np.zeros(n) if floor is None else floor,
        answered=said,
        wrong=np.array(wrong if wrong is not None else [False] * n, np.bool_),
        decided_at=decided,
        given_at=np.where(said, decided, np.datetime64("NaT", "us")),
    )


def test_what_waits_ends_the_sample_and_what_is_overdue_counts_as_wrong() -> None:
    table = audits([100, 90, 30, 20, 10], [True, False, True, False, True])
    sample = certifying_sample(table, np.full(5, 0.9), "c", LONG_AGO, NOW, SETTINGS)
    assert sample.audits.event_id.tolist() == ["e0", "e1", "e2"]  # e3 waits since 20 hours, so e4 has no say either
    assert sample.wrong.tolist() == [False, True, False]
    assert sample.unreviewed == 1
    assert ripe(table, NOW, SETTINGS) == 2


def test_the_freeze_never_falls_behind_the_patience() -> None:
    table = audits([47, 1], [False, True])
    assert frozen_at(table, NOW, SETTINGS) == moment(NOW - timedelta(hours=47)) - np.timedelta64(1, "us")
    later = NOW + timedelta(hours=2)
    assert frozen_at(table, later, SETTINGS) == moment(later)


def test_what_fitted_the_calibrator_does_not_certify_it() -> None:
    table = audits([30, 20, 10], [True] * 3)
    sample = certifying_sample(table, np.full(3, 0.9), "c", moment(NOW - timedelta(hours=20)), NOW, SETTINGS)
    assert sample.audits.event_id.tolist() == ["e2"]


@given(st.integers(0, 2**32 - 1))
def test_audits_of_two_rates_are_thinned_to_one(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = 400
    rate = np.where(rng.random(n) < 0.5, 0.5, 0.25)
    table = audits(np.linspace(90, 50, n).tolist(), [True] * n, rate=rate)
    sample = certifying_sample(table, rng.random(n), "c", LONG_AGO, NOW, SETTINGS)
    assert sample.rate in (0.5, 0.25)
    if sample.rate == 0.5:
        assert set(sample.audits.rate) == {0.5}
    else:
        assert (rate == 0.25).sum() == (sample.audits.rate == 0.25).sum()


def test_thinning_keeps_the_share_it_should() -> None:
    names = np.array([f"event-{row}" for row in range(20_000)], np.object_)
    kept = thinned(names, np.full(20_000, 0.5), 0.1)
    assert abs(kept.mean() - 0.2) < 5 * np.sqrt(0.2 * 0.8 / 20_000)
    assert thinned(names, np.full(20_000, 0.1), 0.1).all()


def test_a_floor_of_another_calibrator_is_no_uniform_sample_of_ours() -> None:
    table = audits([90, 80, 70, 60], [True] * 4, floor=np.array([0.0, 0.0, 0.8, 0.8]))
    score = np.array([0.3, 0.9, 0.9, 0.9])
    other = certifying_sample(table, score, "c-new", LONG_AGO, NOW, SETTINGS)
    assert other.audits.event_id.tolist() == ["e0", "e1"]
    assert other.floor == 0.0
    same = certifying_sample(table, score, "c-old", LONG_AGO, NOW, SETTINGS)
    assert same.audits.event_id.tolist() == ["e1", "e2", "e3"]
    assert same.floor == 0.8


def test_the_split_is_by_time() -> None:
    times = np.array([moment(NOW - timedelta(hours=hours)) for hours in (5, 1, 4, 2, 3)])
    assert split_time(times, 0.4) == moment(NOW - timedelta(hours=4))
    assert split_time(times[:1], 0.4) == times[0]
